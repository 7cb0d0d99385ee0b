"""A small, seeded slice of live_messages.py (see there for the full run), and the inputs that it found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import live_messages
import pytest
from live_messages import KINDS, TO_CLIENT

from certify.core.errors import DataError
from compress.federated.memory import Memory
from compress.federated.messages import Message


def test_mutated_messages_of_every_kind_crash_nothing_and_change_no_model(tmp_path: Path) -> None:
    outcomes = live_messages.run(500, 1, tmp_path)
    assert live_messages.tried(outcomes) == 500
    assert {kind for direction, kind in outcomes if direction == TO_CLIENT} == set(KINDS)
    assert not [one.wrong for one in outcomes.values() if one.wrong]


def asked(folder: Path, kind: str, ask: Callable[[Any, Message], None]) -> None:
    """Hand the first message of a kind to a function, with the client that it is for."""

    class Asking(Memory):
        name = "memory"

        def _answer(self, name: str, message: bytes) -> bytes | None:
            given = Message.parse(message, len(message))
            if given.kind == kind:
                ask(self._make(name), given)
            return super()._answer(name, message)

    made = live_messages.fleet_of("int8", folder)
    live_messages.played(made, "int8", lambda inner: Asking(inner.clients(), inner._make))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": -1}, "must be at least 0"),  # a ValueError left the client
        ({"weight": 1e308}, "weight of an update"),  # the client kept a residual that is not a number
        ({"training": {"proximal": 1e308}}, "proximal term"),  # a RuntimeError left the client
    ],
)
def test_client_refuses_a_number_that_no_server_sends(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    def ask(client: Any, given: Message) -> None:
        values = {**given.values, **change, "training": {**given.values["training"], **change.get("training", {})}}
        with pytest.raises(DataError, match=sentence):
            client.answer(Message("train", values, given.payload).content())
        assert not list(client.store.folder.glob("sent-*.npy"))

    asked(tmp_path, "train", ask)


@pytest.mark.parametrize("form", ["int8", "int8-masked", "float32"])
def test_client_answers_no_attempt_twice(tmp_path: Path, form: str) -> None:
    """A second answer displaced the residual of the first, and under masks the two revealed their difference."""
    first: list[tuple[Any, bytes]] = []

    class Twice(Memory):
        name = "memory"

        def _answer(self, name: str, message: bytes) -> bytes | None:
            given = Message.parse(message, len(message))
            client = self._alive.get(name) or self._make(name)
            answer = super()._answer(name, message)
            if given.kind == "train":
                again = [message, Message("train", {**given.values, "weight": 0.5}, given.payload).content()]
                first.append((client, message))
                for one in (*again, first[0][1]) if first[0][0].id == client.id else again:
                    with pytest.raises(DataError, match="no attempt is answered twice"):
                        client.answer(one)
            return answer

    made = live_messages.fleet_of(form, tmp_path)
    live_messages.played(made, form, lambda inner: Twice(inner.clients(), inner._make))
    assert len(first) == 10 and all(len(each.entries) == 5 for each in made.sound().rounds)


@pytest.mark.parametrize("kind", ["keys", "shares", "unmask", "receipt"])
def test_server_refuses_answers_of_strangers_as_foreign(tmp_path: Path, kind: str) -> None:
    class Strangers(Memory):  # a KeyError left the server
        name = "memory"

        def ask(self, messages: Any, deadline_s: float | None = None) -> Any:
            for name, answer in super().ask(messages, deadline_s):
                if Message.parse(answer, len(answer)).kind == kind:
                    yield "stranger", answer
                yield name, answer

    made = live_messages.fleet_of("int8-masked", tmp_path)
    live_messages.played(made, "int8-masked", lambda inner: Strangers(inner.clients(), inner._make))
    run = made.sound()
    assert {one.reason for one in run.rounds[1].close.message.refused} == {"foreign"}
    assert all(len(each.entries) == 5 for each in run.rounds)
