"""Real clients over a transport, in the place of simulated ones: what a federated pass uses where a job has a fleet.

``leanmark federate run`` connects a fleet around a whole job; the pass then hands its model to the clients and runs the
round code over their transport. Checkpoints, log and resuming are those of the simulation.
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
from compress.federated.opening import opening_of_rounds
from compress.federated.plan import Plan
from compress.federated.simulation import Simulation
from compress.federated.transport import Transport
from compress.federated.weights import Layout, digest

START = "start"
"""Folder for what a client needs to join: the structure of the model, and how samples become its input."""


class Reached(Transport, Protocol):
    """A transport whose clients come and go."""

    def wait_for(self, count: int, wait_s: float, told: Any) -> Any:
        """Wait until so many clients are online."""


@dataclass(frozen=True)
class Fleet:
    """Clients that a job's federated passes run on.

    Attributes:
        transport: to them.
        server: key that signs the log.
        clients: how many must be online before the first round.
        use: what their data are used for.
        folder: where the folder for clients is written.
        wait_s: how long to wait for them.
        deadline_s: seconds after which a round closes without the clients that have not answered.
    """

    transport: Reached
    server: SigningKey
    clients: int
    use: Use
    folder: Path
    wait_s: float = 600.0
    deadline_s: float = 600.0


@dataclass(frozen=True)
class Place(Simulation):
    """Where a run over a fleet lies; its server has a key of its own.

    Attributes:
        server: key that signs the log.
    """

    server: SigningKey | None = None

    def server_key(self) -> SigningKey:
        """The key that signs the log."""
        return super().server_key() if self.server is None else self.server


_FLEET: ContextVar[Fleet | None] = ContextVar("fleet", default=None)


@contextlib.contextmanager
def connect(fleet: Fleet) -> Iterator[None]:
    """Run federated passes on a fleet, within a block."""
    token = _FLEET.set(fleet)
    try:
        yield
    finally:
        _FLEET.reset(token)


def connected() -> Fleet | None:
    """The fleet of the block; None outside of one, where clients are simulated."""
    return _FLEET.get()


def run_on_fleet(model: nn.Module, fleet: Fleet, plan: Plan, place: Simulation, context: PassContext) -> dict[str, Any]:
    """Train a model by the clients of a fleet, in place; a run that was killed resumes after its last closed round.

    Args:
        model: in evaluation mode.
        fleet: who trains.
        plan: what is fixed.
        place: for log and checkpoints.
        context: of the pass.

    Returns:
        What was done, as JSON values.

    Raises:
        UsageError: noise would fall on running statistics.
        DataError: too few clients came online.
        ModelError: the weights are not finite.
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
    if log.closed < plan.rounds:
        fleet.transport.wait_for(fleet.clients, fleet.wait_s, context.progress.say)
    server = Coordinator(
        replace(plan, deadline_s=fleet.deadline_s), layout, fleet.transport, log, own.folder, context.progress
    )
    server.start(content)
    layout.load(model, server.run())
    if not own.ended:
        log.end(digest(server.model), Spent(0.0))
    told = own.told()
    own.close()
    return told


def write_start(folder: Path, model: nn.Module, context: PassContext) -> None:
    """Write what a client needs to join: a checkpoint whose record holds the preprocessing contract."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(
        folder / checkpoint.CHECKPOINT, model, context.source, {"preprocess": context.preprocess.to_json()},
        original=context.teacher,
    )  # fmt: skip
