"""Checks of rows of private data: by the auditor file, or by the word of an auditor who had it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certify.assessment.assessment import NOT_DERIVABLE, profile_of
from certify.assessment.outcome import Edition
from certify.assessment.profile import Profile
from certify.assessment.rederivation import compare_figures
from certify.attest.certificate import Certificate
from certify.attest.checks_records import MAX_EVIDENCE_BYTES
from certify.attest.verification import ROWS, Verification
from certify.core.errors import CertificateError, UsageError
from certify.core.finding import Finding
from certify.core.private_data import AuditorBinding, DataKey

SHOWN = 4
"""Maximum number of figures from the rows that a sentence lists."""


@dataclass(frozen=True)
class Access:
    """Files and key that an auditor received from the holder of private data.

    Attributes:
        files: auditor files of any statements.
        key: data key.
    """

    files: tuple[Path, ...]
    key: DataKey

    @classmethod
    def from_options(cls, files: Sequence[Path], key: Path | None) -> Access | None:
        """Return the access that a command's options give; None if they give none.

        Raises:
            UsageError: a key was given without files, files without a key, or the key cannot be read.
        """
        if not files and key is None:
            return None
        # The rows are identified by keyed digests, which mean nothing without the key.
        if not files or key is None:
            raise UsageError(
                "An auditor file can only be read with its data key; give both --auditor-file and --auditor-key."
            )
        return cls(tuple(files), DataKey.read(key))


@dataclass(frozen=True)
class Audited:
    """Result of deriving a statement from its rows.

    Attributes:
        check: whether everything that was signed also follows from the rows.
        predicate: fields of the predicate as derived from the rows; empty if they were not read.
    """

    check: Finding
    predicate: dict[str, Any]


def vouched(found: Verification, main: Verification) -> Verification:
    """Return a verification in which a trusted auditor's word replaces the rows that the caller does not have.

    Args:
        found: verification of one statement.
        main: verification of the certificate whose countersignatures count.
    """
    rows, binding = found.check(ROWS), None if found.certificate is None else binding_of(found.certificate)
    # An auditor's word counts only if rows are missing, and never overrides rows that were read and failed.
    if rows is None or rows.outcome != "skipped" or binding is None:
        return found
    auditors = [
        signature
        for signature in main.signatures
        if signature.role == "verifier"
        and signature.trusted
        and signature.agrees
        and binding.sha256 in signature.auditor_files
    ]
    if not auditors:
        return found
    who = auditors[0].name or str(auditors[0].key_id)[:16]
    message = Finding(
        ROWS, "pass", f"Derived again from the auditor file by {who}, an auditor that you trust, who countersigned it."
    )
    return replace(found, checks=tuple(message if check is rows else check for check in found.checks))


def joined_records(certificate: Certificate, records: Any, access: Access | None) -> Any:
    """Return the records with their rows if these are withheld and the auditor file is given; else unchanged.

    Raises:
        CertificateError: the given auditor file is not the one that was signed, or the records do not follow from it.
    """
    binding = binding_of(certificate)
    if access is None or binding is None:
        return records
    return certificate.assessment.joined(records, _bound(binding, access), access.key)


def binding_of(certificate: Certificate) -> AuditorBinding | None:
    """Return a statement's binding of its auditor file; None if nothing is withheld."""
    stated = certificate.predicate.get("auditor")
    return None if stated is None else AuditorBinding.from_json(stated)


def withheld(certificate: Certificate) -> list[str]:
    """Return the names of checks that are unknown in public."""
    return [guard.name for guard in certificate.profile.guards if guard.outcome == "unknown"]


def check_rows(
    certificate: Certificate, records: Any, edition: Edition | None, access: Access | None
) -> Audited | None:
    """Derive a statement again from its auditor file; None if nothing is withheld.

    Args:
        certificate: the statement.
        records: its public records; None if they are missing.
        edition: edition of the statement; None if it is unknown.
        access: what the auditor received; None for the public.
    """
    binding = binding_of(certificate)
    if binding is None:
        return None
    waiting = ", ".join(withheld(certificate)) or "none"
    if access is None:
        sentence = (
            f"The data are private, so checks that need rows are unknown in public ({waiting}). The holder of the data "
            "has the auditor file: give it with --auditor-file and --auditor-key, or trust an auditor who "
            "countersigned."
        )
        return Audited(Finding(ROWS, "skipped", sentence), {})
    if records is None or edition is None:
        return Audited(
            Finding(ROWS, "skipped", "The public records are missing, so nothing was compared with the rows."), {}
        )
    try:
        full = joined_records(certificate, records, access)
        profile = profile_of(certificate.assessment, full, edition)
        outcome = certificate.assessment.outcome(profile, edition)
    except NOT_DERIVABLE as error:
        return Audited(Finding(ROWS, "fail", str(error)), {})
    wrong = _wrong(certificate.profile, profile)
    result = certificate.assessment.result
    # A public claim contradicts rows that lead to a refusal; a public refusal does not contradict a claim.
    if outcome.refused and certificate.predicate["outcome"] != "refused":
        wrong.append(result)
    if wrong:
        message = next((f" ({guard.sentence})" for guard in profile.guards if guard.name == wrong[0]), "")
        return Audited(Finding(ROWS, "fail", f"The rows contradict what was signed: {', '.join(wrong)}{message}."), {})
    further = [name for name in profile.estimates if name not in certificate.profile.estimates]
    listed = [f"{name} {profile[name]}" for name in further[:SHOWN]] + ["..."] * (len(further) > SHOWN)
    also = f" The rows also give: {', '.join(listed)}." if further else ""
    sentence = f"Everything that was signed follows from the rows; checked with them: {waiting}.{also}"
    return Audited(
        Finding(ROWS, "pass", sentence), {"profile": profile.to_json(), result: outcome.to_json()}
    )  # fmt: skip


def _bound(binding: AuditorBinding, access: Access) -> bytes:
    """Return the bytes of the signed auditor file.

    Raises:
        CertificateError: it is not among the given files, or the key differs.
    """
    # Checked first: with another key every identifier would differ, and the error would blame the file.
    if access.key.id != binding.key:
        raise CertificateError(
            "The data key is not the one under which the identifiers were made; ask the data holder for it."
        )
    for path in access.files:
        # No file of arbitrary size is read into memory.
        if path.is_file() and path.stat().st_size <= MAX_EVIDENCE_BYTES:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == binding.sha256:
                return content
    named = ", ".join(path.name for path in access.files)
    raise CertificateError(
        f"None of the given auditor files ({named}) is the one that was signed; ask the data holder for it."
    )


def _wrong(signed: Profile, full: Profile) -> list[str]:
    # Rows may give more figures than were signed; only signed figures can contradict.
    known = Profile(
        {name: estimate for name, estimate in full.estimates.items() if name in signed.estimates}, full.guards
    )
    wrong = [row.name for row in compare_figures(signed, known) if row.match == "differs"]
    for guard in signed.guards:
        found = full.guard(guard.name)
        # A check that was unknown in public may pass with the rows, but must not fail.
        outcomes = ("pass", "unknown") if guard.outcome == "unknown" else (guard.outcome,)
        if found is None or found.outcome not in outcomes:
            wrong.append(guard.name)
    return wrong
