"""Serialise and parse record files of privacy; files come from untrusted parties."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from certify.assessment.auditor_file import DIGEST, require_binding
from certify.assessment.record_file import dump_lines, read_header, read_lines, read_record
from certify.assessments.privacy.records import (
    Batches,
    Choice,
    ClassAccuracy,
    DpSgd,
    GnMaxVotes,
    Header,
    Members,
    Records,
    SourceOf,
    Touch,
)
from certify.core.errors import CertificateError

VERSION = 1
KINDS: dict[str, tuple[str, type]] = {
    "dp-sgd": ("sgd", DpSgd),
    "gnmax": ("votes", GnMaxVotes),
    "source": ("sources", SourceOf),
    "touch": ("touches", Touch),
    "choice": ("choices", Choice),
    "class": ("classes", ClassAccuracy),
    "batches": ("batches", Batches),
    "members": ("members", Members),
}
"""Field of :class:`Records` and type of each kind of line, in writing order."""
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def dump_records(records: Records) -> bytes:
    """Serialise a record file; the inverse of :func:`parse_records`."""
    rows = [(kind, asdict(record)) for kind, (field, _) in KINDS.items() for record in getattr(records, field)]
    return dump_lines(VERSION, records.header, rows)


def parse_records(content: bytes, name: str) -> Records:
    """Parse a record file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, is out of order, or has invalid content.
    """
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS))
    header = _header(head, place)
    found: dict[str, list[Any]] = {field: [] for field, _ in KINDS.values()}
    for at, kind, values in rows:
        field, record_type = KINDS[kind]
        found[field].append(read_record(record_type, values, at))
    records = Records(header, **{field: tuple(ones) for field, ones in found.items()})
    # Touches refer to mechanisms by id, so two with the same id would cover each other's reads.
    if len(records.ids) < len(records.mechanisms):
        raise CertificateError(f"{name}: two mechanisms have the same id.")
    return records


def _header(values: dict[str, Any], place: str) -> Header:
    header = read_header(Header, values, VERSION, place)
    model = header.model
    if set(model) != {"sha256", "leanmarkContent"} or not all(DIGEST.fullmatch(digest) for digest in model.values()):
        raise CertificateError(f"{place}: the header must identify its model by sha256 and leanmarkContent.")
    if header.lineage is not None and not DIGEST.fullmatch(header.lineage):
        raise CertificateError(f"{place}: the digest of the lineage must be a hex SHA-256.")
    if not TIME.fullmatch(header.created) or not header.private_parts:
        raise CertificateError(f"{place}: the header must have a time and name a private split.")
    require_binding(header.auditor, place)
    return header
