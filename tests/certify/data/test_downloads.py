from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from certify.core.errors import DataError
from certify.core.progress import Silent
from certify.data.downloads import Remote, fetch, fetch_archive, unpack

CONTENT = bytes(range(256)) * 2000
QUIET_S = 0.4


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; ``ranges`` says whether it it supports resuming, ``limit`` where it disconnects."""

    ranges = True
    limit: int | None = None
    stall = False
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.content = CONTENT
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/toy.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        body = server.content[start : server.limit]
        self.send_response(server.status if server.status != 200 else 206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if server.stall:
            server.released.wait(20)

    def log_message(self, *args: object) -> None:
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.released.set()
    running.shutdown()
    running.server_close()
    thread.join()


def remote(server: Server, content: bytes = CONTENT) -> Remote:
    return Remote(server.url, "sha256:" + hashlib.sha256(content).hexdigest(), len(content))


class Recorder(Silent):
    """Adds up the steps of its progress bars."""

    def __init__(self) -> None:
        self.done = 0.0
        self.total: float | None = None

    def task(self, description: str, total: float | None = None):  # type: ignore[no-untyped-def]
        self.total = total
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.done += steps


def test_fetch_writes_the_whole_file_once_when_the_server_answers(server: Server, tmp_path: Path) -> None:
    path, progress = tmp_path / "cache" / "toy.bin", Recorder()
    fetch(remote(server), path, progress)
    assert path.read_bytes() == CONTENT
    assert progress.done == progress.total == len(CONTENT)
    fetch(remote(server), path, progress)
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["toy.bin"]


def test_fetch_accepts_md5_when_that_is_what_is_published(server: Server, tmp_path: Path) -> None:
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
    fetch(replace(remote(server), digest=md5), tmp_path / "toy.bin", Silent())
    assert (tmp_path / "toy.bin").read_bytes() == CONTENT


def test_fetch_accepts_any_file_when_neither_size_nor_digest_is_published(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.bin.part").write_bytes(b"of an earlier try")
    progress = Recorder()
    fetch(Remote(server.url, None, None), tmp_path / "toy.bin", progress)
    assert (tmp_path / "toy.bin").read_bytes() == CONTENT
    assert progress.done == progress.total == len(CONTENT) and server.asked == [None]


def test_fetch_compares_the_prefix_when_only_part_of_the_digest_is_published(server: Server, tmp_path: Path) -> None:
    begins = hashlib.sha256(CONTENT).hexdigest()[:8]
    fetch(Remote(server.url, f"sha256:{begins}", None), tmp_path / "toy.bin", Silent())
    with pytest.raises(DataError, match="deleted"):
        fetch(Remote(server.url, f"sha256:x{begins}", None), tmp_path / "other.bin", Silent())


@pytest.mark.parametrize("ranges", [True, False])
def test_fetch_resumes_when_a_download_was_interrupted(server: Server, tmp_path: Path, ranges: bool) -> None:
    path = tmp_path / "toy.bin"
    server.limit = 100_000
    with pytest.raises(DataError, match=r"interrupted.*run again to resume"):
        fetch(remote(server), path, Silent())
    assert not path.exists()
    server.limit, server.ranges = None, ranges
    progress = Recorder()
    fetch(remote(server), path, progress)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]
    assert progress.done == len(CONTENT)


def test_fetch_only_checks_when_the_part_is_complete(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.bin.part").write_bytes(CONTENT)
    fetch(remote(server), tmp_path / "toy.bin", Silent())
    assert server.asked == []


def test_fetch_starts_over_when_the_part_is_too_long(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.bin.part").write_bytes(CONTENT + b"x")
    fetch(remote(server), tmp_path / "toy.bin", Silent())
    assert server.asked == [None]


def test_fetch_is_refused_and_nothing_kept_when_the_digest_differs(server: Server, tmp_path: Path) -> None:
    server.content = b"x" + CONTENT[1:]
    with pytest.raises(DataError, match="published file .* deleted"):
        fetch(remote(server), tmp_path / "toy.bin", Silent())
    assert list(tmp_path.iterdir()) == []


def test_fetch_names_the_reason_when_the_server_refuses(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match=r"toy.bin: download failed \(Not Found\)"):
        fetch(remote(server), tmp_path / "toy.bin", Silent())


def test_fetch_names_the_reason_when_the_connection_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="download failed .*refused"):
        fetch(Remote(f"http://127.0.0.1:{port}/toy.bin", "md5:0", 1), tmp_path / "toy.bin", Silent())


def test_fetch_times_out_when_the_server_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts the connection, never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/toy.bin"
        began = time.monotonic()
        with pytest.raises(DataError, match=r"no answer within 0.4 s; .*mnist5k"):
            fetch(Remote(url, "md5:0", 1), tmp_path / "toy.bin", Silent(), timeout_s=QUIET_S)
        assert time.monotonic() - began < QUIET_S + 2


def test_fetch_times_out_when_the_name_is_never_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: never.wait(5) and [])
    monkeypatch.setenv("no_proxy", "*")
    began = time.monotonic()
    with pytest.raises(DataError, match=r"no answer within 0.4 s"):
        fetch(Remote("http://leanmark.invalid/x", "md5:0", 1), tmp_path / "x", Silent(), timeout_s=QUIET_S)
    assert time.monotonic() - began < QUIET_S + 2
    never.set()


def test_fetch_times_out_and_resumes_later_when_the_server_falls_silent(server: Server, tmp_path: Path) -> None:
    server.limit, server.stall = 5000, True
    began = time.monotonic()
    with pytest.raises(DataError, match="no answer within 0.4 s"):
        fetch(remote(server), tmp_path / "toy.bin", Silent(), timeout_s=QUIET_S)
    assert time.monotonic() - began < QUIET_S + 2
    assert (tmp_path / "toy.bin.part").read_bytes() == CONTENT[:5000]


def archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_unpack_extracts_the_files_when_the_archive_is_valid(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tgz",
        [(member("./top", tarfile.DIRTYPE), b""), (member("top/in/x.txt"), b"x"), (member("y"), b"")],
    )
    unpack(path, tmp_path / "out", Silent())
    assert (tmp_path / "out/top/in/x.txt").read_bytes() == b"x"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tgz", "out"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../evil"), "outside the folder"),
        (member("in/../../evil"), "outside the folder"),
        (member("/tmp/evil"), "outside the folder"),
        (member("C:\\evil"), "outside the folder"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a folder"),
        (member("link", tarfile.LNKTYPE, "good"), "neither a file nor a folder"),
        (member("fifo", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("device", tarfile.CHRTYPE), "neither a file nor a folder"),
    ],
)
def test_unpack_is_refused_and_leaves_nothing_when_a_path_leaves_the_folder(
    tmp_path: Path, bad: tarfile.TarInfo, words: str
) -> None:
    path = archive(tmp_path / "a.tgz", [(member("good"), b"good"), (bad, b"")])
    with pytest.raises(DataError, match=words):
        unpack(path, tmp_path / "deep/er/out", Silent())
    assert [p.name for p in tmp_path.rglob("*") if not p.is_dir()] == ["a.tgz"]


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_unpack_is_refused_and_leaves_nothing_when_the_archive_is_truncated(tmp_path: Path, cut: int) -> None:
    import random

    noise = random.Random(0).randbytes(4000)
    path = archive(tmp_path / "a.tgz", [(member("good"), noise), (member("more"), noise[::-1])])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="is damaged"):
        unpack(path, tmp_path / "out", Silent())
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]


def test_unpack_is_refused_when_a_byte_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", [(member("good"), bytes(100_000))])
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum at the end
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        unpack(path, tmp_path / "out", Silent())


def test_fetch_archive_downloads_once_and_deletes_the_archive_when_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = archive(tmp_path / "a.tgz", [(member("top/x"), b"x")]).read_bytes()
    published = remote(server, server.content)
    for _ in range(2):
        folder = fetch_archive(published, tmp_path / "cache/top", Silent())
        assert (folder / "top/x").read_bytes() == b"x"
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["top"]
