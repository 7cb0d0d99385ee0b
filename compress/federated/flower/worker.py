"""Local side of a client: it answers the messages of its ClientApp through a Unix socket in a private folder."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from certify.core.errors import LeanmarkError
from compress.federated.flower.app.leanmark_bridge import channel
from compress.federated.flower.transport import listening
from compress.federated.transport import Participant


class Worker:
    """Loop that passes messages to a client, one after another.

    Args:
        client: client that answers.
        path: path of the socket.
        notify: function that reports rejected messages and broken connections.
    """

    def __init__(self, client: Participant, path: Path, notify: Callable[[str], None]) -> None:
        self._client, self._notify = client, notify
        self._listener = listening(path)
        # A short timeout, so that run() checks about once a second whether to continue.
        self._listener.settimeout(1.0)

    def run(self, going: Callable[[], bool]) -> None:
        """Answer messages until asked to stop.

        Args:
            going: function that returns whether to continue, called about once a second.
        """
        while going():
            try:
                stream, _ = self._listener.accept()
            except TimeoutError:
                continue
            stream.settimeout(None)
            with stream:
                self._answer(stream)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _answer(self, stream: socket.socket) -> None:
        try:
            answer = self._client.answer(channel.receive(stream))
            channel.send(stream, answer)
        except LeanmarkError as error:
            self._notify(f"Refused a message: {error}")  # the ClientApp sees a closed connection, the server no answer
        except OSError as error:
            self._notify(f"The connection to Flower broke: {error}")
