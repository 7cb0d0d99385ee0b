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
    unseen = [mechanism.id for mechanism in records.sgd if mechanism.gradient_error is None]
    wrong = [
        mechanism.id
        for mechanism in records.sgd
        if mechanism.gradient_error is not None and mechanism.gradient_error > edition.gradient_tolerance
    ]
    if wrong:
        return "fail", f"Per-sample gradients of {', '.join(wrong)} differ from those of a loop over single samples."
    if unseen:
        return "unknown", f"Per-sample gradients of {', '.join(unseen)} were not compared with a loop."
    mixed = [mechanism.id for mechanism in records.sgd if mechanism.microbatch > 1]
    doubled = f" {', '.join(mixed)} averages before clipping, which doubles the sensitivity." if mixed else ""
    return "pass", f"Per-sample gradients equal those of a loop over single samples.{doubled}"


def no_cross_sample_layer(records: Records, edition: Edition) -> Answer:
    """No layer mixes samples during training, so that each gradient belongs to one sample."""
    mixing = [f"{layer} ({mechanism.id})" for mechanism in records.sgd for layer in mechanism.cross_sample_layers]
    if mixing:
        return "fail", f"Layers mix samples during training: {', '.join(mixing[:5])}; fold them first."
    return "pass", "No layer mixes samples during training." if records.sgd else NO_TRAINING


def noise_not_reproducible(records: Records, edition: Edition) -> Answer:
    """Noise and coins come from the system's entropy, and no seed is recorded: a known seed removes the noise."""
    seeded = [
        mechanism.id
        for mechanism in records.mechanisms
        # A seed of any origin is refused, because somebody may have kept it.
        if mechanism.randomness.source != "os" or mechanism.randomness.seed is not None
    ]
    if seeded:
        return (
            "fail",
            f"The noise of {', '.join(seeded)} comes from a seed, so whoever knows it can subtract the noise.",
        )
    return "pass", "Noise and coins come from the system's entropy, and no seed is recorded."


def rate_is_batch_over_n(records: Records, edition: Edition) -> Answer:
    """The sampling rate is the expected batch over N, not that of a loader with another N."""
    # A rate of 1 claims no amplification, so there is nothing to check.
    sampled = [mechanism for mechanism in records.sgd if rate_of(mechanism, records) != 1.0]
    for mechanism in sampled:
        rate, batch, units = mechanism.sampling.rate, mechanism.sampling.expected_batch, records.header.units
        if rate is None or batch is None or units is None:
            return "unknown", f"N, q or the expected batch of {mechanism.id} is not in these records."
        if abs(rate * units - batch) > edition.rate_tolerance * batch:
            return "fail", f"q = {rate:.12g} of {mechanism.id} is not {batch:g} / {units} units."
    return (
        "pass",
        f"q equals the expected batch over N in {len(sampled)} mechanisms; the others account for no sampling.",
    )


# Fixed and shuffled batches have too little variance for independent coins.
def sampler_is_poisson(records: Records, edition: Edition) -> Answer:
    """Realised batch sizes are plausible for the accounted coins; fixed and shuffled batches are not."""
    sampled = [mechanism for mechanism in records.sgd if rate_of(mechanism, records) != 1.0]
    if not sampled:
        return "pass", "No sampling is accounted for: q = 1."
    least = 1.0
    for mechanism in sampled:
        answer = _sizes(mechanism, records)
        if not isinstance(answer, float):
            return answer
        least = min(least, answer)
    return "pass", f"The realised batch sizes are consistent with coins (p = {least:.2g})."


def _sizes(mechanism: DpSgd, records: Records) -> Answer | float:
    """Return the smallest p-value of all runs of a mechanism, or why there is none."""
    found = {batches.run: batches.sizes for batches in records.batches if batches.mechanism == mechanism.id}
    units, rate = records.header.units, mechanism.sampling.rate
    if not found or units is None or rate is None:
        return "unknown", f"The realised batch sizes of {mechanism.id} are only in the auditor file."
    # All runs and steps are required, because a maker could publish only the plausible ones.
    if set(found) != set(range(mechanism.runs)) or any(len(sizes) != mechanism.steps for sizes in found.values()):
        return (
            "fail",
            f"Batch sizes of {mechanism.id} are not recorded for each of {mechanism.steps} steps of {mechanism.runs} "
            "runs.",
        )
    if any(size > units for sizes in found.values() for size in sizes):
        return "fail", f"A batch of {mechanism.id} is larger than all {units} units."
    for run, sizes in sorted(found.items()):
        test = poisson_sizes(sizes, units, rate)
        if not test.possible:
            return (
                "fail",
                f"Batch sizes of run {run} of {mechanism.id} do not fit coins of q = {rate:.6g} (p = {test.p:.1g}).",
            )
    # The smallest p-value is the weakest evidence for coins.
    return min(poisson_sizes(sizes, units, rate).p for sizes in found.values())


def caps_fixed(records: Records, edition: Edition) -> Answer:
    """The number of answers was fixed before the first query: a number found during the vote reveals votes."""
    if not records.votes:
        return "pass", "There were no votes."
    if late := [vote.id for vote in records.votes if not vote.caps_fixed_before]:
        return "fail", f"The number of answers of {', '.join(late)} was not fixed before the first query."
    return "pass", "The number of answers was fixed before the first query."
