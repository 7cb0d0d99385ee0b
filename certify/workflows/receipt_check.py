"""Check of the log next to a model against the receipts that clients got for their entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certify.assessments.federation.assessment import Federation
from certify.attest.statements import records_path, statement_path
from certify.attest.verification import Verification
from certify.core.errors import CertificateError
from certify.core.federation import read_receipts, unanswered
from certify.core.federation.receipts import ReceiptPair
from certify.core.finding import Finding

UNDETECTABLE = Finding(
    "beyond_receipts",
    "note",
    "Not detectable by receipts: clients and a server that collude, one party behind several keys, and a client that "
    "was never selected or got no receipt.",
)


def with_receipts(found: Verification, files: Sequence[Path]) -> Verification:
    """Add the results of clients' receipts to the verification of a federation statement.

    Args:
        found: verification of the model with all its statements.
        files: receipt files.

    Raises:
        CertificateError: a receipt file cannot be read or is malformed.
    """
    receipts = [receipt for path in files for receipt in read_receipts(path)]
    name = Federation.name
    checks = tuple(_checks(found, receipts))
    if found.name == name or not any(statement.name == name for statement in found.others):
        return replace(found, checks=(*found.checks, *checks))
    others = (
        replace(statement, checks=(*statement.checks, *checks)) if statement.name == name else statement
        for statement in found.others
    )
    return replace(found, others=tuple(others))


def _checks(found: Verification, receipts: Sequence[ReceiptPair]) -> Iterator[Finding]:
    if not any(certificate.assessment.name == Federation.name for certificate in found.certificates):
        yield Finding("receipts", "fail", "The model has no federation statement; ask its maker for one.")
        return
    path = records_path(statement_path(found.path.parent, Federation.name))
    try:
        records = Federation().parse(path.read_bytes(), str(path))
    except OSError as error:
        yield Finding(
            "receipts", "fail", f"The log {path} cannot be read, so its entries were not found: {error.strerror}."
        )
        return
    except CertificateError as error:
        yield Finding("receipts", "fail", str(error))
        return
    yield from unanswered(records.runs, receipts)
    # Stated in every result, because an unstated limit would be read as a guarantee.
    yield UNDETECTABLE
