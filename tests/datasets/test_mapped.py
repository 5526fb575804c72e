"""One pass over an array, and pages that are let go."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import Rows, mapped, release
from vaekit.datasets.mapped import Reader, chunks, scan
from vaekit.datasets.rows import Joined
from vaekit.errors import DataError

ARRAY = np.arange(11 * 3, dtype=np.float32).reshape(11, 3)


def test_a_pass_gives_sha256_and_bounds_over_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([900, -900, 5])
    for size in (1, 40, 1 << 20):
        monkeypatch.setattr(mapped, "CHUNK", size)
        assert [len(part) for part in chunks(ARRAY, size)] == {1: [1] * 11, 40: [3, 3, 3, 2]}.get(size, [11])
        found = scan(ARRAY, labels, None, -ARRAY, name="x")
        content = ARRAY.tobytes() + labels.tobytes() + (-ARRAY).tobytes()
        assert found == (hashlib.sha256(content).hexdigest(), -32.0, 32.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_row(value: float) -> None:
    array = ARRAY.copy()
    array[7, 1] = value
    with pytest.raises(DataError, match=re.escape(f"x.npy holds {value} in row 7; every value must be finite.")):
        scan(array, name="x.npy")


RESIDENT = """
import resource, sys
import numpy as np
from vaekit.datasets import Rows, release
array = np.load(sys.argv[1], mmap_mode="r")
views = {"array": array, "view": np.asarray(array)[:, ::2], "rows": Rows(array.transpose(0, 2, 1), np.arange(9))}
def resident():  # pages of files, in MiB
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssFile")).split()[1]) / 1024
for name, view in views.items():
    before = resident()
    array[::1].sum()
    filled = resident() - before
    if len(sys.argv) < 3:
        release(view)
    print(name, filled, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("control", [False, True])
def test_release_lets_the_pages_of_a_mapped_array_go(tmp_path: Path, control: bool) -> None:
    np.save(tmp_path / "x.npy", np.zeros((64, 256, 1024), np.float32))  # 64 MiB
    command = [sys.executable, "-c", RESIDENT, tmp_path / "x.npy", *(["keep"] if control else [])]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["array", "view", "rows"]
    _, filled, left = lines[0].split()
    assert float(filled) > 60
    for line in lines:
        left = float(line.split()[2])
        assert (left > 60 if line is lines[0] else True) if control else left < 4, line


def test_release_does_nothing_to_an_array_in_memory() -> None:
    array = ARRAY.copy()
    release(array)
    release(array[::2])
    release(Rows(array, np.array([0])), forget=True)
    np.testing.assert_array_equal(array, ARRAY)


def test_a_reader_gives_what_the_items_give_and_lets_go_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(40, dtype=np.float32).reshape(20, 2)
    released: list[int] = []
    monkeypatch.setattr(mapped, "release", lambda items: released.append(len(items)))
    monkeypatch.setattr(mapped, "RELEASE_AFTER", 50)  # bytes: four rows of eight do not reach it, eight do
    reader = Reader(Joined(array[:5], array[5:]))
    assert (len(reader), reader.shape, reader.dtype) == (20, (20, 2), np.float32)
    for start in range(0, 20, 4):
        np.testing.assert_array_equal(reader[start : start + 4], array[start : start + 4])
    assert released == [20, 20]
    reader.release()
    assert released == [20, 20, 20]
