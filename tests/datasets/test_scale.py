"""What the data layer is held to in size: ten thousand mixed images, and an array of 20 GiB in less than 2 GiB of memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaekit.datasets import DataOptions, load_dataset

COUNT, SIDE = 10_000, 64
GIBIBYTE = 1 << 30


def over_white(image: np.ndarray) -> np.ndarray:
    """Lay (H, W, 4) over white: (H, W, 3) in float64."""
    opacity = image[..., 3:] / 255
    return opacity * image[..., :3] + (1 - opacity) * 255


@pytest.mark.slow
def test_ten_thousand_mixed_colour_pngs_with_alpha(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, size=(16, SIDE, SIDE, 4), dtype=np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    expected = {}
    for place in range(COUNT):
        image = np.roll(base[place % 16], place, axis=(0, 1))
        image[0, :4] = np.frombuffer(place.to_bytes(16, "little"), np.uint8).reshape(4, 4)  # no two are alike
        if place % 4 == 1:  # opaque
            image = image[..., :3]
        picture = Image.fromarray(image)
        if place % 4 == 2:  # a palette with transparent entries
            picture = picture.quantize(64)
        elif place % 4 == 3:  # grey with alpha
            picture = picture.convert("LA")
        name = f"{place:05}.png"
        picture.save(folder / name, compress_level=1)
        if place % 97 == 0:
            expected[name] = over_white(np.asarray(picture.convert("RGBA")))
    found = load_dataset(folder, DataOptions(background="white"))
    assert (len(found.train), len(found.test), found.spec.shape) == (9_000, 1_000, (3, SIDE, SIDE))
    assert found.skipped == ()
    checked = 0
    for split in (found.train, found.test):
        for name, item in zip(split.names, split.items, strict=True):
            if name in expected:
                assert np.abs(item.transpose(1, 2, 0) - expected[name]).max() <= 1, name
                checked += 1
    assert checked == len(expected) == 104


READ = """
import json, sys, time
from pathlib import Path
import numpy as np
from vaekit.datasets import DataOptions, load_dataset, release

started = time.monotonic()
found = load_dataset(sys.argv[1])
loaded = time.monotonic() - started
total, items = 0.0, 0
for split in (found.train, found.test):
    order = np.random.default_rng(0).permutation(len(split))
    for start in range(0, len(order), 8 * 512):  # every eighth batch, in random order: as much as an epoch in kind
        batch = split.pixels(order[start : start + 512])
        total, items = total + float(batch.sum(dtype=np.float64)), items + len(batch)
        release(split.items)
print(json.dumps({
    "train": len(found.train), "test": len(found.test), "sha256": found.sha256, "bounds": found.bounds, "total": total,
    "items": items, "loaded": loaded, "seconds": time.monotonic() - started,
    # Not ru_maxrss: a new process begins there with what its parent had.
    "peak": 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="wants sparse files, and memory measured in KiB")
def test_an_array_of_20_gib_is_loaded_and_read_in_batches_in_less_than_2_gib_of_memory(tmp_path: Path) -> None:
    row = 3 * SIDE * SIDE * 4
    count = 20 * GIBIBYTE // row + 1
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, 3, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + count * row)
        file.seek(start + (count - 1) * row)
        file.write(np.full(3 * SIDE * SIDE, -2.5, np.float32).tobytes())  # so that the last row is seen
    assert path.stat().st_size > 20 * GIBIBYTE
    assert path.stat().st_blocks * 512 < 1 << 20
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["train"] + found["test"] == count
    assert found["test"] == round(count / 10)
    assert found["bounds"] == [-2.5, 0.0]
    assert found["total"] in (0.0, -2.5 * 3 * SIDE * SIDE)
    assert found["items"] > count / 9
    assert found["peak"] < 2 * GIBIBYTE
