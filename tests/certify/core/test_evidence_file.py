from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core import evidence_file
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.evidence_file import evidence_bytes, parse_evidence, read_evidence, write_evidence
from certify.core.files import sha256_file


def test_evidence_survives_its_file(evidence: Evidence, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    digest = write_evidence(evidence, path)
    assert digest == sha256_file(path)
    again = read_evidence(path)
    assert again == evidence
    assert evidence_bytes(again) == path.read_bytes()


def test_evidence_without_a_meter_survives_its_file(evidence: Evidence) -> None:
    bare = dataclasses.replace(evidence, header=dataclasses.replace(evidence.header, meter=None))
    assert parse_evidence(evidence_bytes(bare)) == bare


def _altered(evidence: Evidence, kind: str, **change: object) -> bytes:
    """The file with fields of the first record of a kind replaced, in canonical JSON."""
    lines = evidence_bytes(evidence).splitlines()
    number = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == kind)
    values = json.loads(lines[number])
    for name, value in change.items():
        if value is None:
            values.pop(name)
        else:
            values[name] = value
    lines[number] = rfc8785.dumps(values)
    return b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("kind", "change", "found"),
    [
        ("window", {"inferences": "ten"}, "inferences"),
        ("window", {"duration_s": True}, "duration_s"),
        ("window", {"surprise": 1}, "surprise"),
        ("window", {"arm": None}, "arm"),
        ("prediction", {"label": 1.5}, "label"),
        ("prediction", {"surprise": 1}, "surprise"),
        ("latencies", {"seconds": ["fast"]}, "seconds"),
        ("observation", {"values": [1]}, "values"),
        ("header", {"version": 99}, "version 99"),
        ("header", {"seed": None}, "seed"),
        ("header", {"models": {}}, "the arms baseline and candidate"),
    ],
)
def test_evidence_is_refused_with_the_field_when_a_record_is_malformed(
    evidence: Evidence, kind: str, change: dict[str, object], found: str
) -> None:
    with pytest.raises(CertificateError, match=found):
        parse_evidence(_altered(evidence, kind, **change))


def _fields(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (name,)
        if name in ("workload", "meter", "models", "baseline", "candidate"):
            yield from ((name, *inner) for inner in _fields(value))


def test_evidence_is_refused_when_any_field_is_missing(evidence: Evidence) -> None:
    lines = evidence_bytes(evidence).splitlines()
    first = {json.loads(line)["kind"]: line for line in reversed(lines)}
    assert len(first) == 5
    for kind, line in first.items():
        for *parents, name in _fields(json.loads(line)):
            values = part = json.loads(line)
            for parent in parents:
                part = part[parent]
            del part[name]
            short = rfc8785.dumps(values)
            content = short if kind == "header" else lines[0] + b"\n" + short
            with pytest.raises(CertificateError, match="line [12]"):
                parse_evidence(content + b"\n")


def test_evidence_is_refused_when_a_line_is_not_canonical(evidence: Evidence) -> None:
    content = evidence_bytes(evidence).replace(b'":', b'": ', 1)
    with pytest.raises(CertificateError, match="line 1: not a valid evidence record: not canonical"):
        parse_evidence(content)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [(b'":', b'": ', "not canonical"), (b'"label":', b'"label":"', "not a valid evidence record"),
     (b'"label":', b'"label":0.5', "label"), (b'"prediction"', b'"window"', "window"),
     (b"}", b"},{}", "not a valid evidence record"), (b"}", b"} ", "not canonical")],
)  # fmt: skip
def test_line_is_named_when_a_prediction_among_many_is_malformed(
    evidence: Evidence, old: bytes, new: bytes, found: str
) -> None:
    lines = evidence_bytes(evidence).splitlines()
    number = next(i for i, line in enumerate(lines) if b'"prediction"' in line) + 101
    lines[number] = lines[number].replace(old, new, 1)
    with pytest.raises(CertificateError, match=f"line {number + 1}: .*{found}"):
        parse_evidence(b"\n".join(lines) + b"\n")


def test_predictions_are_checked_many_at_once_and_not_again(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(evidence_file, "_parse_line", lambda line: read.append(line) or json.loads(line))
    margin = dataclasses.replace(evidence.predictions[0], baseline_margin=1e-7)  # Python writes it in another way
    several = dataclasses.replace(evidence, predictions=(margin, *evidence.predictions[1:]))
    assert parse_evidence(evidence_bytes(several)) == several
    assert not [line for line in read if b'"kind":"prediction"' in line]


def test_evidence_is_refused_when_truncated_or_without_a_header(evidence: Evidence) -> None:
    content = evidence_bytes(evidence)
    with pytest.raises(CertificateError, match="truncated"):
        parse_evidence(content[:-1])
    with pytest.raises(CertificateError):
        parse_evidence(content.split(b"\n", 1)[1])
    with pytest.raises(CertificateError):
        parse_evidence(b"\n")


@pytest.fixture(scope="module")
def one_of_each(evidence: Evidence) -> bytes:
    """The file of a header and one record of each kind: what each changed byte is in is read in a millisecond."""
    kinds = ("windows", "latencies", "predictions", "observations")
    short = dataclasses.replace(evidence, **{kind: getattr(evidence, kind)[:1] for kind in kinds})
    assert all(getattr(short, kind) for kind in kinds)
    return evidence_bytes(short)


@settings(max_examples=200)
@given(draw=st.data())
def test_evidence_raises_only_typed_errors_when_a_byte_changes(one_of_each: bytes, draw: st.DataObject) -> None:
    content = bytearray(one_of_each)
    place = draw.draw(st.integers(0, len(content) - 1))
    content[place] ^= draw.draw(st.integers(1, 255))
    try:
        parsed = parse_evidence(bytes(content))
    except CertificateError:
        return
    assert evidence_bytes(parsed) == bytes(content)
