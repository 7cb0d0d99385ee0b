"""Padding that cannot be found, as SECURITY.md states: such a baseline passes, and a candidate earns a letter by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx
import padded_unseen
import pytest
from simplified_here import Maker, Simplify, outcomes

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive

FEW = 32
"""Samples that a simplified baseline must answer like the original; the edition's number would take longer."""


@pytest.fixture
def edition(edition: Edition) -> Edition:
    return replace(edition, plan=replace(edition.plan, simplified_samples=FEW))


@pytest.mark.parametrize("limit", padded_unseen.UNSEEN)
def test_known_limit_padding_is_not_found_when_it_is(
    limit: str, simplified: Simplify, make_evidence: Maker, edition: Edition, stated: Callable[[str], None]
) -> None:
    stated(limit)
    model = padded_unseen.UNSEEN[limit]()
    onnx.checker.check_model(model, full_check=True)
    observed, _ = simplified(model)
    assert outcomes(observed, make_evidence, edition) == {}
    evidence = make_evidence(observations={observed.name: observed.values})
    assert grade(derive(evidence, edition), edition).letter is not None
