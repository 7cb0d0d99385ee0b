"""Lines about a statement of any assessment, shared by label, report, commands and exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.text import clean
from certify.present.numbers import ends, interval, quantity, rounded

UNITLESS = ("1", "")
PERCENT = ("%", "points")
"""Units without an SI prefix; two decimals are all that sample sizes support."""
PERCENT_DECIMALS = 2
WHOLE = 1000
"""Counts below this are written in full."""
SMALL = 1e-3
"""Exact numbers without a unit below this, such as delta, are written with an exponent instead of an SI prefix."""


def of_efficiency(certificate: Certificate) -> EfficiencyClaims:
    """Return the claims of an efficiency certificate.

    Raises:
        CertificateError: it is a statement of another assessment, or a claim is malformed.
    """
    return measured_claims(certificate.claims)


def measured_claims(claims: Claims) -> EfficiencyClaims:
    """Return the claims, narrowed to those of an efficiency certificate.

    Raises:
        CertificateError: they are claims of another assessment.
    """
    if not isinstance(claims, EfficiencyClaims):
        raise CertificateError(f"The statement must be of efficiency, got one of {claims.assessment}.")
    return claims


def headline_figures(claims: Claims) -> Iterator[tuple[str, Estimate]]:
    """Yield the figures that summarise the statement, each with its display name."""
    return ((words, claims.figures[name]) for name, words in claims.headlines.items() if name in claims.figures)


def figure(estimate: Estimate) -> str:
    """Format a figure with its interval; modelled ones with a tilde.

    Example:
        >>> figure(Estimate(0.5, 0.25, 0.75, "1", 40, "mean"))
        '0.500 (0.250 to 0.750)'
        >>> figure(Estimate(0.387, -1.092, 2.624, "points", 517, "Tango"))
        '0.39 points (−1.10 to 2.63)'
        >>> figure(Estimate.exact(1e-5, "1", "as chosen"))
        '1e-05'
    """
    # The tilde marks a modelled figure even where there is no room for words.
    mark = "~" if estimate.evidence in (EvidenceLevel.MODELLED, EvidenceLevel.PROXY) else ""
    value, within = _written(estimate)
    return clean(f"{mark}{value}" + (f" ({within})" if within else ""))


def _written(estimate: Estimate) -> tuple[str, str]:
    """Return the value and the ends of its interval; an exact count has no ends."""
    exact = estimate.low == estimate.high
    if estimate.unit in PERCENT:
        value = f"{rounded(estimate.value, PERCENT_DECIMALS)} {estimate.unit}"
        return value, "" if exact else ends(estimate.low, estimate.high, PERCENT_DECIMALS)
    unit = "" if estimate.unit in UNITLESS else estimate.unit
    if exact and not unit and 0 < abs(estimate.value) < SMALL:
        return f"{estimate.value:g}", ""
    # Small counts are written in full, because "3" must not become "3.00".
    if exact and not unit and float(estimate.value).is_integer() and abs(estimate.value) < WHOLE:
        return rounded(estimate.value, 0), ""
    return quantity(estimate.value, unit), interval(estimate, unit)


def line(claims: Claims) -> str:
    """Return the outcome and the summary figures in one line."""
    if claims.refused:
        return clean(f"{claims.text}: {' '.join(claims.reasons)}")
    return clean(", ".join(outcome_with_figures(claims)))


def outcome_with_figures(claims: Claims) -> list[str]:
    """Return the outcome, and each headline figure that it does not name already."""
    figures = () if claims.text_has_figures else headline_figures(claims)
    return [claims.text, *(f"{words} {figure(estimate)}" for words, estimate in figures)]


def front(claims: Claims, statements: Sequence[Claims] = ()) -> str:
    """Return the line with what other statements about the model add; contradictions come first.

    Args:
        claims: claims of the statement.
        statements: claims of all statements about the model; they may include this one.
    """
    others = [statement for statement in statements if statement is not claims]
    found = claims.beside(others)
    # Contradictions come first, because the line may be cut at its end.
    wrong = [f"CONTRADICTED: {finding.sentence}" for finding in found if finding.outcome == "fail"]
    open_ = [finding.sentence for finding in found if finding.outcome == "unknown"]
    return clean(" ".join([*wrong, f"{line(claims)}." if open_ else line(claims), *open_]))
