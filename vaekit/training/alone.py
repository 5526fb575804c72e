"""One process at a time trains into a run's folder: two would each delete what the other has half written.

The lock is the operating system's, on the folder itself: it leaves no file there, and ends with the process that holds it,
however that ends. Windows has none, and a network's file system may know none; nothing is held there.

Needs: the standard library.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vaekit.errors import CheckpointError


@contextlib.contextmanager
def alone_with(run: Path) -> Iterator[None]:
    """Hold a run's folder while the block runs.

    Raises:
        CheckpointError: Another process, or another thread, holds it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"{run} is being trained by another process; wait until it ends, or stop it, then go on."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(folder)
