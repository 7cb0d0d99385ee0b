"""The claim in words: what is hidden, from whom, under which assumptions; a bare epsilon says none of it.

TensorFlow Privacy gave up its bare number for such a text (``compute_dp_sgd_privacy_statement``); what a text has to
say is after Ponomareva et al. 2023, "How to DP-fy ML", section 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from certify.assessments.privacy.records import DpSgd, GnMaxVotes, Records

TRUSTED = {
    "central": "Whoever trained the model saw the private data as they are.",
    "local": "Noise was added before anything left a unit.",
    "distributed": "Noise was added by several parties, of whom not all may collude.",
    "secure-aggregation": "A server saw sums alone, as long as it and the clients kept to the protocol.",
}


def statement(records: Records) -> tuple[str, ...]:
    """The claim as sentences, from the records alone."""
    return tuple(_sentences(records))


def _sentences(records: Records) -> Iterator[str]:
    header = records.header
    changed = "had another value" if header.adjacency == "replace-one" else "had not been there"
    yield (
        f"If any one {header.unit} in {', '.join(header.private_parts)} {changed}, the model would be nearly as likely "
        f"to be the same: the claim is epsilon {header.claimed_epsilon:g} at delta {header.delta:g}, over everything "
        "that read these data."
    )
    bound = header.contribution_bound
    yield (
        f"A person may give {'any number of' if bound is None else f'at most {bound}'} records"
        f"{', and is hidden as far as one record is' if header.unit == 'record' and bound != 1 else ''}."
    )
    if header.adjacency == "replace-one":
        yield "The number of units is not hidden: neighbouring data sets have the same."
    else:
        yield "The number of units, the sampling rate and the batch sizes are hidden; they stand in the auditor file."
    for one in records.sgd:
        yield _training(one)
    for votes in records.votes:
        yield _votes(votes)
    yield TRUSTED[header.trust_model]
    if not all(one.randomness.floating_point_safe for one in records.mechanisms):
        yield "The noise is of ordinary floating point: attacks on its low bits are not ruled out."
    yield f"{header.attempts} trainings on the private parts were made, as their holder says."


def _training(one: DpSgd) -> str:
    per = f" (averaged over {one.microbatch} first, which doubles the sensitivity)" if one.microbatch > 1 else ""
    if one.sampling.amplifies:
        sampled = "Each record enters a step by a coin that nobody else sees, which the accounting counts"
    elif one.sampling.public:
        sampled = "Who takes part may be seen, so that sampling counts for nothing"
    else:
        sampled = f"Batches are {one.sampling.scheme}, so that sampling counts for nothing"
    return (
        f"{one.id}: {one.runs} x {one.steps} steps on gradients clipped to {one.clip:g} per {one.clipped_per}{per}, "
        f"with Gaussian noise of {one.noise_multiplier:.6g} times that. {sampled}."
    )


def _votes(one: GnMaxVotes) -> str:
    checked = "" if one.threshold_noise is None else (
        f", of at most {one.queries} that pass a check with noise {one.threshold_noise:g}"
    )  # fmt: skip
    return (
        f"{one.id}: {one.runs} x votes of {one.teachers} teachers on disjoint parts, with Gaussian noise of "
        f"{one.noise:g} votes, for at most {one.answers} queries{checked}. Epsilon follows from these caps, not from "
        "the votes."
    )
