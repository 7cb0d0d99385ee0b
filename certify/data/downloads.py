"""Downloads of published data sets: complete, checked by digest, and given up soon if the network does not answer."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import queue
import shutil
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from certify.core.errors import DataError
from certify.core.files import CHUNK_BYTES
from certify.core.progress import Progress

TIMEOUT_S = 10.0
NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        url: its address.
        digest: ``sha256:HEX`` or ``md5:HEX``, as stated by its publisher or by common libraries; HEX may be a prefix.
            None if none is stated.
        bytes: its size; None if it is not stated, in which case an interrupted download starts over.
        instead: alternative to suggest in the error message.
    """

    url: str
    digest: str | None
    bytes: int | None
    instead: str = "use data that is on this machine, such as mnist5k or imagefolder:PATH"

    @property
    def name(self) -> str:
        """Last component of the address."""
        return self.url.rsplit("/", 1)[-1]


def fetch(remote: Remote, path: Path, progress: Progress, timeout_s: float = TIMEOUT_S) -> None:
    """Download a file unless it exists; afterwards ``path`` is complete and checked, or absent.

    An interrupted download of known size is kept as ``path`` + ``.part``, and the next call resumes it.

    Args:
        remote: the published file.
        path: destination.
        progress: display of the progress.
        timeout_s: seconds without a response or without data after which the download is given up.

    Raises:
        DataError: the server does not answer or refuses, or the file is not the published one.
        OSError: the file cannot be written.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    # Without a published size, a partial file cannot be distinguished from a complete one.
    if have and (remote.bytes is None or have > remote.bytes):
        part.unlink()
        have = 0
    # If the partial file is complete, it only needs to be checked and renamed.
    if have != remote.bytes:
        response, resumed = _open(remote, have, timeout_s)
        # A server that ignores the range sends the file from the beginning.
        have = have if resumed else 0
        stated = response.headers.get("Content-Length")
        size = remote.bytes or (int(stated) if stated and stated.isdigit() else None)
        with (
            progress.task(f"Downloading {remote.name}", total=size) as task,
            response,
            part.open("ab" if resumed else "wb") as target,
        ):
            task.advance(have)
            for chunk in _chunks(response, remote, timeout_s):
                target.write(chunk)
                task.advance(len(chunk))
        _check_size(remote, part, size)
    _check_digest(remote, part)
    part.replace(path)


def _open(remote: Remote, have: int, timeout_s: float) -> tuple[Any, bool]:
    """Request the bytes from ``have`` on; return the response and whether the server resumes from there.

    The request runs in its own thread: the socket's timeout covers neither the DNS lookup nor the attempts on several
    addresses of one host, each with its own timeout.
    """
    headers = {"User-Agent": "leanmark", **({"Range": f"bytes={have}-"} if have else {})}
    request = urllib.request.Request(remote.url, headers=headers)
    answers: queue.Queue[Any] = queue.Queue()

    # Runs in a separate thread, because resolving a name can block far longer than urllib's timeout.
    def ask() -> None:
        try:
            answers.put(urllib.request.build_opener().open(request, timeout=timeout_s))
        except NETWORK_ERRORS as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise _silent(remote, timeout_s) from None
    if isinstance(answer, BaseException):
        reason = getattr(answer, "reason", answer)
        if isinstance(reason, TimeoutError) or isinstance(answer, TimeoutError):
            raise _silent(remote, timeout_s) from answer
        raise DataError(
            f"{remote.url}: download failed ({reason}); check the network and try again, or {remote.instead}."
        ) from answer
    # Only status 206 confirms that the server respects the range.
    return answer, answer.status == http.HTTPStatus.PARTIAL_CONTENT


def _silent(remote: Remote, timeout_s: float) -> DataError:
    return DataError(
        f"{remote.url}: no answer within {timeout_s:g} s; check the network and try again, or {remote.instead}."
    )


def _chunks(response: Any, remote: Remote, timeout_s: float) -> Iterator[bytes]:
    while True:
        try:
            # `read1` returns what has arrived, so that the progress bar moves on slow connections.
            chunk = response.read1(CHUNK_BYTES)
        except TimeoutError as error:
            raise _silent(remote, timeout_s) from error
        except NETWORK_ERRORS as error:
            raise DataError(f"{remote.url}: the download was interrupted ({error!r}); {_again(remote)}") from error
        if not chunk:
            return
        yield chunk


def _again(remote: Remote) -> str:
    return "try again." if remote.bytes is None else "run again to resume."


def _check_size(remote: Remote, part: Path, size: int | None) -> None:
    found = part.stat().st_size
    if size is not None and found < size:
        raise DataError(f"{remote.url}: the download was interrupted after {found} of {size} bytes; {_again(remote)}")


def _check_digest(remote: Remote, part: Path) -> None:
    if remote.digest is None:
        return
    # A prefix is enough, because some publishers state shortened digests.
    algorithm, _, wanted = remote.digest.partition(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with part.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    if not digest.hexdigest().startswith(wanted):
        part.unlink()
        raise DataError(
            f"{remote.url}: the download has {algorithm} {digest.hexdigest()}, but the published file has {wanted}; it "
            "was deleted, try again."
        )


def fetch_archive(remote: Remote, folder: Path, progress: Progress, timeout_s: float = TIMEOUT_S) -> Path:
    """Download and unpack a tar archive unless ``folder`` exists; return ``folder``, which is complete or absent.

    Raises:
        DataError: as :func:`fetch` and :func:`unpack`.
    """
    if not folder.is_dir():
        archive = folder.parent / remote.name
        fetch(remote, archive, progress, timeout_s)
        unpack(archive, folder, progress)
        archive.unlink()
    return folder


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack a gzipped tar archive into a new folder, which appears only when complete.

    Raises:
        DataError: the archive is damaged, or contains a path outside the folder, a link or a device.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # On the same file system as the target, so that the final rename is atomic.
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with (
            progress.task(f"Unpacking {archive.name}", total=archive.stat().st_size) as task,
            archive.open("rb") as stream,
            gzip.open(stream) as unzipped,
            tarfile.open(fileobj=unzipped, mode="r:") as tar,
        ):
            before = 0
            for member in tar:
                _unpack_member(tar, member, beside, archive)
                task.advance(stream.tell() - before)
                before = stream.tell()
            while unzipped.read(CHUNK_BYTES):
                pass  # read to the end, where the checksum is
        # mkdtemp creates the folder for its owner only.
        beside.chmod(0o755)
        beside.replace(folder)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: is damaged ({error}); delete it and try again.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    inside = PurePosixPath(member.name)
    # Names that would leave the folder, also in the forms that other systems understand.
    if inside.is_absolute() or ".." in inside.parts or "\\" in member.name or ":" in member.name:
        raise DataError(f"{archive}: contains '{member.name}', a path outside the folder; it was not unpacked.")
    target = folder / inside
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    # Links and devices are refused, because a link could point outside the folder.
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise DataError(
            f"{archive}: contains '{member.name}', which is neither a file nor a folder; it was not unpacked."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as out:
        shutil.copyfileobj(content, out, CHUNK_BYTES)
