"""Fuzzing of federated rounds while they run: mutations of the real messages, to clients and to the server.

Run ``python tests/fuzz/live_messages.py --count 10000 --seed 0``. Small federations in memory send every kind of
message in every form of update. On its way, each message is mutated several times: a copy of the client gets the
altered requests, and the server gets the altered answers beside the real one, under the client's name, another's or a
stranger's. The exit status is 1 if anything but a LeanmarkError came out of a client, anything at all came out of the
server, one message took more than 2 s of CPU time, a client kept a residual that is not finite, a log failed one of its
checks, or rounds in the clear ended with another model than without altered messages. Keys, nonces and times are new
in each run, so a seed fixes which parts are altered and not every byte.
"""

from __future__ import annotations

import argparse
import copy
import functools
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from message_mutations import KINDS, mutated

sys.path.insert(0, str(Path(__file__).parents[2]))

from certify.core.errors import LeanmarkError
from certify.core.federation import Use
from certify.core.federation.consistency import CHECKS, problems
from certify.data import default_preprocess
from compress.federated.client import Client
from compress.federated.client_folder import RESIDUAL
from compress.federated.collection import SIGNED
from compress.federated.distillation import Distiller, Teaching
from compress.federated.learner import Learner
from compress.federated.local_data import Cut
from compress.federated.memory import Memory
from compress.federated.messages import Message
from compress.federated.partition import iid, names_of
from compress.federated.plan import Plan
from compress.federated.public_samples import PublicSamples
from compress.federated.run_opening import opening_of_logits
from compress.federated.weights import Vector, digest
from tests.compress.federated.conftest import TRAINING, Fleet, small_model

FORMS = ("int8-masked", "logits", "int8", "top-k", "float32")
CLIENTS, ROUNDS = 5, 2
COPIES = {"train": 4, "keys": 4, "shares": 4, "unmask": 6, "logits": 8, "enrol": 2, "receipt": 1}
"""Mutations of one message, more of kinds that are rarer."""
LONGEST_S = 2.0
TO_CLIENT, TO_SERVER = "to a client", "to the server"


@dataclass
class Outcome:
    """What came of the mutations of one kind of message.

    Attributes:
        tried: number of mutated messages.
        refused: messages that a client declined or answered by a typed error, or that the log names as refused.
        slowest_s: most CPU-seconds of one message.
        wrong: what should not have happened.
    """

    tried: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


Outcomes = dict[tuple[str, str], Outcome]


class Brief(Learner):
    """Local training that ignores how many epochs a mutated message asks for, and how many samples a batch has."""

    def learn(self, content: bytes, data: Any, training: Any, moment: Any, looks: Any = None) -> Vector:
        """See :meth:`Learner.learn`."""
        return super().learn(content, data, replace(training, epochs=1), moment, looks)


class Tampering(Memory):
    """A transport in memory that mutates messages both ways.

    Args:
        inner: transport whose clients answer.
        rng: source of mutations.
        outcomes: counts by direction and kind.
        left: number of mutations that may still be made, in one place.
    """

    name = "memory"

    def __init__(self, inner: Memory, rng: random.Random, outcomes: Outcomes, left: list[int]) -> None:
        super().__init__(inner.clients(), inner._make)
        self._rng, self._outcomes, self._left = rng, outcomes, left
        self._seen: list[bytes] = []

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """See :meth:`Memory.ask`; altered answers arrive before the real one, or after it."""
        victim = self._rng.choice(sorted(messages)) if messages else ""
        for name, answer in super().ask(messages, deadline_s):
            kind = Message.parse(answer, len(answer)).kind
            altered = [self._mutated(TO_SERVER, kind, answer) for _ in range(self._take(kind))]
            placed = [(self._sender(name, kind), one) for one in altered]
            # A first answer of another kind displaces the real one; enrolments say how much an answer counts.
            first = kind in SIGNED or (name == victim and kind != "enrol")
            yield from [*placed, (name, answer)] if first else [(name, answer), *placed]

    def _answer(self, name: str, message: bytes) -> bytes | None:
        kind = Message.parse(message, len(message)).kind
        for _ in range(self._take(kind)):
            altered = self._mutated(TO_CLIENT, kind, message)
            client = self._alive.get(name) or self._make(name)
            with tempfile.TemporaryDirectory() as folder:
                self._tried(twin(client, Path(folder) / name), altered, self._outcomes[TO_CLIENT, kind])
        return super()._answer(name, message)

    def _tried(self, client: Client, message: bytes, outcome: Outcome) -> None:
        began = time.process_time()
        try:
            outcome.refused += Message.parse(client.answer(message), 1 << 30).kind == "declined"
        except LeanmarkError:
            outcome.refused += 1
        except Exception:  # the fuzzer's subject
            outcome.wrong.append(f"{message[:300]!r}\n{traceback.format_exc(limit=-4)}")
        taken = time.process_time() - began
        outcome.slowest_s = max(outcome.slowest_s, taken)
        if taken > LONGEST_S:
            outcome.wrong.append(f"{taken:.1f} s of CPU time for {message[:300]!r}")
        for path in (client.store.folder / RESIDUAL, *client.store.folder.glob("sent-*.npy")):
            if path.is_file() and not np.isfinite(np.load(path)).all():
                outcome.wrong.append(f"a residual that is not finite, after {message[:300]!r}")

    def _mutated(self, direction: str, kind: str, content: bytes) -> bytes:
        self._seen = [*self._seen[-50:], content]
        while (altered := mutated(content, self._seen, self._rng)) == content:
            pass
        self._outcomes.setdefault((direction, kind), Outcome()).tried += 1
        return altered

    def _sender(self, name: str, kind: str) -> str:
        other = self._rng.choice(self._names) if kind in SIGNED else name
        return self._rng.choice([name, name, name, other, "stranger"])

    def _take(self, kind: str) -> int:
        """Return how many mutations of a message to make."""
        taken = min(COPIES.get(kind, 0), self._left[0])
        self._left[0] -= taken
        return taken


def twin(client: Client, folder: Path) -> Client:
    """Return a copy of a client and its folder, with the secrets of its masked round."""
    made = copy.copy(client)
    if client.store.folder.is_dir():
        shutil.copytree(client.store.folder, folder)
    made.store = replace(client.store, folder=folder)
    if client._masked is not None:
        made._masked = copy.copy(client._masked)
        made._masked._member = copy.copy(client._masked._member)
        for name in ("_peers", "_places", "_received"):
            setattr(made._masked._member, name, dict(getattr(made._masked._member, name)))
    return made


def federation(form: str, folder: Path, rng: random.Random, outcomes: Outcomes, left: list[int]) -> None:
    """Run rounds of one form under mutations, and check the log afterwards."""
    made = fleet_of(form, folder)
    outcome = outcomes.setdefault((TO_SERVER, f"rounds of {form}"), Outcome())
    outcome.tried += 1
    try:
        played(made, form, lambda inner: Tampering(inner, rng, outcomes, left))
    except Exception:  # the fuzzer's subject
        outcome.wrong.append(traceback.format_exc(limit=-4))
        return
    run = made.read()
    found = {name: problems(run, name) for name in CHECKS if name != "final_model"}
    outcome.refused += sum(len(each.close.message.refused) for each in run.rounds)
    if any(found.values()):
        outcome.wrong.append(f"the log fails {found}")
    models = [each.close.message.model for each in run.rounds]
    if form != "int8-masked" and models != honest(form):
        outcome.wrong.append(f"altered messages led to the models {models}")


@functools.cache
def honest(form: str) -> list[str]:
    """Return the digests of the models of a federation whose messages nobody alters."""
    with tempfile.TemporaryDirectory() as folder:
        made = fleet_of(form, Path(folder))
        played(made, form, lambda inner: inner)
        return [each.close.message.model for each in made.read().rounds]


def fleet_of(form: str, folder: Path) -> Fleet:
    """Return a small federation."""
    plan = Plan(ROUNDS, CLIENTS, TRAINING, "float32" if form == "logits" else form, kept=0.3)  # type: ignore[arg-type]
    made = Fleet(folder, plan, CLIENTS)
    learner = Brief(small_model(), default_preprocess(made.data))

    def changed(name: str, client: Client) -> None:
        client.learner = learner

    made.changed = changed
    return made


def played(made: Fleet, form: str, wrap: Callable[[Memory], Memory]) -> None:
    """Run all rounds of a federation over a changed transport."""
    if form == "logits":
        distilled(made, wrap, Brief(small_model(), default_preprocess(made.data)))
    else:
        made.server(wrap).run()
        made.log.stop()


def distilled(made: Fleet, wrap: Callable[[Memory], Memory], learner: Learner) -> None:
    """Run the round of FedDF."""
    model, split, contract = small_model(), made.data.train, default_preprocess(made.data)
    if made.data.calibration is None or split is None:
        raise ValueError("the data have calibration and train samples")
    public, names = PublicSamples.of(made.data.calibration, contract), names_of(CLIENTS)
    start, use = digest(learner.layout.content(model)), Use("distil", "not stated")
    log = made.place.opened(opening_of_logits(public, 4, 2.0, learner.layout, start, CLIENTS, use))
    cut = Cut(split, iid(len(split), CLIENTS, 0), contract)
    transport = wrap(Memory(names, made.place.clients(cut.client, names, learner, public)))
    Distiller(learner.layout, transport, log, public, 4, TRAINING, Teaching(epochs=1)).run(model)
    log.stop()


def run(count: int, seed: int, folder: Path) -> Outcomes:
    """Mutate a number of messages, over as many federations as it takes."""
    honest(FORMS[-1])  # the first training of a process takes over a second
    outcomes: Outcomes = {}
    left, number = [count], 0
    while left[0] > 0:
        rng = random.Random(f"{seed} {number}")
        federation(FORMS[number % len(FORMS)], folder / str(number), rng, outcomes, left)
        number += 1
    return outcomes


def report(outcomes: Outcomes) -> int:
    """Print a table; gives how much is wrong."""
    print(f"{'mutated messages':42} {'tried':>7} {'refused':>8} {'wrong':>6} {'slowest':>9}")
    for (direction, kind), one in sorted(outcomes.items()):
        print(f"{kind + ', ' + direction:42} {one.tried:7} {one.refused:8} {len(one.wrong):6} {one.slowest_s:7.2f} s")
        for what, times in Counter(one.wrong).most_common(5):
            print(f"    {times} times: {what}")
    print(f"mutated messages in all: {tried(outcomes)}, wrong: {sum(len(one.wrong) for one in outcomes.values())}")
    return sum(len(one.wrong) for one in outcomes.values())


def tried(outcomes: Outcomes) -> int:
    """Return the number of mutated messages."""
    return sum(one.tried for (_, kind), one in outcomes.items() if kind in KINDS)


def main() -> int:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return int(report(run(given.count, given.seed, Path(folder))) > 0)


if __name__ == "__main__":
    sys.exit(main())
