"""All printable claims of a statement, typed and read from the signed predicate in one place.

Renderers take :class:`Claims` and never see the predicate. Texts are kept as signed: each renderer cleans and escapes
them for its own medium.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certify.assessment.profile import Profile
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.finding import Finding

if TYPE_CHECKING:
    from certify.assessment.assessment import Assessment

REFUSED = "refused"
REFUTED = "claim_refuted"
"""Check that fails if the claim of a statement is refuted by another one about the same model."""
Costs = Mapping[str, Estimate | None]
"""Joules by activity; None where they were not measured."""
OwnWords = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""Text by section: the section's title, then heading and text of each entry."""


@dataclass(frozen=True)
class EditionClaim:
    """Edition by which the outcome was derived."""

    name: str
    digest: str


@dataclass(frozen=True)
class SignerClaim:
    """Key that signed the statement."""

    algorithm: str
    public_key: str


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Claims of a statement of any assessment.

    Attributes:
        assessment: name of the assessment.
        title: display title of the assessment.
        digest: hex SHA-256 of the signed envelope.
        leanmark: version that wrote the records.
        created: UTC time at which the records begin.
        model: display name of the model.
        model_metadata: digest of the metadata entries of an ONNX file; None for other files.
        edition: edition of the outcome.
        outcome: ``refused``, or another word of the assessment.
        text: outcome as printed.
        reasons: reasons of a refusal, one sentence each.
        notes: remarks for readers of the outcome, one sentence each.
        figures: all figures with interval and evidence level, by name.
        findings: all named checks of the records.
        evidence_digest: hex SHA-256 of the record file.
        evidence_bytes: size of the record file.
        lineage_digest: hex SHA-256 of the lineage; None if the model has none.
        companions: hex SHA-256 of further files, by name.
        signer: signing key.
        headlines: names of the figures that summarise the statement, each with its display name, in order.
        limits: what the statement cannot prove, one sentence each.
        words: display names of further figures, by name; a figure without one is shown under its own name.
        test_digest: hex SHA-256 over the test data of the statement; None if it has none.
        text_has_figures: whether the text already names the headline figures.
    """

    assessment: str
    title: str
    digest: str
    leanmark: str
    created: str
    model: str
    model_metadata: str | None
    edition: EditionClaim
    outcome: str
    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    figures: Mapping[str, Estimate]
    findings: tuple[Finding, ...]
    evidence_digest: str
    evidence_bytes: int
    lineage_digest: str | None
    companions: Mapping[str, str]
    signer: SignerClaim
    headlines: Mapping[str, str]
    limits: tuple[str, ...]
    words: Mapping[str, str] = field(default_factory=dict)
    test_digest: str | None = None
    text_has_figures: bool = False

    @property
    def refused(self) -> bool:
        """Whether the statement is a refusal."""
        return self.outcome == REFUSED

    @property
    def own_words(self) -> OwnWords:
        """The maker's own words, from which nothing was derived; shown apart from figures."""
        return ()

    @property
    def notice(self) -> Mapping[str, str]:
        """The maker's answers to questions of the public, by question; empty if there are none."""
        return {}

    def beside(self, others: Sequence[Claims]) -> tuple[Finding, ...]:
        """Return findings from other statements about the same model: ``fail`` if one contradicts this one."""
        return self.refuted_by(others)

    def later_costs(self, lineage: str) -> Costs:
        """Return joules that the evidence of this statement cost after a lineage was closed, by activity.

        Args:
            lineage: hex SHA-256 of the lineage.

        Returns:
            Joules, or None where they were not measured; empty if the statement adds no cost to this lineage.
        """
        return {}

    def refutes(self, other: Claims) -> str:
        """Return why the evidence of this statement refutes the claim of another one; empty if it does not."""
        return ""

    def refuted_by(self, others: Sequence[Claims]) -> tuple[Finding, ...]:
        """Return a failed finding for each other statement that refutes the claim of this one.

        A refuted claim supports nothing: verification fails, and its figures earn no points.
        """
        found = (other.refutes(self) for other in others)
        return tuple(Finding(REFUTED, "fail", sentence) for sentence in found if sentence)


def common_claims(
    assessment: Assessment,
    predicate: Mapping[str, Any],
    digest: str,
    *,
    headlines: Mapping[str, str] | None = None,
    limits: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Read the fields of :class:`Claims` that every predicate has.

    Args:
        assessment: assessment of the predicate.
        predicate: predicate of a statement that conforms to its schema.
        digest: hex SHA-256 of the signed envelope.
        headlines: see :class:`Claims`. Default: every figure under its own name.
        limits: likewise.

    Raises:
        CertificateError: a field is missing or malformed.
    """
    with presenting("claims"):
        profile, result, lineage = (predicate[name] for name in ("profile", assessment.result, "lineage"))
        judged = Profile.from_json(profile)
        return {
            "assessment": assessment.name,
            "title": assessment.title,
            "digest": digest.removeprefix("sha256:"),
            "leanmark": predicate["leanmark"],
            "created": predicate["created"],
            "model": predicate["model"]["name"],
            "model_metadata": predicate["model"]["metadata"],
            "edition": EditionClaim(**predicate["edition"]),
            "outcome": predicate["outcome"],
            "text": result["text"],
            "reasons": tuple(result["reasons"]),
            "notes": tuple(result["notes"]),
            "figures": judged.estimates,
            "findings": judged.guards,
            "evidence_digest": predicate["evidence"]["sha256"],
            "evidence_bytes": predicate["evidence"]["bytes"],
            "lineage_digest": None if lineage is None else lineage["sha256"],
            "companions": predicate["companions"],
            "signer": SignerClaim(**predicate["signer"]),
            "headlines": headlines or {name: name.replace("_", " ") for name in judged.estimates},
            "limits": limits,
            "test_digest": _test_digest(predicate.get("data")),
        }


def _test_digest(data: Any) -> str | None:
    return data.get("test_digest") if isinstance(data, Mapping) else None


def contradictions(statements: Sequence[Claims]) -> tuple[Finding, ...]:
    """Return contradictions between statements about one model, each once; a pure function of all, in any order.

    Example:
        >>> contradictions(())
        ()
    """
    # Sorted, because the result must not depend on the order of files.
    ordered = sorted(statements, key=lambda statement: statement.assessment)
    found = [
        finding
        for statement in ordered
        for finding in statement.beside([other for other in ordered if other is not statement])
    ]
    return tuple(dict.fromkeys(finding for finding in found if finding.outcome == "fail"))


def later_costs(lineage: str | None, statements: Iterable[Claims]) -> Costs:
    """Return joules spent on a model after its lineage was closed; see :meth:`Claims.later_costs`.

    Args:
        lineage: hex SHA-256 of the lineage; None if the model has none.
        statements: statements about the model.
    """
    if lineage is None:
        return {}
    return {name: joules for one in statements for name, joules in one.later_costs(lineage).items()}


@contextmanager
def presenting(what: str) -> Iterator[None]:
    """Convert errors raised while drawing a malformed statement to a CertificateError.

    Args:
        what: what is being drawn, such as ``a label``.

    Raises:
        CertificateError: instead of errors about missing and mistyped values.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CertificateError(f"The certificate cannot be drawn as {what}: {reason}.") from error
