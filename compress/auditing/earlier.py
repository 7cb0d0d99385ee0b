"""Costs of earlier audits of the same lineage, which the new statement repeats because it replaces theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from certify.assessments.privacy_audit.records import EarlierAudit, Step, parse
from certify.attest.certificate import Certificate
from certify.attest.statements import records_path, statement_path
from certify.core.errors import LeanmarkError, UsageError
from certify.core.estimate import Estimate, total
from certify.core.files import sha256_file

ASSESSMENT = "privacy_audit"


def earlier_audits(folder: Path, lineage: str, own: str | None = None) -> tuple[EarlierAudit, ...]:
    """Return the audits of a lineage that the statement in a folder counts, that statement's own included.

    Args:
        folder: folder of the model.
        lineage: hex SHA-256 of its lineage; audits of another one do not count.
        own: hex SHA-256 of the records of the current audit, if it has already written them.

    Raises:
        UsageError: the statement or its records cannot be read, so that its joules would be lost.
    """
    path = statement_path(folder, ASSESSMENT)
    if not path.is_file():
        return ()
    try:
        statement, source = Certificate.read(path), records_path(path)
        if sha256_file(source) != statement.claims.evidence_digest:
            raise UsageError(f"{source.name} is not the file that it names")
        records = parse(source.read_bytes(), str(source))
    except (LeanmarkError, OSError) as error:
        raise UsageError(
            f"The joules of the earlier audit cannot be counted from {path} ({str(error).rstrip('.')}); restore it, or "
            "remove it if its cost is not to be counted."
        ) from error
    if records.header.lineage != lineage:
        return ()
    before: tuple[EarlierAudit, ...] = records.of(EarlierAudit)
    if statement.claims.evidence_digest == own:
        return before
    spent = energy_of(step.energy_j for step in records.of(Step))
    return (*before, EarlierAudit(statement.claims.digest, records.header.created, spent))


def energy_of(parts: Iterable[Any]) -> dict[str, Any] | None:
    """Return the sum of energies, as JSON; None if one is unknown or there are none.

    Example:
        >>> energy_of([Estimate.exact(2.0, "J", "meter").to_json(), None]) is None
        True
    """
    listed = list(parts)
    if not listed or None in listed:
        return None
    known = [Estimate.from_json(each) for each in listed]
    return replace(total(known), n=len(known), method=f"of {len(known)} steps; {known[0].method}").to_json()


def as_records(values: Iterable[Any]) -> tuple[EarlierAudit, ...]:
    """Return abandoned audits from their JSON values; see :func:`abandoned`."""
    return tuple(EarlierAudit(**each) for each in values)


def abandoned(created: str, costs: Iterable[Any]) -> dict[str, Any]:
    """Return the JSON values of an audit that never had a statement.

    Args:
        created: UTC time at which it began.
        costs: costs of its steps; None for a step that a killed process left.
    """
    return asdict(EarlierAudit(None, created, energy_of(None if each is None else each["energy_j"] for each in costs)))
