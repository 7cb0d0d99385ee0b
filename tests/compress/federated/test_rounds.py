"""Whole rounds in memory: the same bits each time, through drop-outs, kills, and messages that nobody should send."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import rfc8785

from certify.core.errors import DataError, ModelError
from compress.federated import checkpoints, client, coordinator
from compress.federated.aggregation import ServerStep
from compress.federated.memory import Faults, Memory
from compress.federated.messages import Message
from compress.federated.partition import names_of
from compress.federated.weights import Layout
from tests.compress.federated.conftest import TRAINING, Fleet, accuracy, small_model

Make = Callable[..., Fleet]


@pytest.mark.parametrize("update", ["float32", "int8", "int8-masked", "top-k"])
def test_clients_learn_together_in_every_form(fleet: Make, update: str) -> None:
    simulation = fleet(update=update, rounds=8, kept=0.3)
    assert accuracy(simulation.run()) > 0.95 > 0.7 > accuracy(Layout.of(small_model()).content(small_model()))
    run = simulation.sound()
    assert len(run.rounds) == 8 and len(list(run.entries)) == 40


def test_clients_stay_near_the_global_model_by_the_weight_of_the_proximal_term(fleet: Make) -> None:
    layout, start = Layout.of(small_model()), Layout.of(small_model()).content(small_model())

    def moved(proximal: float) -> float:
        training = replace(TRAINING, epochs=4, optimizer="sgd", proximal=proximal)
        model = fleet(update="float32", rounds=1, training=training).run()
        return float(np.linalg.norm(layout.vector(model) - layout.vector(start)))

    free, near, nearer = (moved(weight) for weight in (0.0, 5.0, 20.0))
    assert 0 < nearer < near < free and nearer < free / 2


def test_model_is_the_same_to_the_bit_when_answers_come_in_another_order(fleet: Make) -> None:
    class Backwards:
        name = "backwards"

        def __init__(self, inner: Memory) -> None:
            self.clients = inner.clients
            self._inner = inner

        def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
            yield from reversed(list(self._inner.ask(messages, deadline_s)))

    first = fleet(update="float32").run()
    other = fleet(update="float32")
    assert other.server(Backwards).run() == first


def test_masked_updates_give_the_bits_of_those_in_the_clear(fleet: Make) -> None:
    clear, masked = fleet(update="int8", rounds=3), fleet(update="int8-masked", rounds=3)
    assert clear.run() == masked.run()
    sizes = [{one.message.sent.bytes for one in each.read().entries} for each in (clear, masked)]
    assert sizes == [{198}, {396}]


def test_masked_sum_is_that_of_the_clients_left_when_some_drop_out(fleet: Make) -> None:
    def lost(name: str, kind: str, number: int) -> bool:
        return kind == "train" and name in ("client-00000", "client-00003", "client-00007")

    clear, masked = fleet(10, lost, update="int8"), fleet(10, lost, update="int8-masked")
    assert clear.run() == masked.run()
    closed = [each.close.message for each in masked.sound().rounds]
    assert all(len(one.recovered) == 3 and {drop.reason for drop in one.dropped} == {"lost"} for one in closed)


@pytest.mark.parametrize("kind", ["keys", "shares"])
def test_masked_round_goes_on_when_clients_leave_before_they_train(fleet: Make, kind: str) -> None:
    simulation = fleet(6, lambda name, asked, number: asked == kind and name == "client-00002", update="int8-masked")
    simulation.run()
    assert all(len(each.entries) == 5 for each in simulation.sound().rounds)


def test_masked_round_stands_still_when_too_few_are_left(fleet: Make) -> None:
    simulation = fleet(6, lambda name, kind, number: kind == "train" and name > "client-00002", update="int8-masked")
    before = Layout.of(small_model()).content(small_model())
    assert simulation.run() == before
    assert not list(simulation.sound().entries)


def test_shares_after_training_are_enough_when_some_do_not_reveal(fleet: Make) -> None:
    simulation = fleet(6, lambda name, kind, number: kind == "unmask" and name == "client-00001", update="int8-masked")
    assert simulation.run() == fleet(6, update="int8").run()


def test_stragglers_are_refused_as_late_and_counted_as_such(fleet: Make) -> None:
    simulation = fleet(lost=Faults(tuple(names_of(5)), lost=0.2, late=0.4), rounds=4)
    simulation.run()
    run = simulation.sound()
    assert "late" in {one.reason for each in run.rounds for one in each.close.message.refused}
    assert {len(each.close.message.dropped) for each in run.rounds} == {3}


def test_some_clients_are_drawn_and_all_enrol_in_the_end(fleet: Make) -> None:
    simulation = fleet(8, per_round=3, rounds=10)
    simulation.run()
    run = simulation.sound()
    assert {len(each.begin.selected) for each in run.rounds} == {3}
    assert len({each.begin.selected for each in run.rounds}) > 3 and len(run.clients) == 8


@pytest.mark.parametrize("server", ["momentum", "adam"])
def test_server_step_survives_a_restart(fleet: Make, server: Any) -> None:
    step = ServerStep(server, lr=0.5 if server == "momentum" else 0.02)
    whole = fleet(server=step, rounds=4, update="int8").run()
    simulation = fleet(server=step, rounds=4, update="int8")
    server_ = simulation.server()
    server_.round(), server_.round()
    simulation.log.stop()
    assert simulation.run() == whole


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the program sees it."""


STOPS = ["write", "close", "accept", "begin"]


@pytest.mark.parametrize("place", STOPS)
@pytest.mark.parametrize("update", ["int8", "int8-masked"])
def test_run_resumes_after_the_last_closed_round_when_the_server_is_killed(
    fleet: Make, monkeypatch: pytest.MonkeyPatch, place: str, update: str
) -> None:
    whole = fleet(update=update, rounds=4).run()
    simulation = fleet(update=update, rounds=4)
    server = simulation.server()
    server.round(), server.round()

    def die(*_: object, **__: object) -> None:
        raise Killed

    target: object = checkpoints if place == "write" else simulation.log
    with monkeypatch.context() as patch:
        patch.setattr(target, "write_bytes" if place == "write" else place, die)
        with pytest.raises(Killed):
            server.round()
    simulation.log.stop()
    assert simulation.run() == whole
    run = simulation.sound()
    assert len(run.rounds) == 4 and len(run.rounds[2].attempts) == (1 if place == "begin" else 2)


@pytest.mark.parametrize("place", ["receipts", "forget"])
def test_clients_get_their_receipts_when_the_server_is_killed_between_close_and_receipts(
    fleet: Make, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Without its receipt a client would drop what its update left over, and the next rounds would differ."""
    whole = fleet(rounds=3, update="top-k").run()
    simulation = fleet(rounds=3, update="top-k")
    server = simulation.server()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if place == "receipts":
            patch.setattr(type(server._clients), "receipts", die)
        else:
            patch.setattr(coordinator, "forget_receipts", die)
        with pytest.raises(Killed):
            server.round()
    simulation.log.stop()
    assert simulation.run() == whole
    assert [len(each.attempts) for each in simulation.sound().rounds] == [1, 1, 1]


def test_client_gives_the_same_answers_when_it_is_restarted_before_each_message(fleet: Make) -> None:
    """Simulated clients are created for each message; here one run keeps them instead."""
    restarted, kept = fleet(update="top-k", rounds=3), fleet(update="top-k", rounds=3)

    def keep(transport: Memory) -> Memory:
        transport._make = functools.cache(transport._make)
        return transport

    assert kept.server(keep).run() == restarted.run()


def test_damaged_checkpoint_begins_the_run_again(fleet: Make) -> None:
    simulation = fleet(rounds=3)
    server = simulation.server()
    server.round()
    simulation.log.stop()
    (path,) = simulation.place.folder.glob("round-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        simulation.server()


def test_another_run_in_the_folder_is_not_resumed(fleet: Make) -> None:
    simulation = fleet(rounds=2)
    simulation.run()
    first = simulation.read().opening.message.run
    simulation.plan = fleet(rounds=3).plan
    simulation.run()
    assert simulation.read().opening.message.run != first and len(simulation.sound().rounds) == 3


def test_model_that_is_not_finite_is_not_closed(fleet: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = fleet(server=ServerStep(lr=1e38), update="float32", rounds=3)
    with pytest.raises(ModelError, match="not finite"):
        simulation.run()


def test_memory_does_not_hold_a_model_for_each_client(fleet: Make) -> None:
    """All messages of a round were built before the first was sent, 77 kB for each client of a small model."""
    alive, most = 0, 0

    class Counted(bytes):
        def __new__(cls, content: bytes) -> Counted:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, content)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    content = Message.content
    simulation = fleet(20, rounds=1)
    server = simulation.server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Message, "content", lambda self: Counted(content(self)) if self.payload else content(self))
        server.run()
    assert 0 < most <= 3 and len(simulation.read().rounds[0].entries) == 20


class Foul:
    """A transport on which somebody changes what a client sent."""

    name = "foul"

    def __init__(self, inner: Memory, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
        self._inner, self._change = inner, change
        self.clients = inner.clients

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        for name, answer in self._inner.ask(messages, deadline_s):
            kind = Message.parse(answer, len(answer)).kind
            yield from self._change(name, answer) if kind == "train" else [(name, answer)]


def altered(content: bytes) -> bytes:
    message = Message.parse(content, len(content))
    return Message(message.kind, message.values, message.payload[:-1] + bytes([message.payload[-1] ^ 1])).content()


def of_another(content: bytes) -> bytes:
    message = Message.parse(content, len(content))
    entry = json.loads(message.values["line"])
    entry["client"] = "0" * 64
    return Message("train", {"line": rfc8785.dumps(entry).decode()}, message.payload).content()


ATTACKS: dict[str, tuple[Callable[[str, bytes], list[tuple[str, bytes]]], str]] = {
    "cut": (lambda name, one: [(name, one[:50])], "malformed"),
    "not ours": (lambda name, one: [(name, b"GET / HTTP/1.1")], "malformed"),
    "altered": (lambda name, one: [(name, altered(one))], "malformed"),
    "oversized": (lambda name, one: [(name, one + bytes(100_000))], "oversized"),
    "twice": (lambda name, one: [(name, one), (name, one)], "duplicate"),
    "under a second name": (lambda name, one: [("client-00004", one)], "foreign"),
    "of a stranger": (lambda name, one: [(name, of_another(one))], "foreign"),
    "of another kind": (lambda name, one: [(name, Message("enrol", {}).content())], "malformed"),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_foul_messages_are_refused_and_logged(fleet: Make, what: str) -> None:
    change, reason = ATTACKS[what]

    def first(name: str, answer: bytes) -> list[tuple[str, bytes]]:
        return change(name, answer) if name == "client-00001" else [(name, answer)]

    simulation = fleet()
    simulation.server(lambda inner: Foul(inner, first)).run()
    run = simulation.sound()
    refused = [one.reason for each in run.rounds for one in each.close.message.refused]
    assert reason in refused
    assert all(len(each.entries) >= 4 for each in run.rounds)


def test_update_of_too_large_a_norm_is_refused_by_the_server(fleet: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    known = client.form_of
    monkeypatch.setattr(client, "form_of", lambda values, parts: known({**values, "clip": None}, parts))  # no clipping
    simulation = fleet(update="float32", clip=0.001)
    simulation.run()
    reasons = {one.reason for each in simulation.sound().rounds for one in each.close.message.refused}
    assert reasons == {"norm"} and not list(simulation.read().entries)


def test_mutated_messages_crash_nothing_and_none_is_accepted_without_its_signature(fleet: Make) -> None:
    random = np.random.default_rng(0)

    def mutate(name: str, answer: bytes) -> list[tuple[str, bytes]]:
        made = []
        for _ in range(100):
            content = bytearray(answer)
            for _ in range(random.integers(1, 4)):
                content[random.integers(len(content))] = random.integers(256)
            made.append(
                (name, bytes(content[: random.integers(len(content)) + 1] if random.random() < 0.2 else content))
            )
        return made

    made = fleet(update="int8", rounds=2)
    made.server(lambda inner: Foul(inner, mutate)).run()
    run = made.sound()
    assert sum(len(each.close.message.refused) for each in run.rounds) > 900
