"""Joules by node of the optimised graph: share of time in the runtime's profile times joules per inference.

A share of time is not a share of energy: a node that waits for memory draws less power than one that multiplies. So
these figures show where to look, and never affect a grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel, weakest
from certify.core.evidence import Evidence
from certify.core.run_observations import NodeCosts, ProfiledNode

NODE_METHOD = "share of time in the runtime's profile, times joules per inference"


@dataclass(frozen=True)
class NodeCost:
    """One of the most expensive nodes.

    Attributes:
        name: name in the runtime's optimised graph.
        operator: operator type.
        share: share of the time in nodes, 0 to 1.
        energy: joules per inference; None if the model's are unknown.
    """

    name: str
    operator: str
    share: float
    energy: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        energy = None if self.energy is None else self.energy.to_json()
        return {"name": self.name, "operator": self.operator, "share": self.share, "energy": energy}


def node_costs(evidence: Evidence, arm: str, energy: Estimate | None) -> tuple[NodeCost, ...]:
    """Return a model's most expensive nodes in descending order; none if the runtime reported none.

    Args:
        evidence: evidence with the observation ``node_costs``.
        arm: arm of the model.
        energy: its joules per inference.

    Raises:
        CertificateError: a record is malformed.
    """
    recorded = evidence.observed_of(NodeCosts, arm)
    return tuple(_cost(node, energy) for node in (recorded.nodes if recorded else ()))


def _cost(node: Any, energy: Estimate | None) -> NodeCost:
    found = ProfiledNode.read(node) if isinstance(node, Mapping) else None
    if found is None or not 0 <= found.share <= 1:
        raise CertificateError(f"Evidence: a node of node_costs must have a share in [0, 1], got {node!r}.")
    return NodeCost(str(found.name), str(found.operator), found.share, _share_of(energy, found.share))


def _share_of(energy: Estimate | None, share: float) -> Estimate | None:
    if energy is None:
        return None
    level = weakest([energy.evidence, EvidenceLevel.MODELLED])
    return replace(energy.scaled(share), method=NODE_METHOD, evidence=level)
