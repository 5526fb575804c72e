"""CSV and Parquet: rows, windows, labels, standardisation, and every gap that is refused. Expected values are NumPy's."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaekit.datasets import DataOptions, Dataset, load_dataset
from vaekit.errors import ConfigError, DataError

ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * [1, 1000, 0] + [0, 0, 7]
NAMES = ("speed", "pressure [Pa]", "constant")
LABELS = np.arange(40) % 3


def write(path: Path, *, labels: bool = True) -> Path:
    """ROWS as .csv, .tsv or .parquet, with `gear` (numbers) and `driver` (texts) as labels."""
    columns = {name: ROWS[:, place].astype(np.float32) for place, name in enumerate(NAMES)}
    if labels:
        columns |= {"gear": LABELS, "driver": np.array(["Zoë", "Ann", "Bo"])[LABELS]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ";" if "semicolon" in path.name else ","
        lines = [columns, *zip(*(column.tolist() for column in columns.values()), strict=True)]
        path.write_text("".join(delimiter.join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
    return path


def both(found: Dataset) -> np.ndarray:
    items = np.concatenate([found.train.items, found.test.items])
    return items[np.lexsort(items.reshape(len(items), -1).T)]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "semicolon.csv", "x.parquet"])
def test_each_row_is_an_item_in_its_columns_units(tmp_path: Path, name: str) -> None:
    found = load_dataset(write(tmp_path / name, labels=False), DataOptions(test_fraction=0.25))
    assert (len(found.train), len(found.test), found.spec.shape, found.spec.range) == (30, 10, (3,), None)
    assert found.train.items.dtype == np.float32
    expected = ROWS.astype(np.float32)
    np.testing.assert_array_equal(both(found), expected[np.lexsort(expected.T)])
    digest = hashlib.sha256("\0".join(NAMES).encode() + expected.tobytes()).hexdigest()
    assert found.sha256 == digest


@pytest.mark.parametrize("options", [DataOptions(test_fraction=0.25), DataOptions(window=4)])
def test_standardisation_is_measured_on_training_rows_alone(tmp_path: Path, options: DataOptions) -> None:
    found = load_dataset(write(tmp_path / "x.csv", labels=False), options)
    rows = found.train.items if options.window is None else ROWS[:36].astype(np.float32)
    for place, feature in enumerate(found.features[:2]):
        values = rows[:, place].astype(np.float64)
        assert feature.name == NAMES[place]
        assert feature.offset == np.float32(values.mean())
        assert feature.scale == np.float32(values.std())
        assert feature.offset != pytest.approx(ROWS[:, place].mean(), rel=1e-6), "test rows do not count"
    assert vars(found.features[2]) == {"name": "constant", "offset": 7.0, "scale": 1.0}
    assert found.spec.features == found.features


def test_what_is_trained_on_is_what_a_float32_graph_standardises_to(tmp_path: Path) -> None:
    # Seconds since 1970, a million deviations from 0: between two float32 there are 128 of them.
    seconds = 1.7e9 + 300 * np.random.default_rng(0).standard_normal(200)
    (tmp_path / "x.csv").write_text("\n".join(["t", *(f"{second:.1f}" for second in seconds)]))
    found = load_dataset(tmp_path / "x.csv")
    (feature,) = found.features
    trained = (found.train.items.astype(np.float64) - feature.offset) / feature.scale
    in_graph = (found.train.items - np.float32(feature.offset)) / np.float32(feature.scale)
    assert in_graph.dtype == np.float32
    np.testing.assert_allclose(trained, in_graph, rtol=1e-6)


def test_columns_are_taken_by_name_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    found = load_dataset(write(tmp_path / "x.csv"), DataOptions(columns=("gear", "speed")))
    assert [feature.name for feature in found.features] == ["gear", "speed"]
    expected = np.stack([LABELS, ROWS[:, 0]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(both(found), expected[np.lexsort(expected.T)])


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_label_column_gives_labels_and_no_input(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    where = {row.tobytes(): label for row, label in zip(ROWS.astype(np.float32), LABELS, strict=True)}
    numbers = load_dataset(path, DataOptions(columns=NAMES, label="gear"))
    texts = load_dataset(path, DataOptions(columns=NAMES, label="driver"))
    assert (numbers.classes, texts.classes) == ((), ("Ann", "Bo", "Zoë"))
    for part in ("train", "test"):
        split = getattr(numbers, part)
        expected = [where[row.tobytes()] for row in split.items]
        assert split.labels.tolist() == expected
        named = [texts.classes[label] for label in getattr(texts, part).labels]
        assert named == [("Zoë", "Ann", "Bo")[label] for label in expected]
    assert len({numbers.sha256, texts.sha256}) == 2


def test_without_columns_all_are_read_but_the_label(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b,kind\n1,2,0\n3,4,1\n5,6,0\n")
    assert [f.name for f in load_dataset(path, DataOptions(label="kind")).features] == ["a", "b"]
    assert [f.name for f in load_dataset(path).features] == ["a", "b", "kind"]


@pytest.mark.parametrize("stride", [None, 1, 3, 9])
def test_windows_are_cut_from_the_series_and_none_crosses_the_border(tmp_path: Path, stride: int | None) -> None:
    found = load_dataset(
        write(tmp_path / "x.csv", labels=False), DataOptions(window=6, stride=stride, test_fraction=0.25)
    )
    series = ROWS.astype(np.float32)
    for split, start, end in ((found.train, 0, 30), (found.test, 30, 40)):
        expected = [series[at : at + 6].T for at in range(start, end - 5, stride or 6)]
        np.testing.assert_array_equal(split.items, expected)
        np.testing.assert_array_equal(split.pixels(np.array([len(expected) - 1, 0])), [expected[-1], expected[0]])
    assert (found.spec.shape, found.spec.layout) == ((3, 6), "DT")
    assert found.division == "in time, the last 25% of the rows to test on"


def test_overlapping_windows_share_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "\n".join(map(str, range(5000))) + "\n")
    items = load_dataset(path, DataOptions(window=1000, stride=1, test_fraction=0.2)).train.items
    assert items.shape == (3001, 1, 1000)
    assert items.strides[0] == items.strides[2] == 4, "a step in time is the same whichever way one counts"


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (41, "x.csv has 40 rows, fewer than one window of 41; give a shorter window."),
        (37, "x.csv: test_fraction=0.1 leaves 36 rows in the first part, fewer than one window of 37"),
        (
            5,
            "x.csv: test_fraction=0.1 leaves 4 rows in the last part, fewer than one window of 5; give a shorter window",
        ),
    ],
)
def test_a_window_longer_than_the_series_or_a_part_of_it_is_an_error(tmp_path: Path, window: int, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(write(tmp_path / "x.csv", labels=False), DataOptions(window=window))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\n1,2\n3,four\n5,6\n",
            "column 'b' holds text in row 2: 'four'; name the numeric columns by --columns, or correct it.",
        ),
        ("a,b\n1,x\n3,y\n", "column 'b' holds text in row 1: 'x'; name the numeric columns by --columns"),
        ("a,b\n1,2\n3,\n5,6\n", "column 'b' has a gap in row 2; fill it, or drop the row."),
        ("a,b\n1,2\n3,4\n5,NaN\n", "column 'b' has a gap in row 3; fill it"),
        ("a,b\n1,\n3,\n", "column 'b' has a gap in row 1; fill it"),
        ("a,b\n1,2\ninf,4\n", "column 'a' has inf in row 2; every value must be a finite float32."),
        ("a,b\n1,2\n3,-inf\n", "column 'b' has -inf in row 2; every value must be"),
        ("a,b\n1,2\n3,1e39\n", "column 'b' has 1e+39 in row 2; every value must be"),
        (
            "a,b\n1,2020-01-01\n2,2020-01-02\n",
            "column 'b' holds date32[day] (row 1: '2020-01-01'); name the numeric columns by --columns",
        ),
        ("a,b\n1,2\n3,4,5\n", "cannot be read as a table: CSV parse error: "),
        ("a,a\n1,2\n3,4\n", "has more than one column called 'a'; give each its own name."),
        (",a\n0,2\n1,4\n", "column 1 has no name (pandas writes its row numbers so, unless index=False)."),
        ("1.5,2\n3,4\n5,6\n", "has no header: its first line is '1.5,2'; name the columns there."),
        ("", "has no header: its first line is empty"),
        ("\n1,2\n", "has no header: its first line is empty"),
        ("a,b\n", "x.csv has no rows below its header."),
        ("a,b\n1,2\n", "x.csv has 1 items; at least two are needed"),
    ],
)
def test_a_csv_file_that_is_no_table_of_numbers_says_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_dataset(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, None, 3.0], "column 'b' has a gap in row 2"),
        ([1.0, float("nan"), 3.0], "column 'b' has a gap in row 2; every value must be"),
        ([1.0, 2.0, float("inf")], "column 'b' has inf in row 3"),
        (["1", "2", "x"], "column 'b' holds text in row 3: 'x'"),
        ([[1], [2], [3]], "column 'b' holds list<"),
        ([None, None, None], "column 'b' has a gap in row 1"),
    ],
)
def test_a_parquet_file_that_is_no_table_of_numbers_says_where(tmp_path: Path, column: list, message: str) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3], "b": column}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(tmp_path / "x.parquet")


@pytest.mark.parametrize("column", [[1, 2, 3], [True, False, True], [1.5, 2.5, 3.5], ["+1", "-2.5", "1e3"]])
def test_every_kind_of_number_is_read(tmp_path: Path, column: list) -> None:
    pq.write_table(pa.table({"a": column}), tmp_path / "x.parquet")
    np.testing.assert_array_equal(both(load_dataset(tmp_path / "x.parquet"))[:, 0], sorted(map(float, column)))


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,\xff\xfe\n3,\xff\n")
    with pytest.raises(DataError, match=r"(cannot be read as a table|holds (text|binary))[^\n]*$"):
        load_dataset(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(columns=("speed", "sped")), "x.csv has no column 'sped'; it has 'speed', 'pressure [Pa]', "),
        (DataOptions(label="geer"), "x.csv has no column 'geer'; it has"),
        (
            DataOptions(columns=("speed",), label="pressure [Pa]"),
            "label column 'pressure [Pa]' holds double; labels are",
        ),
    ],
)
def test_a_column_that_is_not_there_or_no_label_is_named(tmp_path: Path, options: DataOptions, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(write(tmp_path / "x.csv"), options)


def test_a_label_must_be_there_for_every_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,u\n2,\n3,u\n")
    with pytest.raises(DataError, match="the label column 'b' has a gap in row 2"):
        load_dataset(tmp_path / "x.csv", DataOptions(label="b"))
    (tmp_path / "y.csv").write_text("b\n1\n2\n")
    with pytest.raises(ConfigError, match="has no column but the label 'b'; there is nothing to learn from"):
        load_dataset(tmp_path / "y.csv", DataOptions(label="b"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(size=28), "size does not apply to the rows of a table (only columns, window"),
        (
            DataOptions(window=4, split_seed=1),
            "split_seed does not apply to the windows of a table, which are divided in time",
        ),
        (DataOptions(window=4, label="gear"), "label does not apply to the windows of a table"),
    ],
)
def test_an_option_that_does_not_apply_is_an_error(tmp_path: Path, options: DataOptions, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_dataset(write(tmp_path / "x.csv"), options)


@pytest.mark.parametrize("name", ["with space, comma.csv", "Zoë 数据.csv", "new\nline.csv", "s3:scheme?x=%20#.parquet"])
def test_a_path_with_odd_characters_is_read(tmp_path: Path, name: str) -> None:
    found = load_dataset(write(tmp_path / name, labels=False))
    assert len(found.train) == 36
    assert load_dataset(found.source).sha256 == found.sha256


def test_columns_that_pandas_numbered_are_a_header(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("0,1,2\n1,2,3\n4,5,6\n")
    assert len(load_dataset(tmp_path / "x.csv").features) == 3


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n3,4\n")
    assert load_dataset(tmp_path / "x.csv").features[0].name == "a"


@pytest.mark.parametrize(("hidden", "code"), [(True, 1), (False, 0)])
def test_without_pyarrow_one_line_names_the_extra(tmp_path: Path, hidden: bool, code: int) -> None:
    path = write(tmp_path / "x.csv", labels=False)
    program = (
        f"import sys\nsys.modules.update({{'pyarrow': None}} if {hidden} else {{}})\n"
        f"from vaekit.datasets import load_dataset\nfrom vaekit.errors import MissingDependencyError\n"
        f"try:\n    load_dataset({str(path)!r})\nexcept MissingDependencyError as error:\n    sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    if hidden:
        assert done.stderr == "reading x.csv needs pyarrow; install it with `pip install 'vaekit[tables]'`.\n"
