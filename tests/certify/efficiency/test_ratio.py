from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from certify.assessments.efficiency.edition import Edition
from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence
from certify.core.statistics.batch_means import MeanInterval
from certify.core.statistics.ratio import (
    block_log_ratios,
    check_windows,
    duration_per_inference,
    energy_log_ratios,
    quotient_estimate,
    ratio_estimate,
)
from certify.core.windows import Run, Window


def window(position: int, arm: str, energy_j: float | None, block: int = 0, inferences: int = 10) -> Window:
    return Window("main", 0, block, position, arm, 2, inferences, float(position), 2.0, 3.0, energy_j)


def block(arms: str, energies: list[float | None], number: int = 0) -> tuple[Window, ...]:
    names = {"A": "baseline", "B": "candidate"}
    return tuple(window(i, names[arms[i]], energy, number) for i, energy in enumerate(energies))


def test_log_ratio_is_difference_of_mean_logs_when_block_is_abba() -> None:
    ratios = block_log_ratios(Run(block("ABBA", [8.0, 1.0, 4.0, 2.0])))
    assert ratios is not None
    assert ratios == pytest.approx([math.log(2.0 / 4.0)])


def test_log_ratio_is_per_inference_when_arms_run_different_counts() -> None:
    windows = (dataclasses.replace(w, inferences=40 if w.arm == "candidate" else 10) for w in block("BAAB", [4.0] * 4))
    ratios = block_log_ratios(Run(tuple(windows)))
    assert ratios is not None
    assert ratios == pytest.approx([math.log(0.25)])


@pytest.mark.parametrize("arms", ["ABBA", "BAAB"])
def test_log_ratio_is_exact_when_cost_drifts_linearly(arms: str) -> None:
    drifting = [math.exp(0.05 * i) * (0.3 if arm == "B" else 1.0) for i, arm in enumerate(arms)]
    ratios = block_log_ratios(Run(block(arms, list(drifting))))
    assert ratios is not None
    assert ratios == pytest.approx([math.log(0.3)])


@pytest.mark.parametrize("energy", [None, 0.0, -1.0])
def test_log_ratio_is_none_when_one_window_has_no_energy(energy: float | None) -> None:
    run = Run(block("ABBA", [1.0, 1.0, 1.0, 1.0]) + block("ABBA", [1.0, energy, 1.0, 1.0], 1))
    assert block_log_ratios(run) is None
    durations = block_log_ratios(run, duration_per_inference)
    assert durations is not None
    assert durations == pytest.approx([0.0, 0.0])


@pytest.mark.parametrize("arms", ["AABB", "ABAB", "AAAA", "ABB"])
def test_block_is_skipped_when_it_is_not_abba(arms: str) -> None:
    run = Run(block(arms, [1.0] * len(arms)))
    assert len(run.blocks) == 1 and not run.complete
    ratios = block_log_ratios(run)
    assert ratios is not None
    assert len(ratios) == 0


def test_null_ratio_reads_last_attempt_when_there_were_two(make_evidence: Callable[..., Evidence]) -> None:
    evidence = make_evidence(null_attempts=2)
    null = evidence.run("null")
    assert null.attempts == 2
    assert {w.attempt for w in null.last.windows} == {1}
    ratios = energy_log_ratios(evidence, "null")
    assert ratios is not None
    assert ratios == pytest.approx(block_log_ratios(null.last, candidate="baseline_again"))


def test_ratio_contains_the_truth_when_noise_is_small(evidence: Evidence, edition: Edition) -> None:
    estimate = ratio_estimate(energy_log_ratios(evidence, "main"), edition.plan, EvidenceLevel.COUNTER)
    assert estimate is not None
    assert estimate.low < 0.3 < estimate.high
    assert estimate.value == pytest.approx(math.sqrt(estimate.low * estimate.high))
    assert estimate.n == 10


@pytest.mark.parametrize("ratios", [None, np.array([]), np.array([0.1])])
def test_ratio_is_none_when_there_are_too_few_blocks(ratios: np.ndarray | None, edition: Edition) -> None:
    assert ratio_estimate(ratios, edition.plan, EvidenceLevel.COUNTER) is None


def test_quotient_widens_with_either_side_when_means_are_uncertain() -> None:
    sure = MeanInterval(2.0, 0.0, 0.0, 5.0, 10, 6)
    unsure = MeanInterval(4.0, 0.5, 0.2, 5.0, 10, 6)
    exact = quotient_estimate(sure, sure, 0.95, EvidenceLevel.COUNTER)
    one = quotient_estimate(sure, unsure, 0.95, EvidenceLevel.COUNTER)
    both = quotient_estimate(unsure, unsure, 0.95, EvidenceLevel.COUNTER)
    assert exact is not None and one is not None and both is not None
    assert (exact.low, exact.value, exact.high) == (1.0, 1.0, 1.0)
    assert one.value == 0.5
    # One side alone has all the variance, so its own 5 degrees of freedom count: t(0.975, 5) = 2.5706.
    assert one.high == pytest.approx(0.5 * math.exp(2.570582 * 0.05), rel=1e-6)
    assert both.high / both.value > one.high / one.value
    assert quotient_estimate(sure, dataclasses.replace(sure, mean=0.0), 0.95, EvidenceLevel.COUNTER) is None


def test_quotient_uses_welch_satterthwaite_degrees_of_freedom_when_sides_differ() -> None:
    """Welch 1947: df = (a + b)^2 / (a^2 / df_a + b^2 / df_b) for two squared standard errors, here relative ones."""
    few = MeanInterval(4.0, 0.9, 0.2, 3.0, 8, 4)  # relative standard error 0.05
    many = MeanInterval(2.0, 0.1, 0.06, 20.0, 30, 21)  # relative standard error 0.03
    degrees = (0.0025 + 0.0009) ** 2 / (0.0025**2 / 3 + 0.0009**2 / 20)
    assert 3 < degrees < 23
    width = stats.t.ppf(0.975, degrees) * math.sqrt(0.0025 + 0.0009)
    for above, below in ((few, many), (many, few)):
        found = quotient_estimate(above, below, 0.95, EvidenceLevel.COUNTER)
        assert found is not None
        assert found.value == above.mean / below.mean
        assert math.log(found.high / found.value) == pytest.approx(width, rel=1e-9)
        assert math.log(found.value / found.low) == pytest.approx(width, rel=1e-9)


@pytest.mark.parametrize("change", [{"inferences": 0}, {"duration_s": 0.0}, {"energy_j": math.inf}, {"cpu_s": 1e40}])
def test_windows_are_refused_when_they_are_impossible(change: dict[str, float]) -> None:
    with pytest.raises(CertificateError, match="main/0/0/1"):
        check_windows([dataclasses.replace(window(1, "baseline", 1.0), **change)])
