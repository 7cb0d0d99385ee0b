"""Agreement of two measurements of one pair of models: accuracy per sample, energy by its ratio.

Accuracy: the same samples were scored twice, so only changed results count (McNemar's exact test). The same file can
score differently on another processor, because int8 kernels round and saturate differently.

Energy: joules of two machines are not comparable, but the ratio candidate / baseline is. The interval of the quotient
of two ratios is recovered from their own intervals on the log scale, half-width^2 = sum of the half-widths^2 (MOVER;
Zou and Donner 2008, "Construction of confidence intervals about effect measures"). A null run may be off by the
edition's tolerance and still pass, so differences within it do not count. And an interval wide enough to contain a
whole letter's step confirms nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from certify.assessment.agreement import Agreement, AgreementOutcome, FigureTest
from certify.assessment.assessment import NOT_DERIVABLE
from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards.recognition import holds_on_fresh
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError, LeanmarkError
from certify.core.estimate import Estimate
from certify.core.evidence import ARMS, Evidence, Prediction
from certify.core.observations import FreshScores
from certify.core.statistics.proportions import PairedTable, difference_interval, mcnemar_p, wilson_interval, z_quantile

MCNEMAR = "difference of paired proportions, score interval (Tango 1998); McNemar's test, exact"
WILSON = "Wilson score interval; for the difference, both half-widths in quadrature"
MOVER = "quotient of two ratios, interval recovered from theirs on the log scale (Zou and Donner 2008)"


def compare_measurements(first: Evidence, second: Evidence, edition: Edition) -> Agreement:
    """Test whether two measurements of the same files on the same samples agree.

    Args:
        first: evidence of the certificate.
        second: evidence of the new measurement.
        edition: edition with confidence, tolerance and the step between letters.

    Raises:
        CertificateError: files, samples or workload differ, or a figure is missing.
    """
    try:
        return _compare(first, second, edition)
    except NOT_DERIVABLE as error:
        if isinstance(error, LeanmarkError):
            raise
        raise CertificateError(
            f"The two measurements cannot be compared, because no figures follow from one of them: {error}"
        ) from error


def _compare(first: Evidence, second: Evidence, edition: Edition) -> Agreement:
    _require_same(first, second)
    profiles = derive(first, edition), derive(second, edition)
    samples = _paired(first.samples, second.samples)
    figures = [_accuracy_test(arm, samples, profiles, edition) for arm in ARMS]
    if any(Figures.energy_ratio in profile.estimates for profile in profiles):
        figures.append(_ratio_test(Figures.energy_ratio, profiles, _obstacle(first, second, profiles), edition))
    if (fresh := second.observed(FreshScores)) is not None:
        figures.append(_fresh_test(fresh, second, profiles, edition))
    changed = {
        arm: tuple(old.digest for old, new in samples if _top1(old, arm) != _top1(new, arm)) for arm in ARMS
    }  # fmt: skip
    return Agreement(tuple(figures), changed, grade(profiles[1], edition))


def _require_same(first: Evidence, second: Evidence) -> None:
    for arm in ARMS:
        if first.header.models[arm].file_digest != second.header.models[arm].file_digest:
            raise CertificateError(f"The new measurement is of a {arm} file other than the certified one.")
    # Threads may differ: another machine has another best number, and each measurement chooses its own.
    for name in ("runtime", "candidate_runtime", "batch"):
        mine, theirs = getattr(second.header.workload, name), getattr(first.header.workload, name)
        if mine != theirs:
            raise CertificateError(f"The new measurement has {name} {mine}, but the certified one {theirs}.")


def _paired(first: Sequence[Prediction], second: Sequence[Prediction]) -> list[tuple[Prediction, Prediction]]:
    """Pair the samples of both measurements.

    Raises:
        CertificateError: samples or labels differ.
    """
    # Sorted, because the two measurements may have read the samples in different orders.
    sides = [sorted(side, key=lambda sample: (sample.digest, sample.label)) for side in (first, second)]
    pairs = list(zip(*sides, strict=False))
    if len(first) != len(second) or any((a.digest, a.label) != (b.digest, b.label) for a, b in pairs):
        common = len({sample.digest for sample in first} & {sample.digest for sample in second})
        raise CertificateError(
            f"The new measurement scored different samples: {len(second)} against {len(first)} certified ones, "
            f"{common} in common. Pass the same data to --data."
        )
    if not pairs:
        raise CertificateError("No sample was scored, so there is no accuracy to compare.")
    return pairs


def _top1(sample: Prediction, arm: str) -> int:
    return sample.baseline_top1 if arm == "baseline" else sample.candidate_top1


def _accuracy_test(
    arm: str, samples: Sequence[tuple[Prediction, Prediction]], profiles: tuple[Profile, Profile], edition: Edition
) -> FigureTest:
    name = Figures.accuracy(arm)
    right = [np.array([_top1(pair[run], arm) == pair[run].label for pair in samples]) for run in (0, 1)]
    table = PairedTable.from_correct(right[0], right[1])
    interval = difference_interval(table, edition.plan.confidence)
    value = 100 * (table.candidate - table.baseline) / table.n
    # The interval of all-equal answers may miss its own value in the last bit.
    low, high = min(100 * interval.low, value), max(100 * interval.high, value)
    p = mcnemar_p(table)
    outcome: AgreementOutcome = "differs" if p < 1 - edition.plan.confidence else "agrees"
    sentence = (
        f"Of {table.n} samples, {table.only_candidate} became correct, {table.only_baseline} wrong (p = {p:.3g})."
    )
    certified, found = (profile.estimates[name] for profile in profiles)
    return FigureTest(name, certified, found, Estimate(value, low, high, "%", table.n, MCNEMAR), p, outcome, sentence)


def _fresh_test(
    fresh: FreshScores, second: Evidence, profiles: tuple[Profile, Profile], edition: Edition
) -> FigureTest:
    """Test whether the candidate is as good on data unseen by its maker, as far as the baseline is."""
    finding = holds_on_fresh(second, edition)
    certified, n = profiles[0].estimates[Figures.accuracy("candidate")], int(fresh.samples)
    right = round(fresh.accuracy("candidate") * n) if n else 0
    interval = wilson_interval(right, max(1, n), edition.plan.confidence)
    value = right / max(1, n)
    found = Estimate(value, min(interval.low, value), max(interval.high, value), "1", n, WILSON)
    shift = 100 * (value - certified.value)
    spread = [100 * abs(estimate.high - estimate.low) / 2 for estimate in (certified, found)]
    half_width = math.hypot(*spread)
    difference = Estimate(shift, shift - half_width, shift + half_width, "%", n, WILSON)
    p = 2 * float(ndtr(-abs(shift) * z_quantile(edition.plan.confidence) / half_width)) if half_width else 1.0
    outcome: AgreementOutcome = "agrees" if finding.outcome == "pass" else "differs"
    return FigureTest("accuracy_fresh", certified, found, difference, p, outcome, finding.sentence)


def _obstacle(first: Evidence, second: Evidence, profiles: tuple[Profile, Profile]) -> str | None:
    """Return why the second energy figure can neither confirm nor contradict the first; None if it can."""
    mine, theirs = second.header.meter, first.header.meter
    if mine is None or theirs is None:
        return "One of the two measurements had no energy meter."
    if (mine.level, mine.method) != (theirs.level, theirs.method):
        return f"Energy is now {mine.level} ({mine.method}), but was certified as {theirs.level} ({theirs.method})."
    failed = [guard.name for guard in profiles[1].guards if guard.outcome == "fail"]
    failed = [name for name in failed if name != "holds_on_fresh"]  # tested as a separate figure
    before = {guard.name for guard in profiles[0].guards if guard.outcome == "fail"}
    # Only new failures count, because the certified measurement may have been refused for the same reason.
    if new := [name for name in failed if name not in before]:
        return f"Guards failed in the new measurement: {', '.join(new)}."
    return None


def _ratio_test(name: str, profiles: tuple[Profile, Profile], obstacle: str | None, edition: Edition) -> FigureTest:
    missing = [which for which, profile in zip(("certified", "new"), profiles, strict=True)
               if name not in profile.estimates]  # fmt: skip
    if missing:
        raise CertificateError(f"The {missing[0]} measurement has no {name}, so the two cannot be compared.")
    certified, found = (profile.estimates[name] for profile in profiles)
    shift = math.log(found.value / certified.value)
    # The intervals are symmetric on the log scale, so one end gives the half-width.
    half_width = math.hypot(*(math.log(estimate.high / estimate.value) for estimate in (certified, found)))
    difference = Estimate(
        math.exp(shift), _exp(shift - half_width), _exp(shift + half_width), "1", min(certified.n, found.n), MOVER,
        certified.evidence,
    )  # fmt: skip
    # With zero width any shift is infinitely many deviations; the next line handles a shift of 0.
    z = abs(shift) * z_quantile(edition.plan.confidence) / half_width if half_width > 0 else math.inf * (shift != 0)
    p = 2 * float(ndtr(-z)) if shift else 1.0
    tolerance, step = 1 + edition.plan.null_tolerance, _letter_step(edition)
    words = f"Now {difference.value:.3f} [{difference.low:.3f}, {difference.high:.3f}] of the certified ratio"
    outcome: AgreementOutcome
    if obstacle is not None:
        outcome, sentence = "undecided", obstacle
    elif difference.low > tolerance or difference.high < 1 / tolerance:
        outcome, sentence = (
            "differs",
            f"{words}, beyond the tolerance of a null run ({edition.plan.null_tolerance:.0%}).",
        )
    # Not significantly different is not the same as equal: a wide interval confirms nothing.
    elif difference.high >= step or difference.low <= 1 / step:
        outcome, sentence = "undecided", f"{words}, which does not exclude a whole letter ({step:.3f})."
    else:
        outcome, sentence = "agrees", f"{words}; a whole letter ({step:.3f}) is excluded."
    return FigureTest(name, certified, found, difference, p, outcome, sentence)


def _letter_step(edition: Edition) -> float:
    """Return the smallest factor of energy that changes the letter at the same loss."""
    lowest = list(edition.grading.letters.values())
    least = min((above - below for above, below in pairwise(lowest)), default=math.inf)
    return _exp(least / edition.grading.energy_weight * math.log(10))


def _exp(exponent: float) -> float:
    return math.exp(exponent) if exponent < 709 else math.inf
