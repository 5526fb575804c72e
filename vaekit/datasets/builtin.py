"""Data sets with a name: where their files are looked for, what they must hold, and where they are downloaded from.

How each is known: MNIST by the SHA-256 of its unpacked files, whatever packed them. Of Fashion-MNIST's files only the packed
ones' digests are published, and no copy was at hand to take others from; so its four ".gz" files are held to those, and
unpacked ones cannot be checked. The digests are those that torchvision's and other projects' sources agree on.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from vaekit.datasets.cachefolder import cache_folder
from vaekit.datasets.dataset import Dataset, OnProgress
from vaekit.datasets.download import Remote, fetch
from vaekit.datasets.idx import FILES, find_file, read_folder
from vaekit.datasets.options import DataOptions
from vaekit.errors import DataError

DATA_VARIABLE: Final = "VAEKIT_DATA"
"""Environment variable that names a folder of data sets, looked at first."""


class Builtin(NamedTuple):
    """A data set that is known by name.

    Attributes:
        remotes: Its four files, in the order of `FILES`.
        mirrors: Where they are offered.
        sha256: SHA-256 of the four arrays' bytes, or None where the packed files' digests stand for it.
        classes: What the labels mean, where they are no numbers.
    """

    remotes: tuple[Remote, ...]
    mirrors: tuple[str, ...]
    sha256: str | None
    classes: tuple[str, ...] = ()


KNOWN: Final = {
    "mnist": Builtin(
        (
            Remote(f"{FILES[0]}.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016),
            Remote(f"{FILES[1]}.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008),
            Remote(f"{FILES[2]}.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016),
            Remote(f"{FILES[3]}.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008),
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16",
    ),
    "fashion-mnist": Builtin(
        (
            Remote(f"{FILES[0]}.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", None),
            Remote(f"{FILES[1]}.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", None),
            Remote(f"{FILES[2]}.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", None),
            Remote(f"{FILES[3]}.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", None),
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # offers no https
        ),
        None,
        (
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
    ),
}
"""Name -> what it is."""


def load_builtin(name: str, options: DataOptions, on_progress: OnProgress | None) -> Dataset:
    """Read a data set of `KNOWN`, from the first folder that has it, or from the net into the cache folder.

    Raises:
        ConfigError: An option was given; these sets come divided and in one size.
        DataError: The files are not what the name promises, or are nowhere and no mirror has them.
        OutputError: The cache folder takes no file.
    """
    options.only(f"the data set {name!r}")
    known = KNOWN[name]
    folder = next((place for place in _places(name) if _has(place, FILES[0])), None)
    if folder is None:
        folder = _download(name, known, on_progress)
    if known.sha256 is None:
        _check_packed(name, known, folder)
    train, test, sha256 = read_folder(folder)
    if known.sha256 is not None and sha256 != known.sha256:
        raise DataError(
            f"{folder} is not {name}: the SHA-256 of its content is {sha256}, not {known.sha256}; "
            "copy the files again, or give the folder's path to use them as they are."
        )
    return Dataset(name, name, sha256, train, test, options, kind="built-in images", classes=known.classes)


def _check_packed(name: str, known: Builtin, folder: Path) -> None:
    """Hold packed files to the published digests."""
    for remote in known.remotes:
        path = find_file(folder, remote.name.removesuffix(".gz"))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != remote.sha256:
            raise DataError(
                f"{folder} is not {name}: the SHA-256 of {path.name} is {found}, but of the published {remote.name} it is "
                f"{remote.sha256}; copy the packed file again, or give the folder's path to use it as it is."
            )


def _download(name: str, known: Builtin, on_progress: OnProgress | None) -> Path:
    folder = cache_folder() / name
    try:
        # The file that the set is found by comes last: a download that was broken off is taken up again.
        for remote in reversed(known.remotes):
            if not (folder / remote.name).exists():
                fetch(remote, known.mirrors, folder, on_progress=on_progress)
    except DataError as error:
        places = ", ".join(str(place) for place in _places(name))
        raise DataError(
            f"the data set {name!r} was not found in {places}; set {DATA_VARIABLE} to the folder that holds {name}/, or "
            f"give the path of its files; {error}"
        ) from error
    return folder


def _has(folder: Path, stem: str) -> bool:
    return any((folder / (stem + ending)).exists() for ending in ("", ".gz"))


def _places(name: str) -> Iterator[Path]:
    if os.environ.get(DATA_VARIABLE):
        yield Path(os.environ[DATA_VARIABLE]) / name
    yield Path("data") / name  # a clone, from its root
    yield Path(__file__).resolve().parents[2] / "data" / name  # a clone, from anywhere, by an editable install
    yield cache_folder() / name
