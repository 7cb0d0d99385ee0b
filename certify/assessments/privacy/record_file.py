"""Reading and writing record files of privacy; what is read is anybody's and believed in nothing."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import rfc8785

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
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError, UsageError
from certify.core.validation import validated

VERSION = 1
MAX_LINE_BYTES = 64 << 20
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
"""Field of :class:`Records` and type of each kind of line, in the order in which they are written."""
DIGEST = re.compile("[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def dump_records(records: Records) -> bytes:
    """Write a record file, the inverse of :func:`parse_records`."""
    lines = [{"kind": "header", "version": VERSION, **asdict(records.header)}]
    for kind, (name, _) in KINDS.items():
        lines += [{"kind": kind, **asdict(one)} for one in getattr(records, name)]
    return b"".join(rfc8785.dumps(line) + b"\n" for line in lines)


def parse_records(content: bytes, name: str) -> Records:
    """Read a record file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, stands out of order, or holds what it cannot.
    """
    if not content.endswith(b"\n"):
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    header: Header | None = None
    found: dict[str, list[Any]] = {field: [] for field, _ in KINDS.values()}
    last = -1
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        place = f"{name}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise CertificateError(f"{place}: is longer than {MAX_LINE_BYTES} bytes.")
        values = parse_canonical(line, place)
        kind = values.pop("kind", None) if isinstance(values, dict) else None
        if (kind == "header") != (number == 1) or (kind != "header" and kind not in KINDS):
            raise CertificateError(f"{place}: a record of kind {kind!r} cannot stand here.")
        if kind == "header":
            header = _header(values, place)
            continue
        field, made = KINDS[kind]
        if (order := list(KINDS).index(kind)) < last:
            raise CertificateError(f"{place}: records stand in the order {', '.join(KINDS)}.")
        last = order
        found[field].append(_record(made, values, place))
    if header is None:
        raise CertificateError(f"{name}: has no header.")
    records = Records(header, **{field: tuple(ones) for field, ones in found.items()})
    if len(records.ids) < len(records.mechanisms):
        raise CertificateError(f"{name}: two mechanisms bear one id.")
    return records


def _header(values: dict[str, Any], place: str) -> Header:
    if (version := values.pop("version", None)) != VERSION:
        raise CertificateError(f"{place}: version {version!r} is not known to this leanmark (knows {VERSION}).")
    header: Header = _record(Header, values, place)
    model = header.model
    if set(model) != {"sha256", "leanmarkContent"} or not all(DIGEST.fullmatch(one) for one in model.values()):
        raise CertificateError(f"{place}: the header does not name its model by sha256 and leanmarkContent.")
    if header.lineage is not None and not DIGEST.fullmatch(header.lineage):
        raise CertificateError(f"{place}: the digest of the lineage is not a hex SHA-256.")
    if not TIME.fullmatch(header.created) or not header.private_parts:
        raise CertificateError(f"{place}: the header lacks a time, or names no private part.")
    auditor = header.auditor
    if auditor is not None and (
        set(auditor) != {"sha256", "bytes", "key"} or not isinstance(auditor["bytes"], int)
        or not all(isinstance(auditor[one], str) and DIGEST.fullmatch(auditor[one]) for one in ("sha256", "key"))
    ):  # fmt: skip
        raise CertificateError(f"{place}: the header does not bind its auditor file by sha256, bytes and key.")
    return header


def _record(made: type, values: dict[str, Any], place: str) -> Any:
    try:
        record = validated(made, values, made.__name__.lower(), lambda *_: place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    if missing := vars(record).keys() - values.keys():
        raise CertificateError(f"{place}: the field {min(missing)!r} is missing.")
    return record
