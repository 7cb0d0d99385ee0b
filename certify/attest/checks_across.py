"""Contradictions between the statements about one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certify.assessment.claims import REFUTED
from certify.attest.verification import Verification
from certify.core.errors import LeanmarkError
from certify.core.finding import Finding


def with_contradictions(verifications: Sequence[Verification]) -> tuple[Verification, ...]:
    """Return the verifications, each with a check for every figure of another statement that contradicts it.

    A contradiction is a note, since neither statement is altered. A claim that a valid statement refutes fails, since
    it supports nothing. What follows from an auditor file counts for readers who have it.
    """
    try:
        claims = [
            None if verification.certificate is None else verification.certificate.audited_claims
            for verification in verifications
        ]
    except LeanmarkError:  # unprintable claims fail a separate check
        return tuple(verifications)
    # Only valid statements can refute, because anybody could put an invalid one next to a model.
    valid = [
        own for verification, own in zip(verifications, claims, strict=True) if verification.valid and own is not None
    ]
    sentences = []
    for verification, own in zip(verifications, claims, strict=True):
        others = [other for other in claims if other is not None and other is not own]
        refuted = () if own is None else own.refuted_by([other for other in valid if other is not own])
        found = () if own is None else own.beside(others)
        # Only a refutation voids a claim. Other contradictions are notes, so that readers of one statement see them.
        notes = [Finding(each.name, "note", each.sentence) for each in found if each.outcome == "fail"]
        checks = (*refuted, *(note for note in notes if note.sentence not in {each.sentence for each in refuted}))
        sentences.append(replace(verification, checks=(*verification.checks, *checks)) if checks else verification)
    return tuple(sentences)


def is_refutation(check: Finding) -> bool:
    """Return whether a failed check says only that another statement refutes a claim.

    Every view of the statements shows the contradiction next to the claim, so it need not fail.

    Example:
        >>> is_refutation(Finding("privacy.claim_refuted", "fail", "Canaries show more."))
        True
    """
    return check.name.rpartition(".")[2] == REFUTED
