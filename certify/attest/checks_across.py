"""Contradictions between the statements about one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certify.attest.verification import Verification
from certify.core.errors import LeanmarkError
from certify.core.finding import Finding


def with_contradictions(verifications: Sequence[Verification]) -> tuple[Verification, ...]:
    """Return the verifications, each with a note for every figure of another statement that contradicts it.

    A contradiction is between two valid statements; neither is altered, so it is a note and not a failure.
    """
    try:
        claims = [None if one.certificate is None else one.certificate.claims for one in verifications]
    except LeanmarkError:  # unprintable claims fail a separate check
        return tuple(verifications)
    told = []
    for one, own in zip(verifications, claims, strict=True):
        others = [other for other in claims if other is not None and other is not own]
        found = () if own is None else own.beside(others)
        notes = [Finding(each.name, "note", each.sentence) for each in found if each.outcome == "fail"]
        told.append(replace(one, checks=(*one.checks, *notes)) if notes else one)
    return tuple(told)
