"""Guards over the test data: unseen, real, sufficient, and one label per sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, check_none, comparing, percent, unknown
from certify.assessments.efficiency.tally import tally_of
from certify.core.evidence import ARMS, Evidence
from certify.core.observation import number
from certify.core.observations import Contracts, FiniteOutputs, Inputs, NearDuplicates, Overlap
from certify.core.statistics.proportions import wilson_interval


@comparing
def test_unseen(evidence: Evidence, edition: Edition) -> Answer:
    """No test sample, nor a near duplicate of one, was seen in training, calibration or validation."""
    observed = evidence.observed(Overlap) or Overlap({})
    # Overlaps of the other parts with each other do not concern the test.
    pairs = {name: count for name, count in observed.counts.items() if "test" in name.split("/")}
    shared = {name: count for name, count in pairs.items() if count}
    if shared:
        message = ", ".join(f"{count:.0f} in {name}" for name, count in sorted(shared.items()))
        return Answer("fail", f"Splits of the data share samples ({message}): the test set is not unseen.")
    near = {name: found for name, found in _near(evidence).items() if name != WITHIN}
    if too_many := _too_many(near.values(), edition):
        message = ", ".join(f"{_share_of(near[name])} {name}" for name in sorted(near) if near[name] in too_many)
        return Answer("fail", f"Test samples are near duplicates of others ({message}): the test set is not unseen.")
    if "train/test" not in pairs or None in pairs.values():
        return unknown("The training and calibration data of the models are not fully known")
    if sample_kind(evidence) == "arrays":
        return unknown(f"No sample is shared: {', '.join(sorted(pairs))}, and {NOT_COMPARED}")
    if sample_kind(evidence) == "image" and set(near) != set(pairs):
        return unknown("Test samples were not checked for near duplicates of others")
    message = ", ".join(f"{name} {found.near:.0f}" for name, found in sorted(near.items())) or "not checked for text"
    return Answer("pass", f"No sample is shared: {', '.join(sorted(pairs))}. Near duplicates: {message}.")


@comparing
def test_distinct(evidence: Evidence, edition: Edition) -> Answer:
    """Test samples are not altered copies of each other, which would count repeatedly."""
    kind, found = sample_kind(evidence), _near(evidence).get(WITHIN)
    if kind == "arrays":
        return unknown(f"Equal samples count once, but {NOT_COMPARED}")
    if kind == "tokens":
        return Answer("pass", "Text is not checked for near duplicates.")
    if found is None:
        return Answer("fail", "The test images were not checked for near duplicates among themselves.")
    return check(
        not _too_many([found], edition),
        f"{_share_of(found)} test samples are near duplicates of another; {percent(_limit(edition))} are allowed",
        "an altered copy of a sample must not count again",
    )


WITHIN = "test/test"
NOT_COMPARED = "near duplicates of arrays cannot be detected"


def _limit(edition: Edition) -> float:
    return edition.thresholds.near_duplicates_share


def _near(evidence: Evidence) -> dict[str, NearDuplicates]:
    """Return the near duplicates of test samples, by both splits."""
    names = evidence.observation(NearDuplicates.NAME) or {}
    found = {name: evidence.observed_of(NearDuplicates, name) for name in names}
    return {name: pair for name, pair in found.items() if pair is not None and pair.samples > 0 and pair.among > 0}


def _too_many(found: Iterable[NearDuplicates], edition: Edition) -> list[NearDuplicates]:
    """Return those whose share, at its lower end and extrapolated to the whole other split, exceeds the limit."""
    return [
        pair
        for pair in found
        # The lower end is compared, so that near duplicates by chance do not fail an honest set.
        if wilson_interval(pair.near, pair.samples, edition.plan.confidence).low * max(1.0, pair.of / pair.among)
        > _limit(edition)
    ]


def _share_of(found: NearDuplicates) -> str:
    return f"{found.near:.0f} of {found.samples:.0f}"


def sample_kind(evidence: Evidence) -> str:
    """Return the kind of samples according to their contract; text is recognised by its observation."""
    inputs = evidence.observed(Inputs)
    if inputs is not None and inputs.repetition is not None:
        return "tokens"
    contract = (evidence.observation(Contracts.NAME) or {}).get("candidate")
    return "arrays" if isinstance(contract, Mapping) and contract.get("kind") == "arrays" else "image"


NOT_TOLD = "random arrays cannot be detected"


def inputs_real(evidence: Evidence, edition: Edition) -> Answer:
    """The inputs were different samples, neither constant nor random; power depends on the values."""
    found = evidence.observed(Inputs)
    if found is None:
        return Answer("fail", "The inputs were not checked.")
    if found.neighbour_correlation is not None:
        correlation, least = found.neighbour_correlation, edition.thresholds.input_correlation
        regular = correlation >= least
        message = f"neighbouring values correlate by {correlation:.2g} (required: {least:g}; random numbers have 0)"
    elif found.repetition is not None:
        regular, least = found.repetition >= edition.thresholds.input_repetition, edition.thresholds.input_repetition
        message = f"tokens repeat {found.repetition:.3g} times as often as random ones would (required: {least:g})"
    elif sample_kind(evidence) == "arrays":
        regular, message = True, NOT_TOLD
    else:
        return Answer("fail", "The inputs were not checked for randomness.")
    varied = found.std >= edition.thresholds.input_std and found.distinct >= edition.thresholds.distinct_inputs
    # Power depends on the values, so constant inputs would cost less than real ones.
    answer = check(
        varied and found.constant_share <= edition.thresholds.constant_inputs_share and regular,
        f"{found.distinct:.0f} different inputs with a standard deviation of {found.std:.3g}; "
        f"{percent(found.constant_share)} are "
        f"constant (allowed: {percent(edition.thresholds.constant_inputs_share)}); {message}",
        "these are not real data",
    )
    return answer._replace(outcome="unknown") if answer.outcome == "pass" and message == NOT_TOLD else answer


@comparing
def outputs_finite(evidence: Evidence, edition: Edition) -> Answer:
    """Neither model returned NaN or infinity."""
    finite = [observed.finite for observed in evidence.observed_by_arm(FiniteOutputs) or () if observed is not None]
    if len(finite) < len(ARMS) or not all(isinstance(value, bool) for value in finite):
        return unknown("The outputs were not checked")
    # A sum is finite only if both margins are.
    margins = all(math.isfinite(p.baseline_margin + p.candidate_margin) for p in evidence.predictions)
    broken = [arm for arm, value in zip(ARMS, finite, strict=True) if not value]
    return check(
        not broken and margins,
        f"Non-finite outputs: {', '.join(broken) or ('none' if margins else 'in the margins')}",
        "a model that returns NaN or infinity is broken",
    )


@comparing
def enough_test_samples(evidence: Evidence, edition: Edition) -> Answer:
    """The whole test set was scored, and it has enough distinct samples."""
    tally = tally_of(evidence)
    n, distinct = (0, 0) if tally is None else (tally.scored, tally.n)
    stated, least = number(evidence.header.data, "test_samples"), edition.thresholds.minimum_test_samples
    faults = {
        "all of them must be scored": stated not in (None, n),
        f"a grade needs at least {least} distinct samples; add {least - distinct} or more": distinct < least,
    }
    return check_none(
        faults,
        f"{n} test samples were scored, {distinct} of them distinct"
        + ("" if stated in (None, n) else f", from a test set of {stated:.0f}"),
    )


@comparing
def labels_agree(evidence: Evidence, edition: Edition) -> Answer:
    """No sample appears in the test set with two labels."""
    if not evidence.predictions:
        return unknown("No test sample was scored")
    # The samples are distinct, so each digest has the label of its first appearance.
    labels = {p.digest: p.label for p in evidence.samples}
    # Two labels for one sample would let a model be right whatever it answers.
    torn = len({p.digest for p in evidence.predictions if p.label != labels[p.digest]})
    repeated = evidence.duplicates
    return check(
        torn == 0,
        f"{repeated} of {len(evidence.predictions)} test samples repeat an earlier one and do not count again; {torn} "
        "samples appear with more than one label",
        "a sample has one true class",
    )
