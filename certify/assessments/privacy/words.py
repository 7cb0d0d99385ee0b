"""The claim in words: what is hidden, from whom, and under which assumptions; a bare epsilon says none of it.

TensorFlow Privacy replaced its bare number by such a text (``compute_dp_sgd_privacy_statement``); the contents follow
Ponomareva et al. 2023, "How to DP-fy ML", section 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from certify.assessments.privacy.records import DpSgd, GnMaxVotes, Records

TRUSTED = {
    "central": "Whoever trained the model saw the raw private data.",
    "local": "Noise was added before anything left a unit.",
    "distributed": "Noise was added by several parties, which must not all collude.",
    "secure-aggregation": "A server saw only sums, provided that it and the clients followed the protocol.",
}


def statement(records: Records) -> tuple[str, ...]:
    """Return the claim as sentences, from the records alone."""
    return tuple(_sentences(records))


def _sentences(records: Records) -> Iterator[str]:
    header = records.header
    changed = "had another value" if header.adjacency == "replace-one" else "had not been there"
    yield (
        f"If any one {header.unit} in {', '.join(header.private_parts)} {changed}, the model would be nearly as likely "
        f"to be the same: the claim is epsilon {header.claimed_epsilon:g} at delta {header.delta:g}, over all "
        "reads of these data."
    )
    bound = header.contribution_bound
    yield (
        f"A person may contribute {'any number of' if bound is None else f'at most {bound}'} records"
        f"{', but only each single record is protected' if header.unit == 'record' and bound != 1 else ''}."
    )
    if header.adjacency == "replace-one":
        yield "The number of units is not hidden: neighbouring data sets have the same number."
    else:
        yield (
            "The number of units, the sampling rate, the batch sizes, and the noise of sampled steps, from which the "
            "rate would follow, are hidden; they are in the auditor file."
        )
    for mechanism in records.sgd:
        yield _training(mechanism)
    for votes in records.votes:
        yield _votes(votes)
    yield TRUSTED[header.trust_model]
    # Floating-point noise has gaps that reveal the value below it (Mironov 2012).
    if not all(mechanism.randomness.floating_point_safe for mechanism in records.mechanisms):
        yield "The noise uses ordinary floating point: attacks on its low bits cannot be ruled out."
    yield f"{header.attempts} training runs on the private splits were made, according to the data holder."


def _training(mechanism: DpSgd) -> str:
    per = (
        f" (averaged over {mechanism.microbatch} first, which doubles the sensitivity)"
        if mechanism.microbatch > 1
        else ""
    )
    if mechanism.sampling.amplifies:
        sampled = "Each record enters a step by a secret coin, which the accounting uses"
    elif mechanism.sampling.public:
        sampled = "Participation may be visible, so sampling is not counted"
    else:
        sampled = f"Batches are {mechanism.sampling.scheme}, so sampling is not counted"
    noise = "" if mechanism.noise_multiplier is None else f" of {mechanism.noise_multiplier:.6g} times that"
    return (
        f"{mechanism.id}: {mechanism.runs} x {mechanism.steps} steps on gradients clipped to {mechanism.clip:g} per "
        f"{mechanism.clipped_per}{per}, with Gaussian noise{noise}. {sampled}."
    )


def _votes(mechanism: GnMaxVotes) -> str:
    checked = "" if mechanism.threshold_noise is None else (
        f", of at most {mechanism.queries} that pass a check with noise {mechanism.threshold_noise:g}"
    )  # fmt: skip
    return (
        f"{mechanism.id}: {mechanism.runs} x votes of {mechanism.teachers} teachers on disjoint splits, with "
        f"Gaussian noise of {mechanism.noise:g} votes, for at most {mechanism.answers} queries{checked}. "
        "Epsilon follows from these caps, not from the votes."
    )
