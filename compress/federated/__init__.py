"""Federated learning: clients that train on their own data, a server that aggregates, and transports between them.

Modules, from the bottom up: :mod:`.weights` (a model as bytes and as a vector), :mod:`.forms` and :mod:`.masks` (forms
of updates), :mod:`.aggregation` (their combination), :mod:`.client` and :mod:`.coordinator` (the two halves of a
round), :mod:`.transport` (the interface between them) and :mod:`.memory` (clients simulated in one process).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.federated.aggregation import Rule as Rule
    from compress.federated.aggregation import ServerStep as ServerStep
    from compress.federated.client_privacy import NoisySum as NoisySum
    from compress.federated.distillation import Teaching as Teaching
    from compress.federated.fleet import connected as connected
    from compress.federated.fleet import run_on_fleet as run_on_fleet
    from compress.federated.learner import LocalTraining as LocalTraining
    from compress.federated.memory import Faults as Faults
    from compress.federated.partition import by_column as by_column
    from compress.federated.partition import dirichlet as dirichlet
    from compress.federated.partition import iid as iid
    from compress.federated.partition import names_of as names_of
    from compress.federated.partition import sizes as sizes
    from compress.federated.plan import Plan as Plan
    from compress.federated.runs import Simulated as Simulated
    from compress.federated.runs import distil_in_memory as distil_in_memory
    from compress.federated.runs import run_in_memory as run_in_memory
    from compress.federated.simulation import NOT_STATED as NOT_STATED
    from compress.federated.simulation import Simulation as Simulation
    from compress.federated.simulation import log_name as log_name


__getattr__, __dir__ = door(
    __name__,
    {
        "aggregation": ("Rule", "ServerStep"),
        "client_privacy": ("NoisySum",),
        "distillation": ("Teaching",),
        "fleet": ("connected", "run_on_fleet"),
        "learner": ("LocalTraining",),
        "memory": ("Faults",),
        "partition": ("by_column", "dirichlet", "iid", "names_of", "sizes"),
        "plan": ("Plan",),
        "runs": ("Simulated", "distil_in_memory", "run_in_memory"),
        "simulation": ("NOT_STATED", "Simulation", "log_name"),
    },
)
