"""Guards against a model that recognises the test instead of doing its task."""

from __future__ import annotations

import math
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.data import sample_kind
from certify.assessments.efficiency.guards.result import IN_AUDITOR_FILE, Answer, check, comparing, percent, unknown
from certify.core.errors import CertificateError
from certify.core.evidence import ARMS, Evidence
from certify.core.observations import ChangedAnswers, ChangedCost, FreshScores, RepeatedAnswers, SampleOrder
from certify.core.sample_order import AGAIN, ENERGY, order_seed, ranked

OTHERS = "not on the samples that the files and data determine"


@comparing
def answers_stable(evidence: Evidence, edition: Edition) -> Answer:
    """A sample gets the same answer in another batch; near ties may flip by rounding."""
    repeated = evidence.observed_by_arm(RepeatedAnswers)
    order = evidence.observed(SampleOrder)
    if repeated is None or None in repeated or order is None or not evidence.predictions:
        return unknown("No sample was scored twice")
    n = len(evidence.predictions)
    expected = _chosen(evidence, order, AGAIN, edition.plan.repeated_count(n))
    message, holds = [], True
    for arm, again in zip(ARMS, repeated, strict=True):
        assert again is not None
        if again.samples != expected:
            return Answer("fail", f"The {arm} was scored twice, but {OTHERS}.")
        top1, margins = _first(evidence, arm)
        second, second_margins = _numbers(again.top1, expected), _numbers(again.margin, expected)
        # Margins have the unit of the logits, so they are compared in multiples of the usual one.
        usual = float(np.median(margins)) or 1.0
        # A sample counts as a tie only if it is close both times; a flip with a wide margin is never rounding.
        clear = np.maximum(margins[expected], second_margins) > edition.thresholds.near_tie * usual
        turned = float(np.mean((top1[expected] != second) & clear))
        drift = float(np.median(np.abs(second_margins - margins[expected]))) / usual
        holds = holds and turned <= edition.thresholds.unstable_share and drift <= edition.thresholds.margin_drift
        message.append(f"{percent(turned)} of the {arm}'s answers changed and its margins moved by {percent(drift)}")
    return check(
        holds,
        f"Scored again in other batches, {'; '.join(message)} (allowed: "
        f"{percent(edition.thresholds.unstable_share)} and {percent(edition.thresholds.margin_drift)}; {len(expected)} "
        "samples, without near ties)",
        "the answers depend on a sample's position and not on the sample alone",
    )


@comparing
def same_on_changed(evidence: Evidence, edition: Edition) -> Answer:
    """On changed samples the candidate keeps its answers as well as the baseline does."""
    changed, order = evidence.observed_by_arm(ChangedAnswers), evidence.observed(SampleOrder)
    if changed is None or None in changed or order is None or not evidence.predictions:
        return _not_changed(evidence)
    expected = _chosen(evidence, order, ENERGY, edition.plan.changed_samples)
    labels = np.array([p.label for p in evidence.predictions], dtype=np.int64)[expected]
    lost, unchanged = [], []
    for arm, answers in zip(ARMS, changed, strict=True):
        assert answers is not None
        if answers.samples != expected:
            return Answer("fail", f"The {arm} was scored on changed samples, but {OTHERS}.")
        before, after = _first(evidence, arm)[0][expected], _numbers(answers.top1, expected)
        lost.append(float(np.mean(before == labels) - np.mean(after == labels)))
        unchanged.append(float(np.mean(before == after)))
    least, limits = edition.thresholds.baseline_same_on_changed, edition.thresholds
    sentence = (
        f"On {len(expected)} changed samples the baseline lost {percent(lost[0])} of its accuracy and the candidate "
        f"{percent(lost[1])} (allowed excess: {percent(limits.changed_loss)}); they kept {percent(unchanged[0])} and "
        f"{percent(unchanged[1])} of their answers (allowed shortfall: {percent(limits.changed_answers)})"
    )
    if unchanged[0] < least:
        return Answer(
            "fail", f"{sentence}: a baseline that keeps fewer than {percent(least)} cannot serve as a reference."
        )
    return check(
        lost[1] - lost[0] <= limits.changed_loss and unchanged[0] - unchanged[1] <= limits.changed_answers,
        sentence,
        "the candidate recognises the test samples instead of doing the task",
    )


@comparing
def same_cost_on_changed(evidence: Evidence, edition: Edition) -> Answer:
    """Changed samples take as long as the same samples unchanged, in both models."""
    costs = evidence.observed_by_arm(ChangedCost)
    if costs is None or None in costs:
        return _not_changed(evidence)
    on_cpu = "CPU" in evidence.header.workload.provider
    ratios = []
    for arm, cost in zip(ARMS, costs, strict=True):
        assert cost is not None
        sides = (cost.unchanged_cpu_s, cost.changed_cpu_s) if on_cpu else (cost.unchanged_s, cost.changed_s)
        before, after = (_numbers(side, range(len(sides[0]))) for side in sides)
        if len(before) < edition.plan.changed_windows or not (np.all(before > 0) and np.all(after > 0)):
            return Answer("fail", f"The {arm} was not timed on changed samples in every window.")
        # The median, since one slow window on a busy machine would decide a mean of ten.
        ratios.append(math.exp(float(np.median(np.log(after) - np.log(before)))))
    limit = 1 + edition.thresholds.changed_cost
    clock = "CPU time" if on_cpu else "Time"
    return check(
        all(1 / limit <= ratio <= limit for ratio in ratios),
        f"{clock} per inference on changed samples, relative to the same samples unchanged: {ratios[0]:.3f} in the "
        f"baseline, {ratios[1]:.3f} in the candidate (allowed: a factor of {limit:g} either way)",
        "the model recognises the timed samples and treats others differently",
    )


@comparing
def holds_on_fresh(evidence: Evidence, edition: Edition) -> Answer:
    """On data unseen by the maker the candidate is as good as on the test set, as far as the baseline is."""
    fresh, stated = evidence.observed(FreshScores), evidence.header.data.get("fresh")
    if stated is not None and (stated == "no") != (fresh is None):
        return Answer("fail", f"The certificate names the fresh data as {stated!r}, but different data were scored.")
    if fresh is None or not (evidence.predictions or evidence.withheld):
        return unknown("No data unseen by the maker were scored")
    if evidence.withheld:
        return IN_AUDITOR_FILE
    least, limit = edition.thresholds.minimum_fresh_samples, edition.thresholds.fresh_loss
    if fresh.shared or not fresh.samples >= max(1, least):
        return Answer(
            "fail",
            f"{fresh.samples:.0f} fresh samples were scored, {fresh.shared:.0f} of them "
            f"from the test set; at least {least} are needed, none of them from the test set.",
        )
    labels = np.array([p.label for p in evidence.predictions], dtype=np.int64)
    lost = [float(np.mean(_first(evidence, arm)[0] == labels)) - fresh.accuracy(arm) for arm in ARMS]
    return check(
        lost[1] - lost[0] <= limit,
        f"On {fresh.samples:.0f} samples of {fresh.name!r}, unseen by the maker, the baseline lost "
        f"{percent(lost[0])} of its accuracy and the candidate {percent(lost[1])} (allowed excess: "
        f"{percent(limit)})",
        "the candidate recognises the test samples instead of doing the task",
    )


def _not_changed(evidence: Evidence) -> Answer:
    """Return unknown for text and arrays, which have no change that surely keeps the label; images must be changed."""
    kind = sample_kind(evidence)
    if kind != "image":
        return unknown(f"No change of {'text' if kind == 'tokens' else 'arrays'} is sure to keep the label")
    return Answer("fail", "The test samples are images, but no changed images were run.")


def _chosen(evidence: Evidence, order: SampleOrder, purpose: str, count: int) -> list[int]:
    """Return the sample indices that the files and data determine."""
    models = evidence.header.models
    seed = order_seed(
        [models[arm].file_digest for arm in evidence.arms],
        str(evidence.header.data.get("test_digest")),
        str(order.salt),
    )
    return ranked([p.digest for p in evidence.predictions], seed, purpose)[:count]


def _first(evidence: Evidence, arm: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return answers and margins of the first scoring."""
    top1, margins = (list(map(attrgetter(f"{arm}_{name}"), evidence.predictions)) for name in ("top1", "margin"))
    return np.array(top1, dtype=np.int64), np.array(margins, dtype=np.float64)


def _numbers(values: list[object], expected: object) -> npt.NDArray[np.float64]:
    """Return recorded numbers, one per expected item.

    Raises:
        CertificateError: their count differs, or one is not a finite number.
    """
    count = len(expected)  # type: ignore[arg-type]
    if len(values) != count or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        raise CertificateError(f"Evidence: an observation must contain {count} finite numbers.")
    return np.array(values, dtype=np.float64)
