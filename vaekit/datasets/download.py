"""One file from a list of mirrors, kept only if its content is what it must be.

The digest, not the connection, is what makes a file trustworthy: a mirror that is wrong, short, slow or gone is passed
over with its reason. A file is held in memory until it is checked, and then written whole.

Needs: the standard library.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vaekit.datasets.dataset import LoadProgress, OnProgress
from vaekit.errors import DataError, OutputError
from vaekit.storage import write_file

TIMEOUT: Final = 20.0
"""Seconds without a byte after which a mirror counts as stalled."""

SLOWEST: Final = 2048.0
"""Bytes a second below which, after TIMEOUT, a mirror counts as stalled too: a byte now and then is no download."""

LIMIT: Final = 64 << 20
"""Most bytes of one packed file."""

CHUNK: Final = 1 << 16


class Remote(NamedTuple):
    """A gzipped file that mirrors offer.

    Attributes:
        name: Its name, ending in ".gz".
        sha256: What the SHA-256 must be.
        unpacked: Bytes of the unpacked content, which `sha256` is then taken of, so that any gzip of it will do; None
            where only the SHA-256 of the packed file is known.
    """

    name: str
    sha256: str
    unpacked: int | None


def fetch(
    remote: Remote,
    mirrors: Sequence[str],
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """Download one file.

    Args:
        remote: The file, and what it must be.
        mirrors: Addresses to which the file's name is appended, tried in order.
        folder: Where it goes; made if need be.
        on_progress: Called as bytes arrive.
        timeout: Seconds of silence that are borne.

    Returns:
        The file, in `folder`.

    Raises:
        DataError: No mirror has it; one line with each one's reason.
        OutputError: The folder does not take it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} could not be made: {error.strerror or error}.") from error
    reasons = []
    for mirror in mirrors:
        try:
            content = _read(mirror + remote.name, remote.name, on_progress, timeout)
            check(content, remote)
        except _RefusedError as refused:
            reasons.append(f"{mirror} {refused}")
            continue
        write_file(folder / remote.name, content)
        return folder / remote.name
    raise DataError(
        f"{remote.name} could not be downloaded: {'; '.join(reasons) or 'there is no mirror'}. "
        "Try again later, or fetch the file by hand and give the path of its folder."
    )


class _RefusedError(Exception):
    """Why a mirror is passed over."""


def check(content: bytes, remote: Remote) -> None:
    """Hold that a packed file is what it must be."""
    if remote.unpacked is not None:
        unpack = zlib.decompressobj(wbits=31)  # a gzip header
        try:
            content = unpack.decompress(content, remote.unpacked + 1)  # one byte more shows what is too long
        except zlib.error as error:
            raise _RefusedError(f"gives no gzip file ({error})") from error
        if len(content) != remote.unpacked:
            raise _RefusedError(
                f"gives other content, of {len(content):,} bytes or more instead of {remote.unpacked:,}"
            )
    found = hashlib.sha256(content).hexdigest()
    if found != remote.sha256:
        raise _RefusedError(f"gives other content, of SHA-256 {found}")


def _read(url: str, name: str, on_progress: OnProgress | None, timeout: float) -> bytes:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not url.startswith(("https://", "http://")):
        raise _RefusedError("is no web address")
    content = bytearray()
    started = time.monotonic()
    try:
        request = Request(url, headers={"User-Agent": "vaekit"})  # noqa: S310  the line above holds the scheme
        with urlopen(request, timeout=timeout) as response:  # noqa: S310
            stated = int(response.headers.get("Content-Length") or 0)
            if stated > LIMIT:
                raise _RefusedError(f"states {stated:,} bytes, over the limit of {LIMIT:,}")
            while chunk := response.read1(CHUNK):
                content += chunk
                if len(content) > LIMIT:
                    raise _RefusedError(f"sends more than the limit of {LIMIT:,} bytes")
                seconds = time.monotonic() - started
                if seconds > timeout and len(content) < SLOWEST * seconds:
                    raise _RefusedError(f"stalls: {len(content):,} bytes in {seconds:.0f} s")
                if on_progress is not None:
                    on_progress(LoadProgress(f"downloading {name}", len(content), stated or None, "bytes"))
    except HTTPError as error:
        raise _RefusedError(f"answers {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _RefusedError(f"stalls: nothing for {timeout:g} s after {len(content):,} bytes") from error
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        stalled = isinstance(reason, TimeoutError)
        raise _RefusedError(f"stalls: no connection in {timeout:g} s" if stalled else f"fails: {reason}") from error
    if stated and len(content) != stated:
        raise _RefusedError(f"ends after {len(content):,} of {stated:,} bytes")
    return bytes(content)
