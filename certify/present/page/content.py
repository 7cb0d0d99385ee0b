"""Content of a certificate's public page: a row for each statement, and a notice in plain language."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certify.assessment.claims import Claims, contradictions
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.verification import Signature
from certify.core.text import clean
from certify.present.headline import accuracy_of, energy_of
from certify.present.mark import Awarded
from certify.present.statements import figure, headline_figures
from certify.present.wording import SELF_DECLARED, date, energy_source, holds_on

NOT_STATED = "Its maker does not say."
CHECKED = {
    "self-attested": "its maker", "cross-checked": "derived again by someone else",
    "reproduced": "measured again by someone else",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Statement as shown on the page.

    Attributes:
        title: title of its assessment.
        outcome: printed outcome.
        figures: names and printed values of its headline figures.
        says: who vouches for it.
        digest: hex SHA-256 of the signed statement.
        refused: whether it is a refusal.
    """

    title: str
    outcome: str
    figures: tuple[tuple[str, str], ...]
    says: str
    digest: str
    refused: bool


@dataclass(frozen=True)
class Page:
    """Content of the page.

    Attributes:
        model: name of the model.
        date: date of the first statement's records.
        who: who measured, in one sentence.
        rows: statements, in order.
        notice: the public's questions, with answers.
        maker: questions with the maker's own, unchecked answers.
        contradicted: contradictions between statements, one sentence each.
        limits: what the statements do not show, one sentence each.
        digest: hex SHA-256 of the first statement.
        awarded: mark that may be drawn; None if none may.
    """

    model: str
    date: str
    who: str
    rows: tuple[Row, ...]
    notice: tuple[tuple[str, str], ...]
    maker: tuple[tuple[str, str], ...]
    contradicted: tuple[str, ...]
    limits: tuple[str, ...]
    digest: str
    awarded: Awarded | None = None


def content_of(claims: Sequence[Claims], signatures: Sequence[Signature] = (), awarded: Awarded | None = None) -> Page:
    """Return the content of the page.

    Args:
        claims: claims of every statement about the model, the main one first.
        signatures: signatures of the main statement; only third parties' change the content.
        awarded: mark that the reader believes.
    """
    first = claims[0]
    others = [signature for signature in signatures if signature.role == "verifier" and signature.agrees]
    return Page(
        model=clean(first.model),
        date=date(first),
        who=_who(others),
        rows=tuple(_row(claim, first, others if claim is first else ()) for claim in claims),
        notice=tuple(_notice(claims)),
        maker=tuple((clean(head), clean(words)) for claim in claims for head, words in claim.notice.items()),
        contradicted=tuple(clean(contradiction.sentence) for contradiction in contradictions(tuple(claims))),
        # Many statements share a limit, so each is listed once, in order of appearance.
        limits=tuple(dict.fromkeys(clean(limit) for claim in claims for limit in claim.limits)),
        digest=first.digest,
        awarded=awarded,
    )


def _who(others: Sequence[Signature]) -> str:
    if not others:
        return f"{SELF_DECLARED}. Nobody else has checked it here."
    # The notice states only the strongest check that agrees.
    strongest = max((signature.vouches_for for signature in others), key=list(CHECKED).index)
    return f"Measured by its maker, and {CHECKED[strongest]}. This is not a certification."


def _row(claims: Claims, first: Claims, others: Sequence[Signature]) -> Row:
    who = CHECKED["self-attested"] if claims.signer == first.signer else "a key other than the maker's"
    says = [f"{who}, key {_short(claims.signer.public_key)}"]
    says += [
        f"{CHECKED[signature.vouches_for]}, key {(signature.key_id or signature.name or '')[:16]}"
        for signature in others
    ]
    return Row(
        clean(claims.title), _outcome(claims), tuple(_figures(claims)), "; ".join(says), claims.digest, claims.refused
    )


def _outcome(claims: Claims) -> str:
    graded = isinstance(claims, EfficiencyClaims) and not claims.refused
    return f"grade {clean(claims.text)}, of A to G" if graded else clean(claims.text)


def _short(public_key: str) -> str:
    # All outputs show the start of a key's SHA-256, so that readers can compare them.
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def _figures(claims: Claims) -> Iterator[tuple[str, str]]:
    if isinstance(claims, EfficiencyClaims):
        for headline in (energy_of(claims), accuracy_of(claims)):
            if headline is not None:
                yield clean(f"{headline.figure} {headline.meaning}"), clean(headline.bound)
        yield "how", clean(f"{energy_source(claims)}, {holds_on(claims)}")
        return
    for words, estimate in headline_figures(claims):
        yield clean(words), figure(estimate)


def _notice(claims: Sequence[Claims]) -> Iterator[tuple[str, str]]:
    """Yield the public's questions, with answers."""
    # Declarations are the maker's own words, so nothing in them was measured.
    yield "What was measured?", " ".join(_measured(claim) for claim in claims if not claim.own_words) or "Nothing."
    yield (
        "What does this not show?",
        "Whether the model is fair, safe or suitable for anybody; what was not measured is not known.",
    )
    if not any(claim.notice for claim in claims):
        yield "What is the model for, and on whom is it used?", NOT_STATED
        yield "Who can I ask?", NOT_STATED
    yield "How can I check it?", "Ask for the files published with the model and run: leanmark verify FILE."


def _measured(claims: Claims) -> str:
    if claims.refused:
        return clean(f"{claims.title}: its figures do not count ({' '.join(claims.reasons)})")
    if isinstance(claims, EfficiencyClaims):
        parts = [
            f"{headline.figure} {headline.meaning}, {headline.bound}"
            for headline in (energy_of(claims), accuracy_of(claims))
            if headline
        ]
        return clean(f"Energy and accuracy compared with the original model: {'; '.join(parts)}.")
    return clean(f"{claims.title}: {claims.text}.")
