"""What is recorded for a data-use statement, one canonical JSON object a line, each with its ``kind``.

``header`` (first, once), ``policy`` (once), ``entry`` (each line of the journal); and, in the auditor file alone,
``records`` (identifiers that the model saw), ``listed`` (those that the policy is bound to) and ``receipt`` (the whole
consent register).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.data_use.chain import Chain, chained
from certify.core.data_use.consent import Register, is_identifier
from certify.core.data_use.policy import UsePolicy
from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import Action
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.core.private_data import AuditorBinding, DataKey
from certify.core.validation import validated

VERSION = 1
MAX_LINE_BYTES = 64 << 20
ORDER = ("header", "policy", "entry", "records", "listed", "receipt")


@dataclass(frozen=True)
class Header:
    """What is claimed, and of what.

    Attributes:
        created: UTC time.
        leanmark: version that recorded.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        purpose: that the data were used for.
        recipient: who used them; empty where nobody was named.
        actions: by which the model saw records.
        policy: digest of the policy.
        root: of the Merkle tree over the records that the model saw.
        journal: digest of the journal's last line.
        consent: digest of the consent register's last line.
        auditor: what binds the auditor file; None in that file itself.
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
    """A record file.

    Attributes:
        header: what is claimed.
        policy: the whole policy.
        journal: all its lines.
        records: identifiers that the model saw; None in public.
        listed: identifiers that the policy is bound to; None in public.
        register: the consent register; None in public.
    """

    header: Header
    policy: UsePolicy
    journal: Chain
    records: tuple[str, ...] | None = None
    listed: tuple[str, ...] | None = None
    register: Register | None = None


def dump_records(one: Records) -> bytes:
    """Write a record file, the inverse of :func:`parse_records`."""
    header = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(one.header).items()}
    lines: list[dict[str, Any]] = [
        {"kind": "header", "version": VERSION, **header},
        {"kind": "policy", "policy": one.policy.to_json()},
        *({"kind": "entry", "entry": dict(entry)} for entry in one.journal.entries),
    ]
    for kind, found in (("records", one.records), ("listed", one.listed)):
        if found is not None:
            lines.append({"kind": kind, "ids": list(found)})
    if one.register is not None:
        lines.append({"kind": "receipt", "receipts": [receipt.to_json() for receipt in one.register.receipts]})
    return b"".join(rfc8785.dumps(line) + b"\n" for line in lines)


def parse_records(content: bytes, name: str) -> Records:
    """Read a record file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, stands out of order, or holds what it cannot.
    """
    if not content.endswith(b"\n"):
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    found: dict[str, list[Any]] = {kind: [] for kind in ORDER}
    last = 0
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        place = f"{name}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise CertificateError(f"{place}: is longer than {MAX_LINE_BYTES} bytes.")
        values = parse_canonical(line, place)
        kind = values.pop("kind", None) if isinstance(values, dict) else None
        if kind not in ORDER or ORDER.index(kind) < last or (kind != "entry" and found[kind]):
            raise CertificateError(f"{place}: a record of kind {str(kind)[:40]!r} cannot stand here.")
        last = ORDER.index(kind)
        found[kind].append(_header(values, place) if kind == "header" else _value(kind, values, place))
    if not found["header"] or not found["policy"]:
        raise CertificateError(f"{name}: has no header or no policy.")
    single = {kind: found[kind][0] if found[kind] else None for kind in ("records", "listed", "receipt")}
    return Records(
        found["header"][0], found["policy"][0], chained(found["entry"]), single["records"], single["listed"],
        single["receipt"],
    )  # fmt: skip


def _value(kind: str, values: dict[str, Any], place: str) -> Any:
    """What a line of one field holds."""
    field = {"policy": "policy", "entry": "entry", "receipt": "receipts"}.get(kind, "ids")
    if set(values) != {field}:
        raise CertificateError(f"{place}: a record of kind {kind} holds the field '{field}' alone.")
    value = values[field]
    if kind == "policy":
        return UsePolicy.from_json(value, place)
    if kind == "entry":
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise CertificateError(f"{place}: is not a line of a journal.")
        return value
    if not isinstance(value, list):
        raise CertificateError(f"{place}: '{field}' is not a list.")
    if kind == "receipt":
        if not all(isinstance(one, dict) for one in value):
            raise CertificateError(f"{place}: a receipt is not an object.")
        return Register.of(chained(value), place)
    if not all(isinstance(one, str) and is_identifier(one) for one in value) or value != sorted(set(value)):
        raise CertificateError(f"{place}: is not a sorted list of keyed identifiers.")
    return tuple(value)


def _header(values: dict[str, Any], place: str) -> Header:
    if (version := values.pop("version", None)) != VERSION:
        raise CertificateError(f"{place}: version {version!r} is not known to this leanmark (knows {VERSION}).")
    try:
        header = validated(Header, values, "the header", lambda *_: place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    if missing := vars(header).keys() - values.keys():
        raise CertificateError(f"{place}: the field {min(missing)!r} is missing.")
    named = [header.policy, header.root, header.journal, header.consent, *header.model.values()]
    if set(header.model) != {"sha256", "leanmarkContent"} or not all(map(is_identifier, named)):
        raise CertificateError(f"{place}: the header does not name model, policy, root and logs by hex SHA-256.")
    if not is_time(header.created) or not header.actions or not header.purpose:
        raise CertificateError(f"{place}: the header lacks a time, a purpose or an action.")
    auditor = header.auditor
    if auditor is not None and (
        set(auditor) != {"sha256", "bytes", "key"} or not isinstance(auditor["bytes"], int)
        or not all(is_identifier(str(auditor[one])) for one in ("sha256", "key"))
    ):  # fmt: skip
        raise CertificateError(f"{place}: the header does not bind its auditor file by sha256, bytes and key.")
    return header


def withhold(whole: Records, key: DataKey) -> tuple[Records, bytes]:
    """The public records, which bind the auditor file, and the bytes of that file."""
    content = dump_records(replace(whole, header=replace(whole.header, auditor=None)))
    header = replace(whole.header, auditor=AuditorBinding.of(content, key).to_json())
    return Records(header, whole.policy, whole.journal), content


def join(public: Records, content: bytes, key: DataKey) -> Records:
    """The records of an auditor file, once the public ones follow from them.

    Raises:
        CertificateError: the file is malformed, or the public records are not what is left of it.
    """
    whole = parse_records(content, "the auditor file")
    if withhold(whole, key)[0] != public:
        raise CertificateError("The public records do not follow from the auditor file.")
    return replace(whole, header=replace(whole.header, auditor=public.header.auditor))


def write(whole: Records, public: Path, auditor: Path, key: DataKey) -> None:
    """Write both files; the auditor's is not published."""
    left, content = withhold(whole, key)
    write_bytes(auditor, content)
    write_bytes(public, dump_records(left))


def entries_of(records: Records, kind: str) -> tuple[Mapping[str, Any], ...]:
    """Lines of the journal of a kind."""
    return tuple(one for one in records.journal.entries if one["kind"] == kind)
