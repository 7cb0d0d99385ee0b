"""Check the sidecar files bound by a statement, and the time that it states."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from certify.attest.certificate import LINEAGE_NAME, SIGNER_NAME, Certificate
from certify.attest.keys import load_public
from certify.core.data_use.times import parse_time
from certify.core.errors import UsageError
from certify.core.files import sha256_file
from certify.core.finding import Finding

CLOCKS_DIFFER = datetime.timedelta(minutes=10)
"""Tolerated difference between two correct clocks."""


def beside(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the first file with this name in the given folders; None if there is none."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def now() -> datetime.datetime:
    """Return the time by this machine's clock."""
    return datetime.datetime.now(datetime.timezone.utc)


def check_created(certificate: Certificate) -> Finding:
    """Check that the measurement began in the past."""
    created = certificate.predicate["created"]
    try:
        began = parse_time(created)
    except ValueError:
        return Finding("created", "fail", f"{created} is not a time.")
    if began > now() + CLOCKS_DIFFER:
        return Finding("created", "fail", f"Measuring began at {created}, later than now by this machine's clock.")
    return Finding("created", "pass", f"Measuring began at {created}.")


def check_lineage(certificate: Certificate, path: Path | None) -> Finding:
    """Check that a lineage is the signed one."""
    stated = certificate.predicate["lineage"]
    if stated is None:
        return Finding("lineage_digest", "skipped", "The certificate does not name a lineage.")
    if path is None:
        return Finding("lineage_digest", "skipped", f"{LINEAGE_NAME} was not found next to the file.")
    if sha256_file(path) != stated["sha256"]:
        return Finding("lineage_digest", "fail", f"{path} is not the lineage that was signed.")
    return Finding("lineage_digest", "pass", f"{LINEAGE_NAME} is the one that was signed.")


def check_signer(certificate: Certificate, folders: Sequence[Path]) -> list[Finding]:
    """Check that the public key next to a certificate is its signer's; nothing if there is none."""
    path = beside(SIGNER_NAME, folders)
    # Only the efficiency certificate comes with a key file.
    if path is None or not certificate.assessment.sealed:
        return []
    try:
        # The PEM form must be exact, because other bytes could carry something besides the key.
        same = path.read_bytes() == load_public(path).to_pem() and load_public(path) == certificate.signer
    except UsageError:
        same = False
    sentence = f"{SIGNER_NAME} {'is' if same else 'is not'} the key that the certificate names."
    return [Finding("signer_key", "pass" if same else "fail", sentence)]


def check_companions(certificate: Certificate, folders: Sequence[Path]) -> Finding:
    """Check that companion files are the signed ones."""
    stated: Mapping[str, str] = certificate.predicate["companions"]
    found = {name: path for name in stated if (path := beside(name, folders)) is not None}
    wrong = [name for name, path in found.items() if sha256_file(path) != stated[name]]
    if wrong:
        return Finding("companions", "fail", f"Different from the signed files: {', '.join(wrong)}.")
    if not found:
        return Finding("companions", "skipped", "No companion file was found next to the file.")
    absent = sorted(set(stated) - set(found))
    rest = f"; missing: {', '.join(absent)}" if absent else ""
    return Finding("companions", "pass", f"As signed: {', '.join(sorted(found))}{rest}.")
