"""Evidence files: writing the records of a measurement, and reading them from an untrusted source.

An evidence file (``evidence.jsonl``) holds one canonical JSON object per line: a header, then windows, latencies,
predictions and observations. The certificate binds it by digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import rfc8785

from certify.core.canonical_json import canonical_record, is_canonical
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import (
    ARMS,
    Evidence,
    Header,
    Latencies,
    Observation,
    Prediction,
)
from certify.core.files import write_bytes
from certify.core.validation import read_known, validated
from certify.core.windows import Window

EVIDENCE_VERSION = 1
MAX_LINE_BYTES = 16 * 1024 * 1024
AT_ONCE = 64
"""Predictions that are checked in one go: one number that needs the slow writer slows no more lines than these."""
_PREDICTION = b'{"baseline_margin":'
"""First bytes of a prediction's line."""
_KEYS = {"kind", *(field.name for field in fields(Prediction))}

T = TypeVar("T")


def evidence_lines(evidence: Evidence) -> Iterator[bytes]:
    """Yield canonical JSON lines, without line ends."""
    yield _line("header", {"version": EVIDENCE_VERSION, **asdict(evidence.header)})
    for kind, records in (
        ("window", evidence.windows),
        ("latencies", evidence.latencies),
        ("prediction", evidence.predictions),
    ):
        for record in records:
            # Without asdict, which copies deeply: nothing in these records is a record.
            yield canonical_record({"kind": kind, **vars(record)})
    for observation in evidence.observations:
        yield _line("observation", asdict(observation))


def evidence_bytes(evidence: Evidence) -> bytes:
    """Return the bytes of the whole file."""
    return b"".join(line + b"\n" for line in evidence_lines(evidence))


def write_evidence(evidence: Evidence, path: Path) -> str:
    """Write an evidence file and return its hex SHA-256."""
    content = evidence_bytes(evidence)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _line(kind: str, values: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps({"kind": kind, **values})


def read_evidence(path: Path) -> Evidence:
    """Read an evidence file.

    Raises:
        CertificateError: a line is not canonical JSON of a known kind, or a record is malformed.
        OSError: the file cannot be read.
    """
    return parse_evidence(path.read_bytes(), str(path))


def parse_evidence(content: bytes, name: str = "evidence") -> Evidence:
    """Parse the bytes of an evidence file; see :func:`read_evidence`."""
    header: Header | None = None
    records: dict[str, list[Any]] = {kind: [] for kind in _RECORDS}
    if not content.endswith(b"\n"):
        raise CertificateError(f"{name} does not end with a newline, so it is truncated.")
    lines = content[:-1].split(b"\n")
    predictions = _predictions(lines)
    for number, line in enumerate(lines, start=1):
        if number in predictions:
            records["prediction"].append(predictions[number])
            continue
        place = f"{name}, line {number}"
        try:
            values = _parse_line(line)
            kind = values.pop("kind", None)
            if kind == "header" and number == 1:
                header = _header(values, place)
            elif kind in _RECORDS and number > 1:
                records[kind].append(_record(_RECORDS[kind], values, place))
            else:
                raise ValueError(f"a record of kind {kind!r} is not allowed here")
        except UsageError as error:
            raise CertificateError(str(error)) from error
        # Hostile lines may be nested deeper than Python's stack, or hold numbers beyond a double.
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise CertificateError(f"{place}: not a valid evidence record: {error}") from error
    if header is None:
        raise CertificateError(f"{name} has no header.")
    return Evidence(header, *(tuple(records[kind]) for kind in _RECORDS))


def _predictions(lines: Sequence[bytes]) -> dict[int, Prediction]:
    """Return the valid predictions by the number of their line, for many lines at once.

    Lines that belong to a group with an invalid one are left out; parsed one by one, they give the error.
    """
    found: dict[int, Prediction] = {}
    # The first line is the header.
    numbers = [i for i, line in enumerate(lines, start=1) if i > 1 and line.startswith(_PREDICTION)]
    for start in range(0, len(numbers), AT_ONCE):
        group = numbers[start : start + AT_ONCE]
        texts = [lines[number - 1] for number in group]
        if sum(map(len, texts)) > MAX_LINE_BYTES:  # parsed, they need many times the memory
            continue
        with contextlib.suppress(ValueError, RecursionError, OverflowError):
            values = [json.loads(text) for text in map(bytes.decode, texts)]
            content = b"[" + b",".join(texts) + b"]"
            # Each line is an object, which ends at its last brace, so the list is canonical only if every line is.
            if all(value.keys() == _KEYS and value["kind"] == "prediction" for value in values) and is_canonical(
                values, content
            ):
                found.update(zip(group, read_known(list[Prediction], content), strict=True))
    return found


def _parse_line(line: bytes) -> dict[str, Any]:
    # Checked before parsing, which needs many times the memory of the raw bytes.
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("the line is too long")
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if not is_canonical(values, line):
        raise ValueError("not canonical JSON (RFC 8785)")
    return values


_RECORDS: dict[str, type] = {
    "window": Window,
    "latencies": Latencies,
    "prediction": Prediction,
    "observation": Observation,
}


def _record(kind: type[T], values: dict[str, Any], place: str) -> T:
    record = validated(kind, values, kind.__name__.lower(), lambda *_: place)
    _require_all(record, values)
    return record


def _require_all(record: object, values: Mapping[str, Any]) -> None:
    """Require every field: defaults are only for constructing records, not for files."""
    if missing := vars(record).keys() - values.keys():
        raise ValueError(f"field {min(missing)!r} is missing")


def _header(values: dict[str, Any], place: str) -> Header:
    version = values.pop("version", None)
    if version != EVIDENCE_VERSION:
        raise ValueError(
            f"evidence version {version!r} is not supported (supported: {EVIDENCE_VERSION}); use another version of "
            "leanmark"
        )
    header = _record(Header, values, place)
    if set(header.models) != set(ARMS):
        raise ValueError("'models' must have exactly the arms baseline and candidate")
    _require_all(header.workload, values["workload"])
    if header.meter is not None:
        _require_all(header.meter, values["meter"])
    for arm, facts in header.models.items():
        _require_all(facts, values["models"][arm])
    return header
