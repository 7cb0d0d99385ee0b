"""Section on a further statement about the model, of any assessment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from certify.assessment.claims import Claims
from certify.core.finding import Finding
from certify.present.report.sections import Section
from certify.present.report.trust import by_outcome
from certify.present.statements import figure


@dataclass(frozen=True)
class Statement:
    """Data of the template's macro ``statement_section``.

    Attributes:
        claims: claims of the statement.
        figures: name and text of every figure.
        findings: findings, failed ones first.
    """

    claims: Claims
    figures: tuple[tuple[str, str], ...]
    findings: list[Finding]


def statement_section(claims: Claims, statements: Sequence[Claims] = ()) -> Section:
    """Return outcome, figures and findings of a further statement, and what other statements add.

    Args:
        claims: claims of the statement.
        statements: claims of all statements about the model.
    """
    beside = claims.beside([statement for statement in statements if statement is not claims])
    words = {name: name.replace("_", " ") for name in claims.figures} | {**claims.words, **claims.headlines}
    figures = tuple((words[name], figure(estimate)) for name, estimate in claims.figures.items())
    content = Statement(claims, figures, by_outcome((*claims.findings, *beside)))
    return Section(f"statement-{claims.assessment}", claims.title, content, "statement")
