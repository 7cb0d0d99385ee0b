"""Forgeries of answers, metrics and readings, for the findings not covered by tests/certify/efficiency/forgeries.py.

They use the same options of the evidence builder (``CHEATS``) as the tests of the guards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from forgeries import Forgery  # type: ignore[import-not-found]
from synthetic import with_predictions  # type: ignore[import-not-found]
from test_guards import CHEATS  # type: ignore[import-not-found]
from test_guards_of_answers import others, times  # type: ignore[import-not-found]
from test_guards_of_windows import _reset_between_windows, change_window  # type: ignore[import-not-found]

from certify.core.evidence import Evidence, Observation, Prediction
from certify.data.dataset import samples_digest

Values = dict[str, Any]
Forge = Callable[[Evidence], Evidence]


def by_knobs(known: set[str]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The first knobs that trip each finding which is not ``known``: its name, its words, and the knobs."""
    for name, knobs, words in CHEATS:
        if name not in known:
            known = {*known, name}
            yield name, words, knobs


def _observed(name: str, change: Callable[[Values], Values], arm: str | None = "candidate") -> Forge:
    """Changes an observation, or an arm's part of it."""

    def forge(evidence: Evidence) -> Evidence:
        values = dict(evidence.observation(name) or {})
        changed = change(values) if arm is None else {**values, arm: change(dict(values[arm]))}
        kept = [one for one in evidence.observations if one.name != name]
        return replace(evidence, observations=(*kept, Observation(name, changed)))

    return forge


def _answered(change: Callable[[int, Prediction], Prediction], **data: Any) -> Forge:
    """Changes the answer to each sample, and facts of the data."""

    def forge(evidence: Evidence) -> Evidence:
        return _over([change(i, one) for i, one in enumerate(evidence.predictions)], evidence, **data)

    return forge


def _over(predictions: list[Prediction], evidence: Evidence, **data: Any) -> Evidence:
    digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
    facts = {**evidence.header.data, "test_samples": len(predictions), "test_digest": digest, **data}
    forged: Evidence = with_predictions(replace(evidence, header=replace(evidence.header, data=facts)), predictions)
    return forged


def _two_labels(evidence: Evidence) -> Evidence:
    again = [replace(p, label=(p.label + 1) % 10) for p in evidence.predictions[:40]]
    return _over([*evidence.predictions, *again], evidence)


def _always_one(i: int, sample: Prediction) -> Prediction:
    """A test set with hardly any other class, and a candidate that names the commonest."""
    label = int(i % 75 == 0)
    return replace(sample, label=label, baseline_top1=label, candidate_top1=0)


def _lost(i: int, sample: Prediction) -> Prediction:
    """A candidate that lost every tenth sample, and none by the first five classes."""
    top1 = (sample.label + 1) % 10 if i % 10 == 0 else sample.candidate_top1
    return replace(sample, candidate_top1=top1, baseline_score=1.0, candidate_score=1.0)


def _unbound(evidence: Evidence) -> Evidence:
    """A metric of somebody else's of which no source is stated."""

    def score(_: int, p: Prediction) -> Prediction:
        right = (float(top1 == p.label) for top1 in (p.baseline_top1, p.candidate_top1))
        return replace(p, **dict(zip(("baseline_score", "candidate_score"), right, strict=True)))

    constant = Observation("constant_answers", {"answers": ["class 0"], "scores": [[1.0] + [0.0] * 9]})
    scored = _answered(score, metric="mymetric:quality")(evidence)
    return replace(scored, observations=(*scored.observations, constant))


def _heated(evidence: Evidence) -> Evidence:
    for index, window in enumerate(evidence.windows):
        if (window.run, window.block) == ("main", 9):
            evidence = change_window(evidence, index, host={**window.host, "temperature_c": 90.0})
    return evidence


def _stopped(evidence: Evidence) -> Evidence:
    """A counter that stands still in a window of the yardstick, so that every figure of the pair is there."""
    before = evidence.windows[-1].reading["package-0_before_uj"]
    reading = {"package-0_before_uj": before, "package-0_after_uj": before}
    forged: Evidence = change_window(evidence, -1, energy_j=0.0, reading=reading)
    return forged


FURTHER = (
    Forgery("counter_moved", "a counter that stands still", "counter", _stopped, ""),
    Forgery("counter_monotonic", "a counter that starts again", "counter", _reset_between_windows, ""),
    Forgery("temperature_bounded", "a machine that heats up", "counter", _heated, ""),
    Forgery("answers_stable", "other answers in other batches", "counter",
            _observed("repeated_answers", others(0.05)), ""),
    Forgery("same_on_changed", "other answers to changed samples", "counter",
            _observed("changed_answers", others(0.2)), ""),
    Forgery("same_cost_on_changed", "changed samples that take longer", "counter",
            _observed("changed_cost", times(1.4)), ""),
    Forgery("holds_on_fresh", "most answers to fresh data wrong", "counter",
            _observed("fresh_data", lambda values: {**values, "both": 230, "only_baseline": 736}, None), ""),
    Forgery("labels_agree", "samples with two labels", "counter", _two_labels, ""),
    Forgery("candidate_beats_majority", "one answer to nearly one class", "counter", _answered(_always_one), ""),
    Forgery("top1_kept", "a metric on which nothing is lost", "counter", _answered(_lost, metric="top5"), ""),
    Forgery("metric_bound", "a metric without its source", "counter", _unbound, ""),
)  # fmt: skip
