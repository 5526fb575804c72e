"""Downloads from mirrors on loopback: good, truncated, wrong, stalled, missing; and that nothing half-written stays."""

import gzip
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import builtin, download, load_dataset
from vaekit.datasets.download import Remote, fetch
from vaekit.errors import DataError, OutputError

CONTENT = np.random.default_rng(0).integers(0, 256, size=300_000, dtype=np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REMOTE = Remote("file.gz", SHA256, len(CONTENT))
NAME = REMOTE.name
ANSWERS = {
    "good": PACKED,
    "repacked": gzip.compress(CONTENT, 1),
    "unsized": PACKED,
    "cut": PACKED[:-1000],
    "wrong": gzip.compress(bytes(len(CONTENT))),
    "longer": gzip.compress(CONTENT + b"!"),
    "bomb": gzip.compress(bytes(32 << 20), 1),
    "page": b"<html>the file has moved</html>",
    "empty": b"",
}
QUICK = 0.5
"""Seconds of silence, in place of download.TIMEOUT, before a mirror counts as stalled."""


class Mirror(BaseHTTPRequestHandler):
    """Answers /KIND/file.gz as KIND says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404, "Not Found")
        elif kind == "silent":
            self.server.stop.wait(10)
        elif kind == "stalled":
            self.head(len(PACKED))
            self.wfile.write(PACKED[:1000])
            self.wfile.flush()
            self.server.stop.wait(10)
        elif kind == "trickle":
            self.head(len(PACKED))
            for byte in PACKED[:100]:  # five seconds of it
                self.wfile.write(bytes([byte]))
                if self.server.stop.wait(0.05):
                    return
        elif kind == "truncated":
            self.head(len(PACKED))
            self.wfile.write(PACKED[:-1000])
            self.close_connection = True
        elif kind == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/good/{NAME}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer(ANSWERS[kind], sized=kind != "unsized")

    def head(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, content: bytes, *, sized: bool) -> None:
        if sized:
            self.head(len(content))
        else:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep standard error clean."""


@pytest.fixture(scope="module")
def mirror() -> Iterator[Callable[..., tuple[str, ...]]]:
    """Return ``mirror("missing", "good")``: the addresses of mirrors that answer so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.stop = threading.Event()
    server.handle_error = lambda *_: None  # clients that hang up are the point
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield lambda *kinds: tuple(f"http://127.0.0.1:{server.server_port}/{kind}/" for kind in kinds)
    server.stop.set()
    server.shutdown()
    server.server_close()
    thread.join()


REASONS = {
    "missing": r"answers 404 Not Found",
    "silent": r"stalls: nothing for 0\.5 s after 0 bytes",
    "stalled": r"stalls: nothing for 0\.5 s after 1,000 bytes",
    "trickle": r"stalls: \d+ bytes in \d s",
    "truncated": r"ends after [\d,]+ of [\d,]+ bytes",
    "cut": r"gives other content, of [\d,]+ bytes or more instead of 300,000",
    "wrong": rf"gives other content, of SHA-256 {hashlib.sha256(bytes(len(CONTENT))).hexdigest()}",
    "longer": r"gives other content, of 300,001 bytes or more instead of 300,000",
    "bomb": r"gives other content, of 300,001 bytes or more instead of 300,000",
    "page": r"gives no gzip file \(.*\)",
    "empty": r"gives other content, of 0 bytes or more instead of 300,000",
}


@pytest.mark.parametrize("kind", ["good", "repacked", "unsized", "redirect"])
def test_a_good_mirror_gives_the_file(mirror: Callable, tmp_path: Path, kind: str) -> None:
    told = []
    path = fetch(REMOTE, mirror(kind), tmp_path / "a" / "b", on_progress=told.append)
    assert path == tmp_path / "a" / "b" / NAME
    assert gzip.decompress(path.read_bytes()) == CONTENT
    assert [*path.parent.iterdir()] == [path]
    assert told[-1].what == "downloading file.gz"
    assert told[-1].done == path.stat().st_size
    assert told[-1].total == (None if kind == "unsized" else told[-1].done)


@pytest.mark.parametrize("kind", REASONS)
def test_a_bad_mirror_is_passed_over_with_its_reason_and_leaves_nothing(
    mirror: Callable, tmp_path: Path, kind: str
) -> None:
    started = time.monotonic()
    (bad,) = mirror(kind)
    # Half a second of silence alone is no stall on a busy machine, so it is one where a stall is looked for.
    timeout = QUICK if kind in ("silent", "stalled", "trickle") else download.TIMEOUT
    with pytest.raises(DataError, match=rf"^file\.gz could not be downloaded: {re.escape(bad)} {REASONS[kind]}\. Try"):
        fetch(REMOTE, (bad,), tmp_path, timeout=timeout)
    assert [*tmp_path.iterdir()] == []
    assert gzip.decompress(fetch(REMOTE, mirror(kind, "good"), tmp_path, timeout=timeout).read_bytes()) == CONTENT
    assert time.monotonic() - started < 8


def test_when_all_fail_one_line_lists_them_all(mirror: Callable, tmp_path: Path) -> None:
    bad = (*mirror("missing", "wrong"), "http://127.0.0.1:9/", "ftp://127.0.0.1/", "file:///etc/")
    with pytest.raises(DataError) as caught:
        fetch(REMOTE, bad, tmp_path, timeout=QUICK)
    line = str(caught.value)
    assert "\n" not in line
    for address, reason in zip(
        bad, ("answers 404", "gives other content", "fails: ", "is no web address", "is no web address"), strict=True
    ):
        assert f"{address} {reason}" in line


def test_a_file_known_by_its_packed_digest_must_be_packed_the_same(mirror: Callable, tmp_path: Path) -> None:
    remote = Remote(NAME, hashlib.sha256(PACKED).hexdigest(), None)
    with pytest.raises(DataError, match="gives other content, of SHA-256"):
        fetch(remote, mirror("repacked"), tmp_path)
    assert fetch(remote, mirror("repacked", "good"), tmp_path).read_bytes() == PACKED


@pytest.mark.parametrize("kind", ["good", "unsized"])
def test_a_file_over_the_limit_is_not_read_on(
    mirror: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(download, "LIMIT", 1000)
    with pytest.raises(DataError, match=r"(states [\d,]+ bytes, over the|sends more than the) limit of 1,000"):
        fetch(REMOTE, mirror(kind), tmp_path)


def test_a_cache_folder_that_cannot_be_made_is_an_output_error(mirror: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be made: Not a directory"):
        fetch(REMOTE, mirror("good"), tmp_path / "file" / "folder")


# A built-in data set.


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[list[np.ndarray], Path]]:
    """MNIST's name for four small files; a folder from which a server offers them."""
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 10, size=shape, dtype=np.uint8) for shape in ((6, 3, 2), (6,), (4, 3, 2), (4,))]
    served = tmp_path / "served"
    served.mkdir()
    remotes = []
    for remote, array in zip(builtin.KNOWN["mnist"].remotes, arrays, strict=True):
        content = idx(array)
        (served / remote.name).write_bytes(gzip.compress(content))
        remotes.append(remote._replace(sha256=hashlib.sha256(content).hexdigest(), unpacked=len(content)))

    class Files(Mirror):
        def do_GET(self) -> None:
            path = served / self.path.lstrip("/")
            self.answer(path.read_bytes(), sized=True) if path.exists() else self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    known = builtin.KNOWN["mnist"]._replace(
        remotes=tuple(remotes),
        mirrors=(f"http://127.0.0.1:{server.server_port}/",),
        sha256=hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest(),
    )
    monkeypatch.setitem(builtin.KNOWN, "mnist", known)
    monkeypatch.setattr(builtin, "__file__", str(tmp_path / "site-packages" / "vaekit" / "datasets" / "builtin.py"))
    monkeypatch.chdir(tmp_path)
    yield arrays, served
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_named_set_that_is_nowhere_is_downloaded_once_into_the_cache(
    small_set: tuple[list[np.ndarray], Path], tmp_path: Path
) -> None:
    arrays, served = small_set
    found = load_dataset("mnist")
    np.testing.assert_array_equal(found.test.items[:, 0], arrays[2])
    names = [remote.name for remote in builtin.KNOWN["mnist"].remotes]
    assert sorted(path.name for path in (tmp_path / "cache" / "mnist").iterdir()) == sorted(names)
    for path in served.iterdir():
        path.unlink()
    assert load_dataset("mnist").sha256 == found.sha256


def test_a_download_that_was_broken_off_is_taken_up_again(
    small_set: tuple[list[np.ndarray], Path], tmp_path: Path
) -> None:
    arrays, served = small_set
    first = served / builtin.KNOWN["mnist"].remotes[0].name
    first.rename(served / "away")
    with pytest.raises(
        DataError, match=r"^the data set 'mnist' was not found in [^\n]*answers 404 Not Found\. Try again"
    ):
        load_dataset("mnist")
    kept = sorted((tmp_path / "cache" / "mnist").iterdir())
    assert len(kept) == 3
    times = [path.stat().st_mtime_ns for path in kept]
    (served / "away").rename(first)
    np.testing.assert_array_equal(load_dataset("mnist").train.items[:, 0], arrays[0])
    assert [path.stat().st_mtime_ns for path in kept] == times
