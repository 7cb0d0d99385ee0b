"""Transport over Flower: requests to the ServerApp through a Unix socket in a private folder."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from certify.core.errors import DataError, UsageError
from compress.federated.flower.app.leanmark_bridge import channel

PATH_BYTES = 100
"""Maximum length of a Unix socket's path on all systems."""


def listening(path: Path) -> socket.socket:
    """Listen on a Unix socket in a folder that only its owner can access.

    Raises:
        UsageError: the path is too long.
    """
    if len(bytes(path)) > PATH_BYTES:
        raise UsageError(f"The path of the socket {path} is too long for the system; use a shorter folder.")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkdir's mode is subject to the umask and not applied to an existing folder.
    path.parent.chmod(0o700)
    # A killed process leaves its socket, and bind() refuses an existing path.
    path.unlink(missing_ok=True)
    bridge = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bridge.bind(str(path))
    bridge.listen(8)
    return bridge


class FlowerTransport:
    """A :class:`compress.federated.transport.Transport` over the ServerApp that connects to a socket.

    Args:
        path: path of the socket.
        start: function that starts the ServerApp, which then connects.
        wait_s: seconds to wait for the connection.
    """

    name = "flower"

    def __init__(self, path: Path, start: Callable[[], None], wait_s: float = 120.0) -> None:
        self._start, self._listener = start, listening(path)
        self._listener.settimeout(wait_s)
        self._stream: socket.socket | None = None

    def clients(self) -> Sequence[str]:
        """Return the ids of the nodes that are online, in a fixed order."""
        stream = self._connected()
        channel.send_json(stream, {"do": "clients"})
        return tuple(map(str, channel.receive_json(stream)["clients"]))

    def wait_for(self, count: int, wait_s: float, notify: Callable[[str], None]) -> Sequence[str]:
        """Wait until a number of clients are online.

        Raises:
            DataError: too few clients went online in time.
        """
        ends, before = time.monotonic() + wait_s, -1
        while True:
            found = self.clients()
            if len(found) != before:
                notify(f"{len(found)} of {count} clients are online")
                before = len(found)
            if len(found) >= count:
                return found
            if time.monotonic() > ends:
                raise DataError(f"{len(found)} of {count} clients went online in {wait_s:.0f} s; start the others.")
            time.sleep(1)

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """See :meth:`compress.federated.transport.Transport.ask`; answers of nodes that go offline are not awaited."""
        if not messages:
            return
        stream = self._connected()
        channel.send_json(stream, {"do": "ask", "names": list(messages), "deadline_s": deadline_s})
        for content in messages.values():
            channel.send(stream, content)
        while (name := channel.receive_json(stream)["from"]) is not None:
            yield str(name), channel.receive(stream)

    def close(self) -> None:
        """End the ServerApp."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                channel.send_json(self._stream, {"do": "end"})
            self._stream.close()
        self._listener.close()

    def _connected(self) -> socket.socket:
        if self._stream is None:
            self._start()
            try:
                self._stream, _ = self._listener.accept()
            except TimeoutError:
                raise DataError(
                    f"Flower's ServerApp did not start within {self._listener.gettimeout():.0f} s; see the SuperLink's "
                    "log, and 'flwr log'."
                ) from None
            # Training has no time limit; only connecting has one.
            self._stream.settimeout(None)
        return self._stream
