"""Records of a scorecard: one canonical JSON object a line, the statements that it counts with the figures it reads.

A header; each statement by its digest (``statement``); the word of others that counts: who derived or measured again
(``countersignature``), and who attests what nobody can measure (``attestation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeVar

import rfc8785
from annotated_types import Len, MaxLen

from certify.assessment.record_file import (
    Digest,
    ModelDigests,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.scorecard.edition import Signer

VERSION = 1
MAX_LINES = 200
T = TypeVar("T")
Reason = Annotated[str, Len(1, 400)]


@dataclass(frozen=True)
class Header:
    """Circumstances.

    Attributes:
        created: UTC time at which the statements were counted.
        leanmark: version that counted.
        model: digests of the model.
        edition: name of the edition.
        edition_digest: hex SHA-256 of its file.
        scoped_out: pillars that the maker declares not applicable, with the reason.
    """

    created: str
    leanmark: Text
    model: ModelDigests
    edition: Text
    edition_digest: Digest
    scoped_out: Annotated[dict[str, Reason], MaxLen(16)]


@dataclass(frozen=True)
class Counted:
    """A statement that the score counts.

    Attributes:
        assessment: whose statement it is.
        type: of its predicate.
        sha256: of its signed envelope.
        key: id of the key that signed it.
        created: when its records began.
        edition: by which it was judged.
        outcome: as it is printed.
        refused: whether it is a refusal.
        runtime: what ran the model, with its version; empty where nothing ran or that is not stated.
        lineage: hex SHA-256 of the lineage that it names; empty where it names none.
        test_data: digest of its test data; likewise.
        baseline: digests of what it compares the model with, of whatever kind.
        figures: those that the edition's rules read, as JSON objects.
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
        """The figures by name.

        Raises:
            CertificateError: one is malformed.
        """
        return {name: Estimate.from_json(fields) for name, fields in self.figures.items()}


@dataclass(frozen=True)
class Countersigned:
    """The word of somebody who derived or measured the certificate again.

    Attributes:
        sha256: of the signed envelope.
        key: id of the key.
        checked: what was done.
        agrees: whether the same was found.
        fresh_data: data that the maker has not seen, ``no``, or empty.
    """

    sha256: Digest
    key: Digest
    checked: Signer
    agrees: bool
    fresh_data: Annotated[str, MaxLen(400)]


@dataclass(frozen=True)
class Attested:
    """The word of a named third party for a credit that nobody can measure.

    Attributes:
        sha256: of the signed envelope.
        key: id of the key.
        name: of the third party.
        credit: that it is about.
    """

    sha256: Digest
    key: Digest
    name: Text
    credit: Annotated[str, Len(1, 16)]


Record = Counted | Countersigned | Attested
KINDS: Mapping[str, type[Any]] = {"statement": Counted, "countersignature": Countersigned, "attestation": Attested}


@dataclass(frozen=True)
class Records:
    """Everything that a score follows from."""

    header: Header
    rows: tuple[Record, ...] = field(default=())

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """The records of a kind, in their order."""
        return tuple(row for row in self.rows if isinstance(row, kind))

    @property
    def words(self) -> tuple[Countersigned | Attested, ...]:
        """The words of others, in their order."""
        return tuple(row for row in self.rows if isinstance(row, Countersigned | Attested))

    def statement(self, assessment: str) -> Counted | None:
        """The statement of an assessment; None where there is none."""
        return next((one for one in self.of(Counted) if one.assessment == assessment), None)


def dump(records: Records) -> bytes:
    """Write a record file; equal records give equal bytes."""
    names = {kind: name for name, kind in KINDS.items()}
    return dump_lines(VERSION, records.header, ((names[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file.

    Args:
        content: the whole file.
        name: of the file, for errors.

    Raises:
        CertificateError: a line is malformed or in the wrong place, or one thing is counted twice.
    """
    header: Header | None = None
    rows: list[Record] = []
    for place, kind, values in read_lines(content, name, tuple(KINDS), most=MAX_LINES):
        if header is None:
            header = read_header(Header, values, VERSION, place)
            continue
        row: Record = read_record(KINDS[kind], values, place)
        if isinstance(row, Counted):
            _require_written_as_read(row, place)
        rows.append(row)
    if header is None:
        raise CertificateError(f"{name}: holds no header.")
    _require_once(rows, name)
    return Records(header, tuple(rows))


def _require_written_as_read(row: Counted, place: str) -> None:
    """A number that stands as text, or as true, would be read as the number that it looks like."""
    for name, estimate in row.estimates().items():
        if rfc8785.dumps(estimate.to_json()) != rfc8785.dumps(row.figures[name]):
            raise CertificateError(f"{place}: the figure {name} is not written as figures are.")


def _require_once(rows: list[Record], name: str) -> None:
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        key: tuple[str, ...] = (row.assessment,) if isinstance(row, Counted) else (type(row).__name__, row.key)
        if isinstance(row, Attested):
            key = (*key, row.credit)
        if key in seen:
            raise CertificateError(f"{name}: {' '.join(key)[:80]} is counted twice.")
        seen.add(key)
