"""Record files: read as they were written, split in two, and refused where they are malformed or forged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from certify.assessments.privacy.assessment import Privacy
from certify.assessments.privacy.record_file import dump_records, parse_records
from certify.assessments.privacy.records import Records, touches_of
from certify.assessments.privacy.withholding import join, withhold, write
from certify.core.errors import CertificateError
from certify.core.private_data import DataKey
from certify.testing import check_assessment

sys.path.insert(0, str(Path(__file__).parent))

from honest_privacy import KEY, honest, pate


@pytest.mark.parametrize("make", [honest, pate])
def test_privacy_passes_the_battery(make: Callable[..., Records]) -> None:
    public, _ = withhold(make(), KEY)
    check_assessment(Privacy(), dump_records(public), "2026")


@pytest.mark.parametrize("make", [honest, pate])
def test_records_read_back_the_same_when_written(make: Callable[..., Records]) -> None:
    for records in (make(), withhold(make(), KEY)[0]):
        assert parse_records(dump_records(records), "records") == records


def test_nothing_withheld_appears_in_public() -> None:
    whole = honest()
    public = dump_records(withhold(whole, KEY)[0])
    values = [json.loads(line) for line in public.splitlines()]
    assert values[0]["units"] is None and all(line["kind"] not in ("batches", "members") for line in values)
    assert b"3000" not in public and b"0.2" not in public and b"600" not in public
    assert not any(one.encode() in public for part in whole.members for one in part.ids)


def test_both_files_are_written_and_joined(tmp_path: Path) -> None:
    whole = honest()
    write(whole, tmp_path / "privacy.jsonl", tmp_path / "auditor" / "privacy.jsonl", KEY)
    public = parse_records((tmp_path / "privacy.jsonl").read_bytes(), "public")
    joined = join(public, (tmp_path / "auditor" / "privacy.jsonl").read_bytes(), KEY)
    assert replace(joined, header=replace(joined.header, auditor=None)) == whole


FORGED: dict[str, Callable[[Records], Records]] = {
    "the noise": lambda r: replace(r, sgd=(replace(r.sgd[0], noise_multiplier=9.0),)),
    "the claim": lambda r: replace(r, header=replace(r.header, claimed_epsilon=1.0)),
    "a touch": lambda r: replace(r, touches=r.touches[:1]),
    "a source": lambda r: replace(r, sources=r.sources[:1]),
    "the number of units": lambda r: replace(r, header=replace(r.header, units=10**6)),
}


@pytest.mark.parametrize("what", FORGED)
def test_public_records_fail_derivation_when_they_were_forged(what: str) -> None:
    public, content = withhold(honest(), KEY)
    with pytest.raises(CertificateError, match="do not follow from the auditor file"):
        join(FORGED[what](public), content, KEY)


def test_auditor_file_is_not_joined_when_another_key_made_it() -> None:
    public, content = withhold(honest(), KEY)
    with pytest.raises(CertificateError, match="do not follow"):
        join(public, content, DataKey.new())


def altered(change: Callable[[list[Any]], object]) -> bytes:
    lines = [json.loads(line) for line in dump_records(honest()).splitlines()]
    change(lines)
    return b"".join(rfc8785.dumps(line) + b"\n" for line in lines)


MALFORMED: dict[str, tuple[str, Callable[[list[Any]], object]]] = {
    "another version": ("version 2", lambda v: v[0].update(version=2)),
    "no header": ("is not allowed here", lambda v: v.pop(0)),
    "two headers": ("is not allowed here", lambda v: v.append(v[0])),
    "an unknown kind": ('"noise" is not allowed', lambda v: v[1].update(kind="noise")),
    "records out of order": ("the order is header", lambda v: v.append(v[1])),
    "an epsilon of 0": ("claimed_epsilon", lambda v: v[0].update(claimed_epsilon=0.0)),
    "a delta of 1": ("delta", lambda v: v[0].update(delta=1.0)),
    "noise of 0": ("noise_multiplier", lambda v: v[1].update(noise_multiplier=0.0)),
    "a rate above 1": ("rate", lambda v: v[1]["sampling"].update(rate=1.5)),
    "no steps": ("steps", lambda v: v[1].update(steps=0)),
    "an unknown adjacency": ("adjacency", lambda v: v[0].update(adjacency="any")),
    "no private part": ("name a private split", lambda v: v[0].update(private_parts=[])),
    "a missing field": ("'microbatch'", lambda v: v[1].pop("microbatch")),
    "an unknown field": ("colour", lambda v: v[1].update(colour="red")),
    "a model without a digest": ("must identify its model", lambda v: v[0].update(model={"sha256": "ab" * 32})),
    "a digest of a lineage that is none": ("lineage", lambda v: v[0].update(lineage="x")),
    "an auditor file that is not bound": ("auditor file", lambda v: v[0].update(auditor={"sha256": "ab" * 32})),
    "two mechanisms of one id": ("have the same id", lambda v: v.insert(1, v[1])),
    "a negative batch": ("sizes", lambda v: _batches(v)["sizes"].__setitem__(0, -1)),
}


def _batches(values: list[Any]) -> Any:
    return next(line for line in values if line["kind"] == "batches")


@pytest.mark.parametrize("what", MALFORMED)
def test_records_are_refused_when_they_are_malformed(what: str) -> None:
    sentence, change = MALFORMED[what]
    with pytest.raises(CertificateError, match=sentence):
        parse_records(altered(change), "records")


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\n", b"[]\n", b"\xff\n", dump_records(honest())[:-1]])
def test_records_are_refused_when_they_are_not_records(content: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_records(content, "records")


def test_touches_are_unknown_when_a_step_of_the_lineage_states_none() -> None:
    lineage = {"baseline": {}, "rows": [{"pass": "prune", "touched": {"train": ["raw"]}}], "export": {"touched": {}}}
    assert [(one.step, one.part, one.how) for one in touches_of(lineage)] == [
        ("baseline", "*", ("unknown",)), ("0 prune", "train", ("raw",)),
    ]  # fmt: skip


def test_touches_of_a_search_are_unknown() -> None:
    found = touches_of({"search": {"trials": 12}, "baseline": {"touched": {}}, "rows": [], "export": None})
    assert [(one.step, one.part, one.how) for one in found] == [("search", "*", ("unknown",))]


def test_data_key_is_readable_by_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "data.key"
    key = DataKey.new()
    key.write(path)
    assert DataKey.read(path) == key and path.stat().st_mode & 0o077 == 0
    assert key.secret.hex() not in repr(key) and DataKey.new() != key
    with pytest.raises(Exception, match="are never overwritten"):
        key.write(path)
    for content in ("", "00" * 32, "leanmark-data-key:00", "leanmark-data-key:zz"):
        path.write_text(content)
        with pytest.raises(Exception, match="is not a data key file"):
            DataKey.read(path)
