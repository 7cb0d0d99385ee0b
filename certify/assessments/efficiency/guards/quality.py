"""Guards over what is graded: a bounded metric, and models that beat any constant answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from certify.assessments.efficiency.declared_metric import Declared, declared_metric, declared_scores, metric_fault
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, percent, unknown
from certify.assessments.efficiency.tally import Tally, tally_of
from certify.core.evidence import Evidence
from certify.core.statistics.means import mean_interval
from certify.core.statistics.proportions import PairedTable, ratio_interval, wilson_interval
from certify.data.metrics import TOP1
from certify.data.regression import scale_of


@comparing
def metric_bound(evidence: Evidence, edition: Edition) -> Answer:
    """A declared metric is bound by its source, lies in [0, 1], and was scored on constant answers."""
    metric = declared_metric(evidence)
    if metric == TOP1:
        return Answer("pass", "The graded metric is top-1 accuracy.")
    if (fault := metric_fault(evidence)) is not None:
        return Answer("fail", f"The metric {metric} {fault}.")
    return Answer("pass", f"The scores by {metric} are in [0, 1], and its constant answers are known.")


@comparing
def top1_kept(evidence: Evidence, edition: Edition) -> Answer:
    """If another metric is declared, top-1 accuracy did not fall by more than any letter allows."""
    if tally_of(evidence) is None:
        return unknown("No test sample was scored")
    if declared_metric(evidence) == TOP1:
        return Answer("pass", "The graded metric is top-1 accuracy.")
    if scale_of(declared_metric(evidence)) is not None:
        return Answer("pass", "The task is regression, which has no top-1 accuracy.")
    labels = evidence.labels()
    baseline, candidate = (np.array(_top1(evidence, arm)) == labels for arm in ("baseline", "candidate"))
    table = PairedTable.from_correct(baseline, candidate)
    limit, low = edition.grading.largest_loss_percent, ratio_interval(table, edition.plan.confidence).low
    lost = 100 * (1 - low) if table.baseline else 100.0
    return check(
        lost <= limit,
        f"In addition to the declared metric, a relative loss of top-1 accuracy of up to {lost:.3g} % cannot be ruled "
        f"out; {limit:g} % is allowed",
        "the metric may have been chosen because the candidate loses nothing by it",
    )


@comparing
def baseline_beats_majority(evidence: Evidence, edition: Edition) -> Answer:
    """The baseline is significantly better than any constant answer, by top-1 and by the declared metric."""
    return _beats_constant(evidence, "baseline", edition, "a baseline that has learned nothing has nothing to lose")


@comparing
def candidate_beats_majority(evidence: Evidence, edition: Edition) -> Answer:
    """The candidate is significantly better than any constant answer, by top-1 and by the declared metric."""
    return _beats_constant(evidence, "candidate", edition, "a constant answer costs nothing and is as good")


def _beats_constant(evidence: Evidence, arm: str, edition: Edition, meaning: str) -> Answer:
    tally = tally_of(evidence)
    if tally is None:
        return unknown("No test sample was scored")
    declared = declared_scores(evidence)
    verdicts = [] if declared is None else list(_by_metric(declared, arm, edition))
    if not verdicts or scale_of(declared_metric(evidence)) is None:  # regression has no most common class
        verdicts.insert(0, _by_top1(tally, arm, edition))
    return check(all(better for better, _ in verdicts), "; ".join(sentence for _, sentence in verdicts), meaning)


def _by_top1(tally: Tally, arm: str, edition: Edition) -> tuple[bool, str]:
    correct, majority = tally.right(arm), tally.commonest / tally.n
    low = wilson_interval(correct, tally.n, edition.plan.confidence).low
    return low > majority, (
        f"The {arm}'s accuracy is {percent(correct / tally.n)}, at least {percent(low)}; the most common class "
        f"makes up {percent(majority)}"
    )


def _by_metric(declared: Declared, arm: str, edition: Edition) -> Iterator[tuple[bool, str]]:
    if declared.constant is None:  # reported by metric_bound
        return
    scores = declared.baseline if arm == "baseline" else declared.candidate
    low = mean_interval(scores - declared.constant.scores, edition.plan.confidence).low
    yield (
        low > 0,
        (
            f"by {declared.metric} its mean score is {np.mean(scores):.4g}, that of the best constant answer "
            f"{np.mean(declared.constant.scores):.4g}, and the difference at least {low:.3g}"
        ),
    )


def _top1(evidence: Evidence, arm: str) -> list[int]:
    return [p.baseline_top1 if arm == "baseline" else p.candidate_top1 for p in evidence.samples]
