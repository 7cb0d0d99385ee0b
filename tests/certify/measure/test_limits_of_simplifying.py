"""Padding that cannot be found, as SECURITY.md states: such a baseline passes, and a candidate earns a letter by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import padded_unseen
import pytest
from simplified_here import Maker, Simplify, outcomes

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.data.array_contract import ArrayPreprocess
from certify.data.dataset import Dataset
from certify.data.named_arrays import named_split

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


def test_known_limit_padding_is_not_found_when_it_is_in_the_steps_of_a_sequence(
    simplified: Simplify, make_evidence: Maker, edition: Edition, stated: Callable[[str], None]
) -> None:
    """All but the last five steps are computed for nothing, as in honest causal convolutions."""
    stated("or of a convolution over a sequence, of which only the last is read")
    size, samples = padded_unseen.STEPS, 300
    steps = np.random.default_rng(38).standard_normal((samples, size, size)).astype(np.float32)
    test = named_split({"steps": steps}, np.arange(samples) % padded_unseen.CLASSES, "steps")
    data = Dataset(
        name="steps", spec="tests:steps", classes=("a", "b", "c", "d"), train=None, calibration=None, validation=None,
        test=test, input_size=(size, size),
    )  # fmt: skip
    contract = ArrayPreprocess(("steps",), ((size, size),), ("float32",), "classes", "logits")
    observed, _ = simplified(padded_unseen.causal(), data, contract)
    assert outcomes(observed, make_evidence, edition) == {}
    evidence = make_evidence(observations={observed.name: observed.values})
    assert grade(derive(evidence, edition), edition).letter is not None
