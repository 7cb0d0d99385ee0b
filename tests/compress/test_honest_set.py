"""The arithmetic of the benchmark over honest pairs: how far a pair stays from the limit of a finding."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest

from certify.assessments.efficiency.edition import load_edition

TESTS = Path(__file__).resolve().parents[1]
EDITION = load_edition()


@pytest.fixture(scope="module")
def honest():
    """The benchmark and the made-up evidence, imported as their own folders are."""
    folders = [str(TESTS / "benchmarks"), str(TESTS / "certify" / "efficiency")]
    sys.path[:0] = folders
    yield importlib.import_module("honest_set"), importlib.import_module("synthetic").make_evidence
    sys.path[:] = [folder for folder in sys.path if folder not in folders]


@pytest.mark.parametrize(("fused", "factor"), [(50, math.inf), (48, 2**1.25), (46, 2**0.25)])
def test_margin_is_the_factor_by_which_a_limit_may_shrink(honest, fused: int, factor: float) -> None:
    """Of the tenth that may run in floats, 48 of 50 use 0.4 and 46 of 50 use 0.8."""
    benchmark, make_evidence = honest
    quantized = {"intended": 50, "fused": fused, "unfused": []}
    evidence = make_evidence(observations={"quantization": {"baseline": quantized, "candidate": quantized}})
    assert benchmark.margin("fused_share", evidence, EDITION) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("limit", "value"),
    [("changed_cost", 0.15), ("input_std", 0.002), ("fused_share", 0.95), ("latency_factor", 2.0)],
)
def test_limit_is_twice_as_strict(honest, limit: str, value: float) -> None:
    assert getattr(honest[0].stricter(EDITION, limit, 2).thresholds, limit) == pytest.approx(value)


def test_every_limit_is_a_constant_of_the_edition(honest) -> None:
    benchmark = honest[0]
    named = {*benchmark.LOWER, *benchmark.SHARES, *benchmark.RATIOS, *benchmark.NO_LIMITS, *benchmark.BY_MACHINE}
    assert named <= set(vars(EDITION.thresholds))
