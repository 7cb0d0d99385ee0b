"""Audit: derive everything that was signed again from the evidence, and compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from certify.assessment.assessment import NOT_DERIVABLE, profile_of
from certify.assessment.claims import REFUSED
from certify.assessment.not_installed import NotInstalled
from certify.assessment.outcome import Edition
from certify.assessment.rederivation import Compared, compare_figures, compare_guards, compare_outcomes
from certify.attest.auditor import Access, joined_records
from certify.attest.certificate import EVIDENCE_NAME, Certificate
from certify.attest.checks_records import find_evidence, load_edition, read_records
from certify.attest.countersignature import (
    EVIDENCE_SUFFIX,
    countersignature_files,
    fresh_data_of,
    read_countersignature,
)
from certify.attest.keys import PublicKey
from certify.attest.statements import records_path, statement_path
from certify.attest.verification import ROWS, Verification
from certify.attest.verify import verify
from certify.core import exit_codes
from certify.core.errors import CertificateError, LeanmarkError, NotDerivedError
from certify.core.finding import Finding

__all__ = ["Audit", "audit"]


@dataclass(frozen=True, repr=False)
class Audit:
    """Comparison of what was signed with what follows from the evidence.

    Attributes:
        path: the model's file.
        certificate: the signed certificate.
        evidence: records that it must follow from, including the rows of the auditor file if it was given.
        edition: edition of the certificate.
        figures: comparison of every estimate.
        guards: comparison of every guard's outcome.
        result: comparison of every part of the outcome.
        countersignatures: whether each third-party verdict follows from the evidence next to its statement.
        verification: all checks of the file, the signatures and the sidecar files.
        others: audits of the further statements next to the model.

    Example:
        >>> import certify
        >>> found = certify.audit("graded/model.onnx", trust=["maker.pub"])
        >>> found.agrees, found.outcome_text, len(found.figures)
        (True, 'D', 80)
    """

    path: Path
    certificate: Certificate
    evidence: Any
    edition: Edition
    figures: tuple[Compared, ...]
    guards: tuple[Compared, ...]
    result: tuple[Compared, ...]
    countersignatures: tuple[Finding, ...]
    verification: Verification
    others: tuple[Audit, ...] = ()

    @property
    def differs(self) -> tuple[str, ...]:
        """Names of figures that do not follow, and of failed checks; for further statements as ``NAME.CHECK``."""
        # Contradictions between statements are reported by the verification, not by a single statement.
        others = [check.name for check in self.verification.failed if check not in self.verification.checks]
        further = [
            f"{statement.certificate.assessment.name}.{name}"
            for statement in self.others
            for name in statement._rows_that_differ
        ]
        return tuple(dict.fromkeys([*self.own_differs, *others, *further]))

    @property
    def own_differs(self) -> tuple[str, ...]:
        """Names of differences of this statement alone, without the statements next to it."""
        checks = (*self.verification.checks, *self.countersignatures)
        failed = [check.name for check in checks if check.outcome == "fail"]
        return tuple(dict.fromkeys([*self._rows_that_differ, *failed]))

    @property
    def _rows_that_differ(self) -> list[str]:
        return [row.name for row in (*self.figures, *self.guards, *self.result) if row.match == "differs"]

    @property
    def checks(self) -> tuple[Finding, ...]:
        """All checks of the certificate, of further statements and of countersignatures."""
        further = (check for check in self.verification.failed if check not in self.verification.checks)
        return (*self.verification.checks, *further, *self.countersignatures)

    @property
    def agrees(self) -> bool:
        """Whether everything follows, and no other check contradicts the certificate."""
        return not self.differs

    @property
    def exit_code(self) -> int:
        """0: everything follows; 1: something does not; 4: everything follows, but the signing key is not trusted."""
        if not self.agrees:
            return exit_codes.FAILED
        return exit_codes.DONE if self.verification.trusted else exit_codes.NOT_TRUSTED

    @property
    def outcome_text(self) -> str:
        """Derived outcome: a letter, a claim, or ``refused``."""
        return str(next(row.derived for row in self.result if row.name == "text"))

    @property
    def verdict(self) -> str:
        """Answer in one sentence."""
        if not self.agrees:
            return f"DOES NOT FOLLOW: {', '.join(self.differs)}."
        counts = "; ".join(statement._counts for statement in (self, *self.others))
        stranger = "" if self.verification.trusted else " It is signed by a key you do not trust."
        return f"All {counts} follow from the evidence, as signed.{stranger}"

    @property
    def _counts(self) -> str:
        result = f"{self.certificate.assessment.result} {self.outcome_text}"
        what = f"the {'refusal' if self.outcome_text == REFUSED else result}"
        return f"{len(self.figures)} figures, {len(self.guards)} guards and {what}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        parts = {"figures": self.figures, "guards": self.guards, self.certificate.assessment.result: self.result}
        return {
            "agrees": self.agrees,
            "verdict": self.verdict,
            **{name: [row.to_json() for row in rows] for name, rows in parts.items()},
            "countersignatures": [asdict(check) for check in self.countersignatures],
            "verification": self.verification.to_json(),
            "statements": {statement.certificate.assessment.name: statement.to_json() for statement in self.others},
        }

    def __repr__(self) -> str:
        return f"Audit({self.verdict})"


def audit(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    access: Access | None = None,
) -> Audit:
    """Derive everything that was signed again, from the evidence alone, and compare.

    Needs neither the data nor the machine. Agreement does not prove that the evidence was recorded honestly; only a new
    measurement by someone else can support that.

    Args:
        path: the certified file.
        certificate: its certificate. Default: the one sealed into the file, else ``certificate.json`` next to it.
        evidence: the evidence file. Default: ``evidence.jsonl`` next to the model.
        trust: public keys to trust, in addition to the trust store.
        access: auditor files and data key, if the data are private and their holder provided them.

    Raises:
        UsageError: a named file does not exist.
        NotDerivedError: the evidence is missing or cannot be read.
        CertificateError: there is no readable certificate, or nothing follows from the evidence.

    Example:
        >>> import certify
        >>> certify.audit("graded/model.onnx", trust=["maker.pub"]).verdict
        'All 80 figures, 43 guards and the grade D follow from the evidence, as signed.'
    """
    verification = verify(path, certificate, evidence, trust, access=access)
    path = Path(path)
    folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
    sealed = verification.certificate is None or verification.certificate.assessment.sealed
    places = [Path(evidence)] if evidence is not None else [folder / EVIDENCE_NAME for folder in folders]
    if evidence is None and not sealed:
        places = _records_places(verification, folders)
    main = _audit(verification, places, access)
    others = tuple(_audit(statement, _records_places(statement, folders), access) for statement in verification.others)
    found = tuple(_countersignatures(main)) if sealed else ()
    # Countersignatures are about the sealed certificate only.
    return replace(main, countersignatures=found, others=others)


def _records_places(verification: Verification, folders: Sequence[Path]) -> list[Path]:
    return [records_path(statement_path(folder, verification.name)) for folder in folders]


def _invalid(verification: Verification) -> CertificateError:
    """Return the verdict with the sentences of the failed checks, as an error."""
    return CertificateError(" ".join([verification.verdict, *(check.sentence for check in verification.failed)]))


def _audit(verification: Verification, places: Sequence[Path], access: Access | None) -> Audit:
    """Derive one statement again and compare it."""
    signed, path = verification.certificate, verification.path
    if signed is None:
        raise _invalid(verification)
    source = find_evidence(places)
    if isinstance(source, str):
        # If records are missing, an invalid certificate is reported first, because that is worse than "not derived".
        if not verification.valid:
            raise _invalid(verification)
        raise NotDerivedError(
            f"{path}: {source}. An audit derives everything from the evidence; pass it with --evidence."
        )
    if isinstance(signed.assessment, NotInstalled):
        raise NotDerivedError(f"{path}: {signed.assessment.why}")
    records, checks = read_records(signed, source)
    edition, known = load_edition(signed)
    failed = [check.sentence for check in (*checks, known) if check.outcome == "fail"]
    # The first failure causes the others.
    if records is None or edition is None:
        raise CertificateError(f"{failed[0]} The signed figures cannot be derived.")
    assessment = signed.assessment
    try:
        profile = profile_of(assessment, records, edition)
        derived = assessment.outcome(profile, edition).to_json()
    except NOT_DERIVABLE as error:
        raise CertificateError(f"{source}: no figures follow from it: {error}") from error
    rows = verification.check(ROWS)
    # If rows pass only because an auditor vouches for them, they were not read here and cannot be joined.
    judged = rows is not None and rows.outcome == "pass" and access is not None
    return Audit(
        path,
        signed,
        joined_records(signed, records, access) if judged else records,
        edition,
        tuple(compare_figures(signed.profile, profile)),
        tuple(compare_guards(signed.profile, profile)),
        tuple(compare_outcomes(signed.result, derived)),
        (),
        verification,
    )


def _countersignatures(main: Audit) -> Iterator[Finding]:
    """Compare both measurements again for each third-party statement that has its evidence next to it."""
    assessment = main.certificate.assessment
    for file in countersignature_files([main.path.parent]):
        evidence = file.with_suffix(EVIDENCE_SUFFIX)
        if not evidence.is_file():
            continue
        name, who = "countersignature_follows", f"The verdict of key {file.stem[:16]}"
        try:
            stated = read_countersignature(file, main.certificate).signed.predicate
            second = assessment.parse(evidence.read_bytes(), str(evidence))
            found = assessment.agreement(main.evidence, second, main.edition)
        except (LeanmarkError, OSError) as error:
            yield Finding(name, "fail", f"{who} cannot be derived from {evidence.name}: {error}")
            continue
        # A copy of the evidence would always agree with it.
        if assessment.is_repeat(main.evidence, second):
            yield Finding(name, "fail", f"{who} rests on a copy of the first measurement: nothing was measured again.")
            continue
        outcomes = [
            {figure["name"]: figure["outcome"] for figure in figures}
            for figures in (stated["figures"], [figure.to_json() for figure in found.figures])
        ]
        fresh = stated["fresh_data"] == fresh_data_of(assessment.repeated(second))
        if outcomes[0] == outcomes[1] and found.text == stated["grade"]["found"] and fresh:
            yield Finding(name, "pass", f"{who} follows from both measurements: {found.verdict}")
        else:
            yield Finding(name, "fail", f"{who} does not follow from the two measurements: {found.verdict}")
