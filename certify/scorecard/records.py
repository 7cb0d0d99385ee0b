"""Records of a scorecard: one canonical JSON object per line, with the counted statements and the figures read.

A header; each statement by its digest (``statement``); and the third-party statements that count: results derived or
measured again (``countersignature``), and attestations of what cannot be measured (``attestation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeVar

import rfc8785
from annotated_types import Len, MaxLen

from certify.assessment.record_file import (
    Digest,
    RecordHeader,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)
from certify.attest.verification import Vouching
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate

VERSION = 1
MAX_LINES = 200
T = TypeVar("T")
Reason = Annotated[str, Len(1, 400)]


@dataclass(frozen=True)
class Header(RecordHeader):
    """Circumstances of the count.

    Attributes:
        edition: name of the edition.
        edition_digest: hex SHA-256 of its file.
        scoped_out: pillars that the maker declares not applicable, with the reason.
    """

    leanmark: Text
    edition: Text
    edition_digest: Digest
    scoped_out: Annotated[dict[str, Reason], MaxLen(16)]


@dataclass(frozen=True)
class Counted:
    """Counted statement.

    Attributes:
        assessment: name of its assessment.
        type: its predicate type.
        sha256: hex SHA-256 of its signed envelope.
        key: id of the key that signed it.
        created: UTC time at which its recording began.
        edition: edition by which it was judged.
        outcome: printed outcome.
        refused: whether it is a refusal.
        runtime: runtime of the model with its version; empty if none is stated.
        lineage: hex SHA-256 of its lineage; empty if it names none.
        test_data: digest of its test data; empty if it names none.
        baseline: digests of its baseline, of any kind.
        figures: figures that the edition's rules read, as JSON objects.
    """

    assessment: Text
    type: Text
    sha256: Digest
    key: Digest
    created: str
    edition: Text
    outcome: Annotated[str, Len(1, 4000)]
    refused: bool
    runtime: Annotated[str, MaxLen(200)]
    lineage: Annotated[str, MaxLen(64)]
    test_data: Annotated[str, MaxLen(64)]
    baseline: Annotated[tuple[str, ...], MaxLen(8)]
    figures: Annotated[dict[str, dict[str, Any]], MaxLen(64)]

    def estimates(self) -> dict[str, Estimate]:
        """Return the figures by name.

        Raises:
            CertificateError: a figure is malformed.
        """
        return {name: Estimate.from_json(fields) for name, fields in self.figures.items()}


@dataclass(frozen=True)
class Countersigned:
    """Third party's statement about a certificate that it derived or measured again.

    Attributes:
        sha256: hex SHA-256 of the signed envelope.
        key: id of the key that signed it.
        checked: how the certificate was checked.
        agrees: whether the third party agrees with the certificate.
        fresh_data: scored data that the maker had not seen; ``no`` or empty if there were none.
    """

    sha256: Digest
    key: Digest
    checked: Vouching
    agrees: bool
    fresh_data: Annotated[str, MaxLen(400)]


@dataclass(frozen=True)
class Attested:
    """Third party's attestation of a credit that cannot be measured.

    Attributes:
        sha256: hex SHA-256 of the signed envelope.
        key: id of the key that signed it.
        name: name of the third party.
        credit: name of the credit.
    """

    sha256: Digest
    key: Digest
    name: Text
    credit: Annotated[str, Len(1, 16)]


Record = Counted | Countersigned | Attested
KINDS: Mapping[str, type[Any]] = {"statement": Counted, "countersignature": Countersigned, "attestation": Attested}


@dataclass(frozen=True)
class Records:
    """Everything that determines a score."""

    header: Header
    rows: tuple[Record, ...] = field(default=())

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """Return the records of a kind, in order."""
        return tuple(row for row in self.rows if isinstance(row, kind))

    @property
    def words(self) -> tuple[Countersigned | Attested, ...]:
        """Third-party statements, in order."""
        return tuple(row for row in self.rows if isinstance(row, Countersigned | Attested))

    def statement(self, assessment: str) -> Counted | None:
        """Return the statement of an assessment; None if there is none."""
        return next((statement for statement in self.of(Counted) if statement.assessment == assessment), None)


def dump(records: Records) -> bytes:
    """Serialise records; equal records give equal bytes."""
    # The inverse of KINDS, so that rows are read and written by one table.
    names = {kind: name for name, kind in KINDS.items()}
    return dump_lines(VERSION, records.header, ((names[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Parse a record file.

    Args:
        content: content of the file.
        name: file name, for errors.

    Raises:
        CertificateError: a line is malformed or out of order, or something is counted twice.
    """
    (first, _, head), *lines = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, first)
    rows: list[Record] = []
    for place, kind, values in lines:
        row: Record = read_record(KINDS[kind], values, place)
        # Estimates accept several spellings of a number, which would give one record several digests.
        if isinstance(row, Counted):
            _require_written_as_read(row, place)
        rows.append(row)
    _require_once(rows, name)
    return Records(header, tuple(rows))


def _require_written_as_read(row: Counted, place: str) -> None:
    """Refuse a number that is written as text or as a boolean, which would otherwise be read as a number."""
    for name, estimate in row.estimates().items():
        # Compared as canonical JSON, because 1.0 and 1 mean the same.
        if rfc8785.dumps(estimate.to_json()) != rfc8785.dumps(row.figures[name]):
            raise CertificateError(f"{place}: the figure {name} is not written as figures are.")


def _require_once(rows: list[Record], name: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        # One statement per assessment, one check per key, one attestation per key and credit.
        key: tuple[str, ...] = (row.assessment,) if isinstance(row, Counted) else (type(row).__name__, row.key)
        if isinstance(row, Attested):
            key = (*key, row.credit)
        if key in seen:
            # The key of a row may be long text from the file, so it is cut.
            raise CertificateError(f"{name}: {' '.join(key)[:80]} is counted twice.")
        seen.add(key)
