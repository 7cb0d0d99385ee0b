"""Grade of stored evidence under another edition, without measuring again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessment.assessment import NOT_DERIVABLE
from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.grade import Grade, grade
from certify.assessments.efficiency.profile import derive
from certify.attest.audit import Audit, audit
from certify.attest.certificate import LINEAGE_NAME, Certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.core.errors import CertificateError, UsageError
from certify.core.files import copy
from certify.data.preprocess import Preprocess
from certify.model_file.model_file import open_model
from certify.model_file.subject import subject_name
from certify.workflows.issuance import issue

__all__ = ["Regrade", "issue_regrade", "regrade"]


@dataclass(frozen=True, repr=False)
class Regrade:
    """Grade of a certificate's evidence under another edition.

    Attributes:
        audit: audit of the certificate, which is valid under its own edition.
        edition: name of the other edition.
        profile: figures and guards by its constants.
        grade: letter or refusal by its rules.
    """

    audit: Audit
    edition: str
    profile: Profile
    grade: Grade

    def to_json(self) -> dict[str, Any]:
        """Return both grades as JSON values."""
        first = self.audit.certificate.predicate
        return {
            "certified": {"edition": first["edition"]["name"], "grade": first["grade"]},
            "regraded": {"edition": self.edition, "grade": self.grade.to_json(), "profile": self.profile.to_json()},
        }


def regrade(
    path: str | Path,
    edition: str,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
) -> Regrade:
    """Grade the stored evidence of a certificate by the rules of another edition.

    Args:
        path: the certified file.
        edition: name of the edition.
        certificate: as in :func:`certify.attest.audit.audit`.
        evidence: likewise.
        trust: likewise.

    Raises:
        UsageError: the edition is unknown, or the evidence is missing.
        CertificateError: the certificate is not valid under its own edition, or nothing follows from the evidence.

    Example:
        >>> regrade("graded/model.onnx", "2026", trust=["maker.pub"]).grade.letter
        'D'
    """
    constants = load_edition(edition)
    audited = audit(path, certificate, evidence, trust)
    audited.certificate.require("efficiency")
    # A regrade of a refuted certificate would launder it.
    if not audited.agrees:
        raise CertificateError(f"The certificate is not valid under its own edition, so it is not graded by another: "
                               f"{audited.verdict}")  # fmt: skip
    try:
        profile = derive(audited.evidence, constants)
        return Regrade(audited, edition, profile, grade(profile, constants))
    except NOT_DERIVABLE as error:
        raise CertificateError(f"Edition {edition} cannot grade this evidence: {error}") from error


def issue_regrade(found: Regrade, out: Path, signer: SigningKey) -> Certificate:
    """Write a new certificate under the other edition, which refers to the first, with the model and its sidecar files.

    Args:
        found: grade under the other edition.
        out: output folder, other than that of the first certificate.
        signer: the key to sign with.

    Raises:
        UsageError: the folder is the first certificate's, or a sidecar file that it names is missing.
        CertificateError: the model's bytes are not the measured ones.
    """
    path, first = found.audit.path, found.audit.certificate
    home = path.parent
    # Replacing the first certificate would hide the grade that it gave.
    if out.resolve() == home.resolve():
        raise UsageError(f"{out} holds the first certificate, which must not change; choose another folder with --out.")
    sidecars = list(first.predicate["companions"])
    if first.predicate["lineage"] is not None:
        sidecars.append(LINEAGE_NAME)
    if missing := [name for name in sidecars if not (home / name).is_file()]:
        raise UsageError(
            f"{', '.join(missing)} not found next to {path}; put back the files that the first certificate binds."
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in sidecars:
        copy(home / name, out / name)
    with tempfile.TemporaryDirectory(prefix=".regrading-", dir=out) as folder:
        bare = Path(folder, subject_name(path))
        with open_model(path) as model:
            model.write_unsealed(bare)
        return issue(
            bare,
            found.audit.evidence,
            out / LINEAGE_NAME if LINEAGE_NAME in sidecars else None,
            Preprocess.from_json(first.predicate["preprocess"]),
            {name: out / name for name in first.predicate["companions"]},
            out,
            signer,
            model_name=first.predicate["model"]["name"],
            edition=found.edition,
            regrade_of=first,
        )
