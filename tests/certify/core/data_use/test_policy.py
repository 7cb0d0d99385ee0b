"""Policies, decisions, chains, receipts and proofs: what is malformed or altered is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from governed_data import (
    END,
    KEY,
    LATER,
    MARKETING,
    RESEARCH,
    SAMPLES,
    START,
    Clock,
    governed,
    identifiers_of,
    policy,
    receipt,
    write_data,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.data_use.chain import START as EMPTY
from certify.core.data_use.chain import append, chained, parse_chain, read_chain
from certify.core.data_use.consent import Receipt, Register
from certify.core.data_use.decision import Request, decide
from certify.core.data_use.folder import UseFolder
from certify.core.data_use.guard import Guard, Use, using
from certify.core.data_use.merkle import Absence, prove_absence, root_of
from certify.core.data_use.policy import Rule, UsePolicy
from certify.core.data_use.vocabulary import Action, purpose
from certify.core.errors import CertificateError, NotPermittedError, UsageError
from certify.core.private_data import DataKey
from certify.data import Placed, load
from certify.workflows.data_governance import add_receipts, bind_policy

IDS = [f"{n:02x}" * 32 for n in range(9)]
TERMS = {
    "name": "digits", "controller": "Clinic", "contact": "privacy@example.org", "legal_basis": "dpv:PublicInterest",
    "consent": "unless-withdrawn", "withdrawal": "by letter", "issued": START,
    "permissions": [{"actions": ["evaluate"], "purposes": ["dpv:ResearchAndDevelopment"]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "request_", "permitted"),
    [
        ({}, Request("train", RESEARCH, "", LATER), True),
        ({}, Request("train", MARKETING, "", LATER), False),
        ({}, Request("distil", RESEARCH, "", LATER), False),
        ({}, Request("train", RESEARCH, "", END), False),
        ({}, Request("train", RESEARCH, "", "2025-12-31T23:59:59Z"), False),
        ({"retention": LATER}, Request("train", RESEARCH, "", LATER), False),
        ({"permissions": (Rule(("train",), (RESEARCH,), ("uni",)),)}, Request("train", RESEARCH, "", LATER), False),
        ({"permissions": (Rule(("train",), (RESEARCH,), ("uni",)),)}, Request("train", RESEARCH, "uni", LATER), True),
        ({"permissions": (Rule(("train",), (RESEARCH,)),)},
         Request("train", "dpv:ResearchAndDevelopment", "", LATER), False),
        ({"prohibitions": (Rule(("train",), (RESEARCH,)),)},
         Request("train", "dpv:ResearchAndDevelopment", "", LATER), False),
        ({"permissions": (Rule(("sell",), (RESEARCH,)),)}, Request("sell", RESEARCH, "", LATER), False),
        ({"permissions": (Rule(("sell",), (RESEARCH,)),), "no_sale": False},
         Request("sell", RESEARCH, "", LATER), True),
    ],
)  # fmt: skip
def test_policy_decides_by_its_rules(changed, request_: Request, permitted: bool) -> None:
    assert decide(policy(IDS, **changed), request_).permitted is permitted


def test_guard_refuses_what_it_permitted_when_the_policy_expires(tmp_path: Path) -> None:
    spec, use, _ = governed(tmp_path)
    clock = Clock()
    guard = Guard(use, Use(RESEARCH, "", KEY), clock)
    guard.require("train")
    clock.time = END
    with pytest.raises(NotPermittedError, match="does not permit train"):
        guard.require("train")


def test_load_refuses_governed_data_when_no_purpose_is_given(tmp_path: Path) -> None:
    spec, _, _ = governed(tmp_path)
    with pytest.raises(NotPermittedError, match="--purpose"):
        load(spec)
    with using(Use(MARKETING, "", KEY)), pytest.raises(NotPermittedError, match="prohibits train"):
        load(spec)
    with using(Use(RESEARCH, "", KEY)):
        assert len(load(spec).test) > 0


def test_load_finds_the_policy_when_the_parts_are_in_other_files(tmp_path: Path) -> None:
    first, second = (write_data(tmp_path / name).partition(":")[2] for name in ("a.npz", "b.npz"))
    bind_policy(f"npz:train={first},test={second}", TERMS, KEY)
    for spec in (f"npz:test={second}", f"npz:{second}", f"npz:train={second},test={first}"):
        with pytest.raises(NotPermittedError, match="--purpose"):
            load(spec)


def in_memory() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 255, (SAMPLES, 8, 8), dtype=np.uint8), np.arange(SAMPLES) % 2


def test_data_of_a_program_are_governed_when_they_have_a_location(tmp_path: Path) -> None:
    data = Placed(in_memory(), tmp_path / "digits")
    assert len(load(data).test) > 0  # no policy yet
    folder, _ = bind_policy(data, TERMS, KEY)
    assert folder.path == tmp_path / "digits.use" and not (tmp_path / "digits").exists()
    for each in (data, lambda: data):
        with pytest.raises(NotPermittedError, match="--purpose"):
            load(each)
        with using(Use(MARKETING, "", KEY)), pytest.raises(NotPermittedError):
            load(each)
        with using(Use(RESEARCH, "", KEY)):
            loaded = load(each)
            assert loaded.test.guard is not None and len(loaded.test.labels) > 0
    assert load(in_memory()).test.guard is None


def test_record_of_a_program_is_left_out_when_it_was_withdrawn(tmp_path: Path) -> None:
    data = Placed(in_memory(), tmp_path / "digits")
    withdrawn = load(data).test.keyed(KEY).digests()[0]
    folder, _ = bind_policy(data, TERMS, KEY)
    folder.add([receipt([withdrawn], "withdrawn")])
    with using(Use(RESEARCH, "", KEY)):
        assert withdrawn not in load(data).test.identifiers


def test_bind_says_how_to_give_data_of_a_program_a_location() -> None:
    with pytest.raises(UsageError, match="certify.data.Placed"):
        bind_policy("digits.module:function", TERMS, KEY)


@pytest.mark.parametrize("name", ["policy.json", "records.txt", "journal.jsonl", "consent.jsonl"])
@pytest.mark.parametrize("how", ["altered", "cut"])
def test_load_stops_when_a_file_next_to_the_data_was_altered_or_truncated(tmp_path: Path, name: str, how: str) -> None:
    spec, use, parts = governed(tmp_path)
    use.add([receipt(parts["train"][:1]), receipt(parts["train"][1:2])])
    with using(Use(RESEARCH, "", KEY)):
        load(spec).test.image(0)
        path = use.path / name
        lines = path.read_bytes().splitlines(keepends=True)
        digit = b"8" if b"7" in lines[0] else b"7"
        lines[0] = lines[0].replace(b"7", b"8", 1) if digit == b"8" else lines[0].replace(b"8", b"7", 1)
        path.write_bytes(b"".join(lines if how == "altered" else path.read_bytes().splitlines(keepends=True)[:-1]))
        if (name, how) == ("journal.jsonl", "cut"):
            return  # a decision less, which only the head in a signed statement tells
        with pytest.raises(CertificateError):
            load(spec)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(entries=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), min_size=2, max_size=6),
       data=st.data())  # fmt: skip
def test_chain_breaks_when_any_line_is_altered_moved_or_removed(entries, data) -> None:
    log = chained([{"kind": "x", **one} for one in entries])
    lines = log.content().splitlines(keepends=True)
    assert parse_chain(log.content(), "log").heads == log.heads
    at = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(["alter", "remove", "double"]))
    altered = {
        "alter": [*lines[:at], lines[at].replace(b'"x"', b'"y"'), *lines[at + 1 :]],
        "remove": [*lines[:at], *lines[at + 1 :]],
        "double": [*lines[: at + 1], *lines[at:]],
    }[kind]
    try:
        found = parse_chain(b"".join(altered), "log")
    except CertificateError:
        return
    assert found.head != log.head and at == len(lines) - 1  # at the end, the head that was signed tells


def test_append_writes_nothing_when_the_log_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    append(path, {"kind": "a"}, {"kind": "b"})
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"c"'))
    before = path.read_bytes()
    with pytest.raises(CertificateError, match="does not follow"):
        append(path, {"kind": "d"})
    assert path.read_bytes() == before and read_chain(tmp_path / "none").head == EMPTY


@settings(max_examples=80, deadline=None, derandomize=True)
@given(ids=st.sets(st.integers(0, 60), max_size=20), asked=st.integers(0, 60), other=st.integers(0, 60))
def test_absence_is_proved_when_and_only_when_the_identifier_is_missing(ids, asked, other) -> None:
    names = [f"{one:064x}" for one in ids]
    proof = prove_absence(f"{asked:064x}", names)
    assert (proof is None) == (asked in ids)
    if proof is None:
        return
    root = root_of(names)
    again = Absence.from_json(json.loads(json.dumps(proof.to_json())))
    assert again.holds(f"{asked:064x}", root) and not again.holds(f"{asked:064x}", root_of([*names, f"{asked:064x}"]))
    if other in ids:
        assert not again.holds(f"{other:064x}", root)
    assert not replace(again, size=again.size + 1).holds(f"{asked:064x}", root)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({"retention": "2026-01-02T00:00:00Z"}, "expired at"),
        ({"legal_basis": "dpv:Whim"}, "legal_basis"),
        ({"legal_basis": "dpv:Consent"}, "must be 'required'"),
        ({"consent": "maybe"}, "consent"),
        ({"permissions": [{"actions": ["eat"], "purposes": ["dpv:Marketing"]}]}, "actions"),
        ({"permissions": [{"actions": ["train"], "purposes": ["fun"]}]}, "must be a known DPV term"),
        ({"issued": "yesterday"}, "issued"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bind_writes_nothing_when_the_terms_are_not_valid(tmp_path: Path, terms, sentence: str) -> None:
    spec = write_data(tmp_path / "digits.npz")
    with pytest.raises(UsageError, match=sentence):
        bind_policy(spec, {**TERMS, **terms}, KEY)
    assert not UseFolder.beside(tmp_path / "digits.npz").path.exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"pii_records": ["abc"]}, "by keyed identifiers"),
        ({"pii_records": []}, "at least one record"),
        ({"pii_records": ["ff" * 32]}, "not bound to the record"),
        ({"event_time": "soon"}, "times such as"),
        ({"purposes": []}, "explicit consent"),
        ({"lawful_basis": "dpv:Contract"}, "lawful_basis"),
        ({"name": "Ada"}, "name"),
    ],
)
def test_receipts_are_all_refused_when_one_is_malformed(tmp_path: Path, changed, sentence: str) -> None:
    spec, use, parts = governed(tmp_path)
    good = {**receipt(parts["train"][:1]).to_json(), "pii_principal_id": "ada@example.org"}
    with pytest.raises(UsageError, match=sentence):
        add_receipts(spec, [good, {**good, **changed}], "receipts.json", KEY)
    assert not use.consent_path.exists()
    register = add_receipts(spec, [good], "receipts.json", KEY)
    assert b"ada" not in use.consent_path.read_bytes() and len(register.receipts) == 1


def test_consent_of_both_people_is_needed_when_a_record_is_about_two() -> None:
    grace = {"pii_principal_id": KEY.keyed("grace")}
    first, second = receipt(IDS[:1]), receipt(IDS[:1], "withdrawn", LATER, **grace)
    register = Register.of(chained([first.to_json(), second.to_json()]), "consent")
    assert not register.allows(IDS[0], "train", RESEARCH, LATER, required=True)
    assert register.withdrawn(LATER) == {IDS[0]}


def test_guard_refuses_another_data_key_when_created(tmp_path: Path) -> None:
    _, use, _ = governed(tmp_path)
    with pytest.raises(UsageError, match="a different data key"):
        Guard(use, Use(RESEARCH, "", DataKey(bytes(32))))


def test_error_names_the_nearest_purpose_when_it_is_unknown() -> None:
    with pytest.raises(UsageError, match="research"):
        purpose("reserch")


def test_policy_keeps_its_digest_when_written_and_read() -> None:
    bound_policy = policy(IDS)
    assert UsePolicy.parse(bound_policy.content(), "p").digest == bound_policy.digest
    with pytest.raises(CertificateError, match="canonical"):
        UsePolicy.parse(b" " + bound_policy.content(), "p")


def test_bound_records_are_found_by_their_bytes_alone(tmp_path: Path) -> None:
    spec = write_data(tmp_path / "digits.npz")
    folder, made = bind_policy(spec, TERMS, KEY)
    every = [one for ones in identifiers_of_bound(spec).values() for one in ones]
    assert made.data.root == root_of(every) and set(folder.records(made)) == set(every)


def identifiers_of_bound(spec: str) -> dict[str, list[str]]:
    with using(Use(RESEARCH, "", KEY)):
        return identifiers_of(spec)


def test_new_consent_opens_only_what_it_names_when_it_follows_a_withdrawal() -> None:
    record = "ab" * 32
    gave, left = receipt([record]), receipt([record], "withdrawn", LATER)
    again = receipt([record], time="2026-07-01T00:00:00Z", processing=("evaluate",))

    def may(*receipts: Receipt, action: Action = "evaluate", time: str = "2026-08-01T00:00:00Z") -> bool:
        register = Register.of(chained([one.to_json() for one in receipts]), "consent.jsonl")
        return register.allows(record, action, RESEARCH, time, required=False)

    assert may() and may(gave) and may(gave, action="finetune") and not may(gave, left)
    assert may(gave, left, again) and not may(gave, left, again, action="train")
    assert not may(gave, left, again, time="2026-06-15T00:00:00Z"), "it has not begun"
    register = Register.of(chained([one.to_json() for one in (gave, left, again)]), "consent.jsonl")
    assert register.withdrawn("2026-06-15T00:00:00Z") == {record} and not register.withdrawn("2026-08-01T00:00:00Z")
    assert not register.is_withdrawn(record), "forgetting must withdraw it once more"
