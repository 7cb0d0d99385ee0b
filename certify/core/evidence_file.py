"""Evidence files: writing the records of a measurement, and reading them from somebody whom one need not believe.

An evidence file (``evidence.jsonl``) holds one canonical JSON object a line: a header, then windows, latencies,
predictions and observations. The certificate binds it by digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import rfc8785

from certify.core.errors import CertificateError
from certify.core.evidence import (
    ARMS,
    Evidence,
    Header,
    Latencies,
    MeterFacts,
    ModelFacts,
    Observation,
    Prediction,
    Workload,
)
from certify.core.files import write_bytes
from certify.core.windows import Window

EVIDENCE_VERSION = 1
MAX_LINE_BYTES = 16 * 1024 * 1024
LARGEST_INTEGER = 2**53 - 1

T = TypeVar("T")


def evidence_lines(evidence: Evidence) -> Iterator[bytes]:
    """Canonical JSON lines, without line ends."""
    yield _line("header", {"version": EVIDENCE_VERSION, **asdict(evidence.header)})
    for kind, records in (
        ("window", evidence.windows),
        ("latencies", evidence.latencies),
        ("prediction", evidence.predictions),
        ("observation", evidence.observations),
    ):
        for record in records:
            yield _line(kind, asdict(record))


def evidence_bytes(evidence: Evidence) -> bytes:
    """The whole file."""
    return b"".join(line + b"\n" for line in evidence_lines(evidence))


def write_evidence(evidence: Evidence, path: Path) -> str:
    """Write the file and return its hex SHA-256."""
    content = evidence_bytes(evidence)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _line(kind: str, values: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps({"kind": kind, **values})


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, or a record is malformed.
        OSError: the file can't be read.
    """
    return parse_evidence(path.read_bytes(), str(path))


def parse_evidence(content: bytes, name: str = "evidence") -> Evidence:
    """Parse the bytes of an evidence file; see :func:`read_evidence`."""
    header: Header | None = None
    records: dict[str, list[Any]] = {kind: [] for kind in _RECORDS}
    if not content.endswith(b"\n"):
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        try:
            values = _parse_line(line)
            kind = values.pop("kind", None)
            if kind == "header" and number == 1:
                header = _header(values)
            elif kind in _RECORDS and number > 1:
                records[kind].append(_record(_RECORDS[kind], values))
            else:
                raise ValueError(f"a record of kind {kind!r} can't stand here")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise CertificateError(f"{name}, line {number}, is no record of evidence: {error}") from error
    if header is None:
        raise CertificateError(f"{name}: has no header.")
    return Evidence(header, *(tuple(records[kind]) for kind in _RECORDS))


def _parse_line(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("the line is too long")
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if rfc8785.dumps(values) != line:
        raise ValueError("not canonical JSON (RFC 8785)")
    return values


_RECORDS: dict[str, type] = {
    "window": Window,
    "latencies": Latencies,
    "prediction": Prediction,
    "observation": Observation,
}


def _record(kind: type[T], values: Mapping[str, Any]) -> T:
    known = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(values) - set(known):
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    if missing := set(known) - set(values):
        raise ValueError(f"field {sorted(missing)[0]!r} is missing")
    return kind(**{key: _typed(key, str(known[key]), value) for key, value in values.items()})


def _typed(name: str, kind: str, value: Any) -> Any:
    """Check one JSON value against the field's annotation and bring it into the field's own type."""
    if value is None and kind.endswith("| None"):
        return None
    base = kind.split(" | ")[0]
    if base == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if base == "int" and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
        if abs(value) > LARGEST_INTEGER:
            raise ValueError(f"field {name!r} holds {value}, beyond what JSON carries exactly")
        return int(value)
    if base == "bool" and isinstance(value, bool):
        return value
    if base == "str" and isinstance(value, str):
        return value
    if base.startswith("tuple[float") and isinstance(value, list):
        return tuple(_typed(name, "float", item) for item in value)
    if base.startswith("tuple[str") and isinstance(value, list):
        return tuple(_typed(name, "str", item) for item in value)
    if base.startswith("Mapping[str, float") and isinstance(value, dict):
        item_kind = "float | None" if "None" in base or "None" in kind else "float"
        return {key: _typed(name, item_kind, item) for key, item in value.items()}
    if base.startswith("Mapping[str, str") and isinstance(value, dict):
        return {key: _typed(name, "str", item) for key, item in value.items()}
    if base.startswith("Mapping[str, Any") and isinstance(value, dict):
        return value
    raise ValueError(f"field {name!r} should be {kind}, found {type(value).__name__}")


def _header(values: dict[str, Any]) -> Header:
    version = values.pop("version", None)
    if version != EVIDENCE_VERSION:
        raise ValueError(f"evidence version {version!r} is not known to this leanmark (knows {EVIDENCE_VERSION})")
    parts = dict(values)
    nested = {
        "workload": _record(Workload, parts.pop("workload")),
        "meter": None if parts["meter"] is None else _record(MeterFacts, parts["meter"]),
        "models": {arm: _record(ModelFacts, facts) for arm, facts in parts.pop("models").items()},
    }
    parts.pop("meter")
    plain = {f.name: f.type for f in fields(Header) if f.name not in nested}
    if set(parts) != set(plain):
        raise ValueError(f"header fields differ from the known ones: {sorted(set(parts) ^ set(plain))}")
    if set(nested["models"]) != set(ARMS):  # type: ignore[arg-type]
        raise ValueError("models of exactly two arms are needed: baseline and candidate")
    return Header(**{key: _typed(key, str(plain[key]), value) for key, value in parts.items()}, **nested)  # type: ignore[arg-type]
