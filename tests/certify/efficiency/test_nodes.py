from __future__ import annotations

from collections.abc import Callable

import pytest

from certify.assessments.efficiency.nodes import node_costs
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import Evidence

Maker = Callable[..., Evidence]
NODE = {"name": "conv1", "operator": "Conv", "share": 0.25}
ENERGY = Estimate(2.0, 1.9, 2.2, "J", 10, "measured", EvidenceLevel.COUNTER)


def _evidence(make_evidence: Maker, *nodes: object) -> Evidence:
    return make_evidence(observations={"node_costs": {"candidate": {"nodes": list(nodes), "rest": 0.1}}})


def test_joules_of_a_node_are_its_share_of_an_inference(make_evidence: Maker) -> None:
    (node,) = node_costs(_evidence(make_evidence, NODE), "candidate", ENERGY)
    assert (node.name, node.operator, node.share) == ("conv1", "Conv", 0.25)
    assert node.energy is not None
    assert (node.energy.value, node.energy.low, node.energy.high) == pytest.approx((0.5, 0.475, 0.55))
    assert node.energy.evidence is EvidenceLevel.MODELLED  # a share of time is not a share of energy
    assert "share of time" in node.energy.method


def test_nodes_have_no_joules_when_the_model_has_none(make_evidence: Maker) -> None:
    (node,) = node_costs(_evidence(make_evidence, NODE), "candidate", None)
    assert node.energy is None and node.to_json()["energy"] is None


def test_no_nodes_are_returned_when_the_runtime_reported_none(make_evidence: Maker, evidence: Evidence) -> None:
    assert node_costs(evidence, "candidate", ENERGY) == ()
    assert node_costs(_evidence(make_evidence, NODE), "baseline", ENERGY) == ()


@pytest.mark.parametrize("node", [{**NODE, "share": 1.5}, {**NODE, "share": None}, {**NODE, "share": "much"}, "conv1"])
def test_malformed_node_is_refused(make_evidence: Maker, node: object) -> None:
    with pytest.raises(CertificateError, match="share"):
        node_costs(_evidence(make_evidence, node), "candidate", ENERGY)
