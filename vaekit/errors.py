"""Every error that vaekit raises on purpose.

    VaekitError
    ├── ConfigError             an option has no meaning, alone or with the others
    ├── DataError               a data set, image or array file cannot be read as data
    ├── ShapeError              an array has a shape, dtype or value that the model cannot take (also a ValueError)
    ├── OutputError             a result cannot be written: it exists, the folder is read-only, the disk is full
    ├── MissingDependencyError  a package of one of the extras is not installed
    ├── ProviderError           ONNX Runtime cannot give the execution provider that was asked for
    ├── MeasurementError        a benchmark's call or process fails, so that there is nothing to measure
    ├── BundleError             a bundle cannot be used
    │   ├── BundleNotFoundError     there is no bundle at that path
    │   ├── BundleVersionError      its format is unknown to this version of vaekit
    │   ├── IntegrityError          a file is missing, changed or larger than stated
    │   └── UnsafeGraphError        a graph reaches outside itself, or draws random numbers
    ├── TrainingError           training cannot go on
    │   ├── CheckpointError         a checkpoint is missing, damaged or of another run
    │   ├── DivergedError           the loss is no longer finite
    │   └── RankError               another process of the same run was lost
    └── ExportError             a model cannot be exported
        └── VerificationError       the exported graphs do not give the numbers that the model gives

A message is one line: what was asked, what was found, what to do. The command line prints it in red and exits with 1.

Needs: the standard library.
"""

from __future__ import annotations


def one_line(text: object, most: int = 300) -> str:
    """Bring another package's message into a line of ours: white space folded, no full stop, not longer than that."""
    return " ".join(str(text).split()).rstrip(".")[:most]


def command_line(*words: object) -> str:
    """Write a command that a message advises, in backquotes, so that it can be pasted: a path with spaces in quotes."""
    import shlex  # here, since most programs never need it

    return f"`{shlex.join(map(str, words))}`"


class VaekitError(Exception):
    """Root of the tree; catch it to catch everything that vaekit raises on purpose."""


class ConfigError(VaekitError):
    """An option has no meaning, alone or together with the others."""


class DataError(VaekitError):
    """A data set, an image or an array file cannot be read as data."""


class ShapeError(VaekitError, ValueError):
    """An array has a shape, dtype or value that the model cannot take."""


class OutputError(VaekitError):
    """A result cannot be written; what was on disk before is still there."""


class MissingDependencyError(VaekitError):
    """A package of one of the extras is not installed."""


class ProviderError(VaekitError):
    """ONNX Runtime cannot give the execution provider that was asked for."""


class MeasurementError(VaekitError):
    """A call or a process that a benchmark measures fails."""


class BundleError(VaekitError):
    """A bundle cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the path."""


class BundleVersionError(BundleError):
    """The bundle's format or version is unknown to this version of vaekit."""


class IntegrityError(BundleError):
    """A file of the bundle is missing, changed or larger than the manifest states."""


class UnsafeGraphError(BundleError):
    """A graph reaches outside its own bytes, or draws random numbers."""


class TrainingError(VaekitError):
    """Training cannot start or go on."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class DivergedError(TrainingError):
    """The loss is no longer finite."""


class RankError(TrainingError):
    """Another process of the same run was lost, or this one found no place among them."""


class ExportError(VaekitError):
    """A model cannot be exported."""


class VerificationError(ExportError):
    """The exported graphs do not give the numbers that the model gives."""
