"""Files that a benchmark writes: refused before it runs, not after.

Needs: the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vaekit.errors import OutputError
from vaekit.storage import check_new_file


def check_target(path: Path, endings: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is measured: its folder is tried with an empty file.

    Raises:
        ConfigError: Its ending is none of those.
        OutputError: It exists, its folder does not, or takes no file.
    """
    check_new_file(path, endings, overwrite=overwrite)
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another folder.") from error
