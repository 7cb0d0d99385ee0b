"""Time of an inference by node of the executed graph.

It comes from the runtime's own profile of a few inferences, in a separate worker after all windows, since profiling
itself takes time. The profile gives shares of time; joules by node are these shares of the joules of a whole inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from certify.core.run_observations import NodeCosts, ProfiledNode
from certify.measure import runtimes
from certify.measure.arms import Arm
from certify.measure.model_under_test import open_worker
from certify.measure.observations import places
from certify.measure.runs import Bench
from certify.measure.runtimes.base import NodeRun

PROFILED_S = 1.0
MOST_INFERENCES = 100
SHOWN = 10


def node_costs(bench: Bench, arm: Arm) -> NodeCosts | None:
    """Return the shares of time of the most expensive nodes, or None if the runtime has no profile."""
    if not runtimes.get(arm.runtime).times_nodes:
        return None
    inferences = max(1, min(MOST_INFERENCES, math.ceil(PROFILED_S / arm.inference_s)))
    # A worker of its own: profiling slows a session down, so it must not be the one that was measured.
    with open_worker(arm.model, arm.runtime, arm.threads, arm.batch, arm.name, profile=True) as worker:
        # Allow twice the usual time, because profiling itself takes time.
        found = worker.nodes(inferences, 2 * inferences * arm.inference_s)
    return replace(shares(found), inferences=inferences, places=places(found)) if found else None


def shares(nodes: Sequence[NodeRun]) -> NodeCosts:
    """Return the most expensive nodes of a non-empty profile, and the remainder for all others."""
    total = math.fsum(node.duration_s for node in nodes)
    # Ties are broken by name, so that two profiles of one file have the same order.
    ordered = sorted(nodes, key=lambda node: (-node.duration_s, node.name))
    costly = [
        ProfiledNode(node.duration_s / total if total else 0.0, node.name, node.operator).values()
        for node in ordered[:SHOWN]
    ]
    rest = math.fsum(node.duration_s for node in ordered[SHOWN:]) / total if total else 0.0
    return NodeCosts(costly, count=len(nodes), rest=rest)
