"""Named checks of single mechanisms: sensitivity, noise and sampling."""

from __future__ import annotations

from certify.assessments.privacy.edition import Edition
from certify.assessments.privacy.figures import rate_of
from certify.assessments.privacy.records import DpSgd, Records
from certify.core.accounting import poisson_sizes
from certify.core.finding import FindingOutcome

Answer = tuple[FindingOutcome, str]
NO_TRAINING = "There is no noisy training."


def sensitivity_bounded(records: Records, edition: Edition) -> Answer:
    """Clipped gradients are those of one unit, as computed by a loop over single samples."""
    if not records.sgd:
        return "pass", NO_TRAINING
    unseen = [one.id for one in records.sgd if one.gradient_error is None]
    wrong = [
        one.id
        for one in records.sgd
        if one.gradient_error is not None and one.gradient_error > edition.gradient_tolerance
    ]
    if wrong:
        return "fail", f"Per-sample gradients of {', '.join(wrong)} differ from those of a loop over single samples."
    if unseen:
        return "unknown", f"Per-sample gradients of {', '.join(unseen)} were not compared with a loop."
    mixed = [one.id for one in records.sgd if one.microbatch > 1]
    doubled = f" {', '.join(mixed)} averages before clipping, which doubles the sensitivity." if mixed else ""
    return "pass", f"Per-sample gradients equal those of a loop over single samples.{doubled}"


def no_cross_sample_layer(records: Records, edition: Edition) -> Answer:
    """No layer mixes samples during training, so that each gradient belongs to one sample."""
    mixing = [f"{layer} ({one.id})" for one in records.sgd for layer in one.cross_sample_layers]
    if mixing:
        return "fail", f"Layers mix samples during training: {', '.join(mixing[:5])}; fold them first."
    return "pass", "No layer mixes samples during training." if records.sgd else NO_TRAINING


def noise_not_reproducible(records: Records, edition: Edition) -> Answer:
    """Noise and coins come from the system's entropy, and no seed is recorded: a known seed removes the noise."""
    seeded = [one.id for one in records.mechanisms if one.randomness.source != "os" or one.randomness.seed is not None]
    if seeded:
        return (
            "fail",
            f"The noise of {', '.join(seeded)} comes from a seed, so whoever knows it can subtract the noise.",
        )
    return "pass", "Noise and coins come from the system's entropy, and no seed is recorded."


def rate_is_batch_over_n(records: Records, edition: Edition) -> Answer:
    """The sampling rate is the expected batch over N, not that of a loader with another N."""
    sampled = [one for one in records.sgd if rate_of(one, records) != 1.0]
    for one in sampled:
        rate, batch, units = one.sampling.rate, one.sampling.expected_batch, records.header.units
        if rate is None or batch is None or units is None:
            return "unknown", f"N, q or the expected batch of {one.id} is not in these records."
        if abs(rate * units - batch) > edition.rate_tolerance * batch:
            return "fail", f"q = {rate:.12g} of {one.id} is not {batch:g} / {units} units."
    return (
        "pass",
        f"q equals the expected batch over N in {len(sampled)} mechanisms; the others account for no sampling.",
    )


def sampler_is_poisson(records: Records, edition: Edition) -> Answer:
    """Realised batch sizes are plausible for the accounted coins; fixed and shuffled batches are not."""
    sampled = [one for one in records.sgd if rate_of(one, records) != 1.0]
    if not sampled:
        return "pass", "No sampling is accounted for: q = 1."
    least = 1.0
    for one in sampled:
        answer = _sizes(one, records)
        if not isinstance(answer, float):
            return answer
        least = min(least, answer)
    return "pass", f"The realised batch sizes are consistent with coins (p = {least:.2g})."


def _sizes(one: DpSgd, records: Records) -> Answer | float:
    """Return the smallest p-value of all runs of a mechanism, or why there is none."""
    found = {batches.run: batches.sizes for batches in records.batches if batches.mechanism == one.id}
    units, rate = records.header.units, one.sampling.rate
    if not found or units is None or rate is None:
        return "unknown", f"The realised batch sizes of {one.id} are only in the auditor file."
    if set(found) != set(range(one.runs)) or any(len(sizes) != one.steps for sizes in found.values()):
        return "fail", f"Batch sizes of {one.id} are not recorded for each of {one.steps} steps of {one.runs} runs."
    if any(size > units for sizes in found.values() for size in sizes):
        return "fail", f"A batch of {one.id} has more than all {units} units."
    for run, sizes in sorted(found.items()):
        test = poisson_sizes(sizes, units, rate)
        if not test.possible:
            return (
                "fail",
                f"Batch sizes of run {run} of {one.id} do not fit coins of q = {rate:.6g} (p = {test.p:.1g}).",
            )
    return min(poisson_sizes(sizes, units, rate).p for sizes in found.values())


def caps_fixed(records: Records, edition: Edition) -> Answer:
    """The number of answers was fixed before the first query: a number found during the vote reveals votes."""
    if not records.votes:
        return "pass", "There were no votes."
    if late := [one.id for one in records.votes if not one.caps_fixed_before]:
        return "fail", f"The number of answers of {', '.join(late)} was not fixed before the first query."
    return "pass", "The number of answers was fixed before the first query."
