"""Where downloads and converted images are kept between runs.

Needs: the standard library.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "VAEKIT_CACHE"
"""Environment variable that names the cache folder."""


def cache_folder() -> Path:
    """Give the folder that $VAEKIT_CACHE names, else the one that the platform sets aside for caches.

    That is ~/.cache/vaekit on Linux (or $XDG_CACHE_HOME/vaekit), ~/Library/Caches/vaekit on macOS and
    %LOCALAPPDATA%/vaekit/Cache on Windows. It need not exist yet, and may be deleted at any time.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    home = Path(os.path.expanduser("~"))  # not Path.home(), which raises where there is none
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "vaekit" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "vaekit"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "vaekit"
