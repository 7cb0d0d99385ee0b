"""Records of a data-use statement: one canonical JSON object per line, each with its ``kind``.

``header`` (first, once), ``policy`` (once), ``entry`` (each line of the journal); and, only in the auditor file,
``records`` (identifiers that the model saw), ``listed`` (identifiers bound to the policy) and ``receipt`` (the whole
consent register).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certify.assessment import auditor_file
from certify.assessment.auditor_file import require_binding
from certify.assessment.record_file import dump_lines, read_header, read_lines
from certify.core.data_use.chain import Chain, chained
from certify.core.data_use.consent import Register, is_identifier
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import Action
from certify.core.errors import CertificateError
from certify.core.private_data import AuditorBinding, DataKey

VERSION = 1
KINDS = ("policy", "entry", "records", "listed", "receipt")


@dataclass(frozen=True)
class Header:
    """Claim and its subject.

    Attributes:
        created: UTC time.
        leanmark: version that wrote the records.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        purpose: purpose of the use.
        recipient: user of the data; empty if none was named.
        actions: actions by which the model saw records.
        policy: digest of the policy.
        root: root of the Merkle tree over the records that the model saw.
        journal: digest of the journal's last line.
        consent: digest of the consent register's last line.
        auditor: binding of the auditor file; None in that file itself.
    """

    created: str
    leanmark: str
    model: dict[str, str]
    purpose: str
    recipient: str
    actions: tuple[Action, ...]
    policy: str
    root: str
    journal: str
    consent: str
    auditor: dict[str, str | int] | None = None


@dataclass(frozen=True)
class Records:
    """Content of a record file.

    Attributes:
        header: claim and its subject.
        policy: the whole policy.
        journal: all lines of the journal.
        records: identifiers that the model saw; None in public.
        listed: identifiers bound to the policy; None in public.
        register: consent register; None in public.
    """

    header: Header
    policy: UsePolicy
    journal: Chain
    records: tuple[str, ...] | None = None
    listed: tuple[str, ...] | None = None
    register: Register | None = None


def dump_records(records: Records) -> bytes:
    """Serialise a record file; the inverse of :func:`parse_records`."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("policy", {"policy": records.policy.to_json()}),
        *(("entry", {"entry": dict(entry)}) for entry in records.journal.entries),
    ]
    rows += [(kind, {"ids": list(ids)}) for kind, ids in _listed(records) if ids is not None]
    if records.register is not None:
        rows.append(("receipt", {"receipts": [receipt.to_json() for receipt in records.register.receipts]}))
    return dump_lines(VERSION, records.header, rows)


def _listed(records: Records) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    return (("records", records.records), ("listed", records.listed))


def parse_records(content: bytes, name: str) -> Records:
    """Parse a record file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, is out of order, or has invalid content.
    """
    (place, _, head), *rows = read_lines(content, name, KINDS)
    header = _header(head, place)
    found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for at, kind, values in rows:
        if kind != "entry" and found[kind]:
            raise CertificateError(f"{at}: only one record of kind {kind} is allowed.")
        found[kind].append(_value(kind, values, at))
    if not found["policy"]:
        raise CertificateError(f"{name} does not contain a policy.")
    single = {kind: found[kind][0] if found[kind] else None for kind in ("records", "listed", "receipt")}
    return Records(
        header, found["policy"][0], chained(found["entry"]), single["records"], single["listed"], single["receipt"]
    )


def _value(kind: str, values: dict[str, Any], place: str) -> Any:
    """Return the content of a line with one field."""
    field = {"policy": "policy", "entry": "entry", "receipt": "receipts"}.get(kind, "ids")
    if set(values) != {field}:
        raise CertificateError(f"{place}: a record of kind {kind} must only have the field '{field}'.")
    value = values[field]
    if kind == "policy":
        return UsePolicy.from_json(value, place)
    if kind == "entry":
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise CertificateError(f"{place}: the line is not a journal entry.")
        return value
    if not isinstance(value, list):
        raise CertificateError(f"{place}: '{field}' must be a list.")
    if kind == "receipt":
        if not all(isinstance(entry, dict) for entry in value):
            raise CertificateError(f"{place}: a receipt must be a JSON object.")
        return Register.of(chained(value), place)
    if not all(isinstance(identifier, str) and is_identifier(identifier) for identifier in value) or value != sorted(
        set(value)
    ):
        raise CertificateError(f"{place}: the line must be a sorted list of keyed identifiers.")
    return tuple(value)


def _header(values: dict[str, Any], place: str) -> Header:
    header = read_header(Header, values, VERSION, place)
    named = [header.policy, header.root, header.journal, header.consent, *header.model.values()]
    if set(header.model) != {"sha256", "leanmarkContent"} or not all(map(is_identifier, named)):
        raise CertificateError(f"{place}: the header must identify model, policy, root and logs by hex SHA-256.")
    if not is_time(header.created) or not header.actions or not header.purpose:
        raise CertificateError(f"{place}: the header lacks a time, a purpose or an action.")
    require_binding(header.auditor, place)
    return header


def withhold(whole: Records, key: DataKey) -> tuple[Records, bytes]:
    """Return the public records, which bind the auditor file, and the bytes of that file."""
    content = dump_records(replace(whole, header=replace(whole.header, auditor=None)))
    header = replace(whole.header, auditor=AuditorBinding.of(content, key).to_json())
    return Records(header, whole.policy, whole.journal), content


def join(public: Records, content: bytes, key: DataKey) -> Records:
    """Return the records in an auditor file; see :func:`certify.assessment.auditor_file.join`."""
    return auditor_file.join(public, content, key, parse_records, withhold)


def write(whole: Records, public: Path, auditor: Path, key: DataKey) -> None:
    """Write both files; see :func:`certify.assessment.auditor_file.write_both`."""
    auditor_file.write_both(whole, public, auditor, key, dump_records, withhold)


def entries_of(records: Records, kind: str) -> tuple[Mapping[str, Any], ...]:
    """Return the journal entries of a kind."""
    return tuple(entry for entry in records.journal.entries if entry["kind"] == kind)
