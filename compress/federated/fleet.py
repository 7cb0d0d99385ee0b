"""Federated passes on real clients over a transport.

``leanmark federate run`` connects a fleet for a whole job; a federated pass then runs its rounds over the fleet's
transport instead of simulating clients. Checkpoints, log and resuming are the same as in a simulation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from certify.core.federation import Spent, Use
from certify.core.signing_keys import SigningKey
from compress.core.context import PassContext
from compress.exchange import checkpoint
from compress.federated.client_privacy import require_no_statistics
from compress.federated.coordinator import Coordinator
from compress.federated.plan import Plan
from compress.federated.run_opening import opening_of_rounds
from compress.federated.simulation import Simulation
from compress.federated.transport import Transport
from compress.federated.weights import Layout, digest

START = "start"
"""Name of the folder that a client needs to join: the structure of the model, and its preprocessing."""


class FleetTransport(Transport, Protocol):
    """A transport whose clients go online and offline."""

    def wait_for(self, count: int, wait_s: float, notify: Any) -> Any:
        """Wait until a number of clients are online."""


@dataclass(frozen=True)
class Fleet:
    """Clients of a job's federated passes.

    Attributes:
        transport: transport to the clients.
        server: key that signs the log.
        clients: number of clients that must be online before the first round.
        use: use of the clients' data.
        folder: folder of the job, in which the folder for clients is created.
        wait_s: seconds to wait for clients to go online.
        deadline_s: seconds after which a round closes without clients that have not answered.
    """

    transport: FleetTransport
    server: SigningKey
    clients: int
    use: Use
    folder: Path
    wait_s: float = 600.0
    deadline_s: float = 600.0


@dataclass(frozen=True)
class Place(Simulation):
    """Files of a run on a fleet, whose log is signed by the operator's key.

    Attributes:
        server: key that signs the log.
    """

    server: SigningKey | None = None

    def server_key(self) -> SigningKey:
        """Return the key that signs the log."""
        return super().server_key() if self.server is None else self.server


# A recipe cannot contain a transport, so the command sets it around the job.
_FLEET: ContextVar[Fleet | None] = ContextVar("fleet", default=None)


@contextlib.contextmanager
def connect(fleet: Fleet) -> Iterator[None]:
    """Run federated passes of a block on a fleet."""
    token = _FLEET.set(fleet)
    try:
        yield
    finally:
        _FLEET.reset(token)


def connected() -> Fleet | None:
    """Return the connected fleet; None if clients are simulated."""
    return _FLEET.get()


def run_on_fleet(model: nn.Module, fleet: Fleet, plan: Plan, place: Simulation, context: PassContext) -> dict[str, Any]:
    """Train a model on the clients of a fleet, in place; a killed run resumes after its last closed round.

    Args:
        model: model in eval mode.
        fleet: clients and their transport.
        plan: settings of the run.
        place: files of the run.
        context: context of the pass.

    Returns:
        Summary of the run, as JSON values.

    Raises:
        UsageError: noise would be added to running statistics.
        DataError: too few clients went online.
        ModelError: weights are no longer finite.
    """
    layout = Layout.of(model)
    if plan.noise is not None:
        require_no_statistics(layout)
    content = layout.content(model)
    own = Place(place.folder, place.log, fleet.server)
    write_start(fleet.folder / START, model, context)
    context.progress.say(f"Clients join with the folder {fleet.folder / START}: leanmark federate join")
    log = own.opened(opening_of_rounds(plan, layout, digest(content), fleet.clients, fleet.use, fleet.transport.name))
    if log.closed:
        context.progress.say(f"Resuming after round {log.closed} of {plan.rounds}")
    # After the last round, only the end of the log remains to be written, which needs no client.
    if log.closed < plan.rounds:
        fleet.transport.wait_for(fleet.clients, fleet.wait_s, context.progress.say)
    server = Coordinator(
        replace(plan, deadline_s=fleet.deadline_s), layout, fleet.transport, log, own.folder, context.progress
    )
    server.start(content)
    layout.load(model, server.run())
    if not own.ended:
        log.end(digest(server.model), Spent(0.0))
    summary = own.summary()
    own.close()
    return summary


def write_start(folder: Path, model: nn.Module, context: PassContext) -> None:
    """Write the folder that a client needs to join: a checkpoint whose record holds the preprocessing contract."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        folder / checkpoint.CHECKPOINT, model, context.source, {"preprocess": context.preprocess.to_json()},
        original=context.teacher,
    )  # fmt: skip
