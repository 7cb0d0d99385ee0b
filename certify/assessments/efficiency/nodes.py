"""Joules by node of the graph that runs: its share of time in the runtime's profile, times an inference's joules.

A share of time is not a share of energy: a node that waits for memory draws less than one that multiplies. So this
shows where to look, and enters no grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel, weakest
from certify.core.evidence import Evidence
from certify.core.run_observations import NodeCosts, ProfiledNode

NODE_METHOD = "share of time in the runtime's profile, times the joules of an inference"


@dataclass(frozen=True)
class NodeCost:
    """One of the most expensive nodes.

    Attributes:
        name: in the runtime's optimised graph.
        operator: its type.
        share: of the time in nodes, 0 to 1.
        energy: joules an inference; None where the model's are not known.
    """

    name: str
    operator: str
    share: float
    energy: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        energy = None if self.energy is None else self.energy.to_json()
        return {"name": self.name, "operator": self.operator, "share": self.share, "energy": energy}


def node_costs(evidence: Evidence, arm: str, energy: Estimate | None) -> tuple[NodeCost, ...]:
    """The most expensive nodes of a model, in descending order; none where the runtime told nothing.

    Args:
        evidence: with the observation ``node_costs``.
        arm: which model.
        energy: joules of its inference.

    Raises:
        CertificateError: a record is malformed.
    """
    recorded = evidence.observed_of(NodeCosts, arm)
    return tuple(_cost(node, energy) for node in (recorded.nodes if recorded else ()))


def _cost(node: Any, energy: Estimate | None) -> NodeCost:
    found = ProfiledNode.read(node) if isinstance(node, Mapping) else None
    if found is None or not 0 <= found.share <= 1:
        raise CertificateError(f"Evidence: a node of node_costs needs a share between 0 and 1, found {node!r}.")
    return NodeCost(str(found.name), str(found.operator), found.share, _share_of(energy, found.share))


def _share_of(energy: Estimate | None, share: float) -> Estimate | None:
    if energy is None:
        return None
    level = weakest([energy.evidence, EvidenceLevel.MODELLED])
    return replace(energy.scaled(share), method=NODE_METHOD, evidence=level)
