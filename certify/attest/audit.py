"""The audit: every interval, guard and the letter derived again from the stored evidence, beside what was signed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import Certificate
from certify.attest.checks_sidecars import NOT_DERIVABLE, find_evidence
from certify.attest.countersignature import EVIDENCE_SUFFIX, countersignature_files, read_countersignature
from certify.attest.keys import PublicKey
from certify.attest.rederivation import Compared, compare_figures, compare_grades, compare_guards
from certify.attest.remeasurement import compare_measurements
from certify.attest.statement import grade_json
from certify.attest.verification import Verification
from certify.attest.verify import verify
from certify.core import exit_codes
from certify.core.errors import CertificateError, LeanmarkError, NotDerivedError
from certify.core.evidence import Evidence
from certify.core.evidence_file import read_evidence
from certify.core.finding import Finding

__all__ = ["Audit", "audit"]


@dataclass(frozen=True, repr=False)
class Audit:
    """What was signed, beside what follows from the evidence.

    Attributes:
        path: the model's file.
        certificate: what was signed.
        evidence: what it must follow from.
        edition: by whose rules.
        figures: every estimate.
        guards: every guard's outcome.
        grade: every part of the grade.
        countersignatures: whether what others found follows from the evidence that lies beside their statements.
        verification: all checks of the file, the signatures and the papers.
    """

    path: Path
    certificate: Certificate
    evidence: Evidence
    edition: Edition
    figures: tuple[Compared, ...]
    guards: tuple[Compared, ...]
    grade: tuple[Compared, ...]
    countersignatures: tuple[Finding, ...]
    verification: Verification

    @property
    def differs(self) -> tuple[str, ...]:
        """Names of what does not follow, and of the checks that failed."""
        rows = (*self.figures, *self.guards, *self.grade)
        names = [row.name for row in rows if row.match == "differs"]
        failed = [check.name for check in self.checks if check.outcome == "fail"]
        return tuple(dict.fromkeys([*names, *failed]))

    @property
    def checks(self) -> tuple[Finding, ...]:
        """All checks, of the certificate and of the countersignatures."""
        return (*self.verification.checks, *self.countersignatures)

    @property
    def agrees(self) -> bool:
        """Whether everything follows, and nothing else speaks against the certificate."""
        return not self.differs

    @property
    def exit_code(self) -> int:
        """0 all follows, 1 something does not, 4 all follows but is signed by a key that is not trusted."""
        if not self.agrees:
            return exit_codes.FAILED
        return exit_codes.DONE if self.verification.trusted else exit_codes.NOT_TRUSTED

    @property
    def grade_text(self) -> str:
        """The letter that follows, or ``refused``."""
        return str(next(row.derived for row in self.grade if row.name == "text"))

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        if not self.agrees:
            return f"DOES NOT FOLLOW: {', '.join(self.differs)}."
        counts = f"{len(self.figures)} figures, {len(self.guards)} guards and the grade {self.grade_text}"
        stranger = "" if self.verification.trusted else " It is signed by a key that you have not said you trust."
        return f"All {counts} follow from the evidence, as signed.{stranger}"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        parts = {"figures": self.figures, "guards": self.guards, "grade": self.grade}
        return {
            "agrees": self.agrees,
            "verdict": self.verdict,
            **{name: [row.to_json() for row in rows] for name, rows in parts.items()},
            "countersignatures": [asdict(check) for check in self.countersignatures],
            "verification": self.verification.to_json(),
        }

    def __repr__(self) -> str:
        return f"Audit({self.verdict})"


def audit(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
) -> Audit:
    """Derive everything that was signed again, from the evidence alone, and compare.

    Needs neither the data nor the machine. That everything follows does not prove that the evidence was recorded
    honestly; only a new measurement by somebody else speaks for that.

    Args:
        path: the certified file.
        certificate: its certificate; by default the one sealed into the file, else ``certificate.json`` beside it.
        evidence: the evidence file; ``evidence.jsonl`` beside the model by default.
        trust: public keys whose signature counts, besides those of the trust store.

    Raises:
        UsageError: a file that was named does not exist.
        NotDerivedError: the evidence is missing or can't be read.
        CertificateError: there is no certificate that can be read, or nothing follows from the evidence.
    """
    verification = verify(path, certificate, evidence, trust)
    signed = verification.certificate
    if signed is None:
        raise CertificateError(verification.verdict)
    path = Path(path)
    folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
    source = find_evidence(None if evidence is None else Path(evidence), folders)
    if isinstance(source, str):
        if not verification.valid:
            raise CertificateError(verification.verdict)
        raise NotDerivedError(f"{path}: {source}. An audit derives everything from the evidence; name it (--evidence).")
    digest = verification.check("evidence_digest")
    if digest is not None and digest.outcome == "fail":
        raise CertificateError(f"{digest.sentence} There is nothing to derive the signed figures from.")
    records = read_evidence(source)
    edition = load_edition(signed.predicate["edition"]["name"])
    try:
        profile = derive(records, edition)
        derived = grade_json(grade(profile, edition))
    except NOT_DERIVABLE as error:
        raise CertificateError(f"{source}: no figures follow from it: {error}") from error
    return Audit(
        path,
        signed,
        records,
        edition,
        tuple(compare_figures(signed.profile, profile)),
        tuple(compare_guards(signed.profile, profile)),
        tuple(compare_grades(signed.predicate["grade"], derived)),
        tuple(_countersignatures(path, signed, records, edition)),
        verification,
    )


def _countersignatures(path: Path, certificate: Certificate, first: Evidence, edition: Edition) -> Iterator[Finding]:
    """Compare both measurements again, for each statement of another with its evidence beside it."""
    for file in countersignature_files([path.parent]):
        evidence = file.with_suffix(EVIDENCE_SUFFIX)
        if not evidence.is_file():
            continue
        name, who = "countersignature_follows", f"What key {file.stem[:16]} found"
        try:
            stated = read_countersignature(file, certificate).signed.predicate
            second = read_evidence(evidence)
            found = compare_measurements(first, second, edition)
        except (LeanmarkError, OSError) as error:
            yield Finding(name, "fail", f"{who} can't be derived from {evidence.name}: {error}")
            continue
        if second.windows == first.windows:
            yield Finding(name, "fail", f"{who} is the first measurement again: nothing was measured anew.")
            continue
        outcomes = [
            {figure["name"]: figure["outcome"] for figure in figures}
            for figures in (stated["figures"], [figure.to_json() for figure in found.figures])
        ]
        if outcomes[0] == outcomes[1] and found.grade_text == stated["grade"]["found"]:
            yield Finding(name, "pass", f"{who} follows from both measurements: {found.verdict}")
        else:
            yield Finding(name, "fail", f"{who} does not follow from the two measurements: {found.verdict}")
