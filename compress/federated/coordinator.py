"""Server half of a round: select clients, send the model, collect and aggregate answers, and log the round.

It exchanges bytes over any :class:`compress.federated.transport.Transport`. After each round it writes a checkpoint,
then the log's line that closes the round: a run killed at any time resumes after the last closed round with the same
choices and, given the same answers, the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import DataError, ModelError
from certify.core.federation import Begin, Entry, MessageRefused, Payload, RoundLog, Signed, Spent
from certify.core.progress import Progress, Silent
from compress.federated.aggregation import Aggregate, aggregate, of_integers
from compress.federated.checkpoints import ServerState, forget_receipts, keep_receipts, kept_receipts, remove_before
from compress.federated.collection import Clients
from compress.federated.costs import Spending
from compress.federated.forms import Form, Int8, NormExceeded, described
from compress.federated.masked_server import MaskedServer
from compress.federated.masking import masked_bytes
from compress.federated.messages import Message, Outgoing
from compress.federated.plan import Plan
from compress.federated.sampling import chosen, seed_of
from compress.federated.transport import Transport
from compress.federated.weights import Layout, Vector, digest

ANSWERS = "answers"


@dataclass
class Coordinator:
    """Server of a run.

    Attributes:
        plan: settings of the run.
        layout: layout of the model.
        transport: transport to the clients.
        log: log of the run, new or resumed.
        folder: folder for checkpoints, and for answers until they are aggregated.
        progress: display of progress.
        spending: meter of the server's costs.
    """

    plan: Plan
    layout: Layout
    transport: Transport
    log: RoundLog
    folder: Path
    progress: Progress = field(default_factory=Silent)
    spending: Spending = field(default_factory=Spending)
    _state: ServerState = field(init=False)
    _clients: Clients = field(init=False)
    _spent: Spent = field(init=False, default=Spent(0.0))

    def start(self, model: bytes) -> None:
        """Start from a model, or resume after the last closed round.

        Args:
            model: initial model, ignored by a resumed run.

        Raises:
            DataError: the state of the last closed round is missing or damaged.
        """
        self._clients = Clients(self.transport, self.log)
        if self.log.closed:
            self._state = ServerState.read(self.folder, self.log.closed, self.log.model)
            self._deliver(kept_receipts(self.folder, self.log.closed))
            return
        vector = self.layout.vector(model)
        optimizer = self.plan.server.empty(self.layout.count)
        self._state = ServerState(0, model, optimizer, self.plan.bounds(vector, self.layout), 0.0)

    @property
    def model(self) -> bytes:
        """Bytes of the global model after the last closed round."""
        return self._state.model

    def run(self) -> bytes:
        """Run the remaining rounds and return the model; the caller ends the log.

        Raises:
            ModelError: weights are no longer finite.
        """
        with self.progress.task("Federated training", total=self.plan.rounds) as bar:
            bar.advance(self.log.closed)
            while self.log.closed < self.plan.rounds:
                count = self.round()
                bar.advance(1, note=f"round {self.log.closed}, {count} answers")
        return self.model

    def round(self) -> int:
        """Run one round and return its number of answers.

        Raises:
            DataError: no client has enrolled.
            ModelError: weights are no longer finite.
        """
        self._spent = Spent(0.0)
        plan, number = self.plan, self.log.closed + 1
        names = chosen(self.transport.clients(), plan.per_round, plan.seed, number)
        names = self._clients.enrol(names, plan.deadline_s)
        if not names:
            raise DataError("No client has enrolled; start clients first.")
        ids = {self._clients.ids[name]: name for name in names}
        masked = self._groups(sorted(ids))
        payload = Payload(digest(self.model), len(self.model))
        begun = self.log.begin(sorted(ids), payload, masked)
        self._clients.dropped.clear()
        (self.folder / ANSWERS).mkdir(parents=True, exist_ok=True)
        form, weights = plan.form(self.layout, self._state.bounds), self._weights(names)
        if plan.masked and isinstance(form, Int8):
            mean, entries = self._masked(begun, ids, form, weights)
        else:
            entries = self._ask(self._messages(begun, form, weights), form)
            mean = self._combined(sorted(entries), weights, form) if entries else None
        counted = sorted(entries)
        receipts = {name: self.log.accept(entries[name]).line for name in counted}
        state = self._next(mean, counted, form)
        # Write checkpoint and receipts before closing the round: after a kill, what the log states must exist.
        state.write(self.folder)
        keep_receipts(self.folder, number, receipts)
        content = b"" if mean is None else mean.content()
        recovered = self._recovered(begun.message, {self._clients.ids[name] for name in counted})
        self.log.close(hashlib.sha256(content).hexdigest(), digest(state.model), self._spent, recovered)
        self._state = state
        remove_before(self.folder, number)
        shutil.rmtree(self.folder / ANSWERS, ignore_errors=True)
        self._deliver(receipts)
        return len(counted)

    def _deliver(self, receipts: Mapping[str, bytes]) -> None:
        """Send clients the receipts of a closed round, again after a kill before all clients had theirs."""
        self._clients.receipts(receipts, self.plan.deadline_s)
        forget_receipts(self.folder)

    def _groups(self, ids: Sequence[str]) -> list[list[str]]:
        return self.plan.groups(ids) if self.plan.masked else []

    def _weights(self, names: Sequence[str]) -> dict[str, float]:
        """Return the factor of each client's update; the largest factor of the first round is 1."""
        if self.plan.equal:
            return dict.fromkeys(names, 1.0)
        # Bands are powers of two, so that weights multiply and divide float32 values exactly.
        sizes = {name: float(2 ** self._clients.bands[name]) for name in names}
        if not self._state.reference:
            self._state = self._state.referring(max(sizes.values()))
        return {name: size / self._state.reference for name, size in sizes.items()}

    def _messages(
        self, begun: Signed[Begin], form: Form, weights: Mapping[str, float], **more: Mapping[str, Any]
    ) -> Outgoing:
        common = {"begin": begun.line.decode(), "form": described(form), "training": asdict(self.plan.training)}
        number = begun.message.number
        headers = {}
        for name, weight in weights.items():
            own = {key: values[name] for key, values in more.items()}
            headers[name] = {**common, **own, "weight": weight, "seed": seed_of(self.plan.seed, name, number)}
        return Outgoing("train", headers, self.model)

    def _ask(self, messages: Mapping[str, bytes], form: Form) -> dict[str, Signed[Entry]]:
        """Let clients train; return the entries of valid answers, which are stored in the folder.

        Entries are not accepted yet: a client gets its receipt once its answer is in the sum.
        """
        entries: dict[str, Signed[Entry]] = {}
        most = self.log.run.update.most_bytes
        for name, answer in self._clients.collect("train", messages, most, self.plan.deadline_s):
            with self._working():
                entry = self._examined(name, answer, form)
            if entry is not None and name in entries:
                self.log.refuse("duplicate", answer.content(), entry.message.client)
            elif entry is not None:
                self._path(name).write_bytes(answer.payload)
                entries[name] = entry
        self._gone([self._clients.ids[name] for name in messages if name not in entries])
        return entries

    def _examined(self, name: str, answer: Message, form: Form) -> Signed[Entry] | None:
        """Return the entry of a valid answer; log an invalid one and return None."""
        line = answer.values.get("line")
        client = self._clients.ids.get(name)
        try:
            entry = self.log.examine(line.encode() if isinstance(line, str) else b"", answer.payload)
            if entry.message.client != client:
                self.log.refuse("foreign", answer.content(), entry.message.client)
                return None
            self._check(answer.payload, form)
        except MessageRefused:
            return None
        except NormExceeded:
            self.log.refuse("norm", answer.payload, client)
            return None
        except DataError:
            self.log.refuse("malformed", answer.payload, client)
            return None
        return entry

    def _check(self, payload: bytes, form: Form) -> None:
        if not self.plan.masked:
            form.decode(payload)
        elif isinstance(form, Int8) and len(payload) != masked_bytes(form.count):
            raise DataError(f"A masked update must have {masked_bytes(form.count)} bytes, got {len(payload)}.")

    def _gone(self, clients: Sequence[str]) -> None:
        """Log selected clients that are not in the sum; a client that declined keeps its reason."""
        for client in clients:
            self._clients.drop(client, "lost" if self.plan.deadline_s is None else "straggler")

    def _combined(self, names: Sequence[str], weights: Mapping[str, float], form: Form) -> Aggregate:
        with self._working():
            read = self._read
            return aggregate(names, [weights[name] for name in names], read, form, self.plan.rule)

    def _masked(
        self, begun: Signed[Begin], names: Mapping[str, str], form: Int8, weights: Mapping[str, float]
    ) -> tuple[Aggregate | None, dict[str, Signed[Entry]]]:
        """Run a masked round; return the mean, and the entries of the clients whose answers are in it."""
        server = MaskedServer(self._clients, begun, self.plan.threshold, self.plan.deadline_s)
        boxes = {names[client]: opened for client, opened in server.prepare(names).items()}
        messages = self._messages(begun, form, {name: weights[name] for name in boxes}, boxes=boxes)
        self._gone([client for client, name in names.items() if name not in boxes])
        entries = self._ask(messages, form)
        survivors = [self._clients.ids[name] for name in entries]
        with self._working():
            total, counted = server.sums(names, survivors, lambda client: self._read(names[client]), form.count)
        for client in set(survivors) - set(counted):
            self._clients.drop(client, "failed")
        summed = {name: entries[name] for name in sorted(names[client] for client in counted)}
        weight = sum(weights[name] for name in summed)
        return of_integers(total, weight, form) if summed else None, summed

    def _recovered(self, begin: Begin, counted: set[str]) -> list[str]:
        """Return dropped clients whose masks were removed from the sum."""
        return [member for group in begin.groups if counted & set(group) for member in group if member not in counted]

    def _next(self, mean: Aggregate | None, counted: Sequence[str], form: Form) -> ServerState:
        """Return the state after this round; without answers, that of the previous round."""
        old, plan, number = self._state, self.plan, self.log.closed + 1
        if mean is None:
            return ServerState(number, old.model, old.optimizer, old.bounds, old.reference)
        with self._working():
            update: Vector = mean.update
            if plan.noise is not None:
                update = plan.noise.added(update, len(counted))
            learned = self.layout.where(lambda _, is_learned: is_learned)
            weights, optimizer = plan.server.apply(self.layout.vector(old.model), update, old.optimizer, learned)
            # Rounded or sparsified updates, with their residuals, may make a variance negative.
            variances = self.layout.where(lambda name, is_learned: not is_learned and name.endswith("running_var"))
            weights = np.where(variances, np.maximum(weights, 0), weights).astype(np.float32)
            if not np.isfinite(weights).all():
                raise ModelError(f"Round {number} gave weights that are not finite; lower the learning rates.")
            bounds = old.bounds
            if isinstance(form, Int8) and form.votes and mean.integers is not None:
                bounds = form.next_bounds(mean.integers, len(counted))
            return ServerState(number, self.layout.replaced(old.model, weights), optimizer, bounds, old.reference)

    def _path(self, name: str) -> Path:
        # A transport's names may contain slashes.
        return self.folder / ANSWERS / hashlib.sha256(name.encode()).hexdigest()

    def _read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Add the costs of a block to the server's costs of the round."""
        with self.spending.measured() as bill:
            yield
        old, new = self._spent, bill.spent
        # A sum with an unknown part is unknown, except when the part before it is empty.
        known = new.energy_j is not None and (old.energy_j is not None or not old.cpu_s)
        joules = (old.energy_j or 0.0) + (new.energy_j or 0.0) if known else None
        self._spent = Spent(old.cpu_s + new.cpu_s, joules, new.level if known else None)
