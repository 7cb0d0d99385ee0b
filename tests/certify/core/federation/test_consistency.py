"""Every check holds on honest runs, and each fails alone where one thing is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from honest_run import CLIENTS, IDS, SERVER, STRANGER, build, changing, digest_of, entry_of, opening, payload
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import CertificateError
from certify.core.federation import (
    Begin,
    Drop,
    End,
    Enrolment,
    Entry,
    FederatedRun,
    Mask,
    Payload,
    Round,
    Run,
    Update,
    parse_run,
)
from certify.core.federation.consistency import CHECKS, problems


def failing(run: FederatedRun) -> set[str]:
    return {name for name in CHECKS if problems(run, name)}


def masked() -> Run:
    return opening(mask_threshold=4)


@pytest.mark.parametrize("run", [opening(), masked()], ids=["clear", "masked"])
@pytest.mark.parametrize("away", [set(), {(2, 0), (2, 3)}], ids=["all", "two away"])
def test_every_check_holds_when_a_run_is_honest(run: Run, away: set[tuple[int, int]]) -> None:
    assert failing(build(run, away)) == set()


def signer(kind: type[Any]) -> Callable[..., FederatedRun]:
    return lambda: build(key=lambda message, own: STRANGER if type(message) is kind else own)


def without(*fragments: bytes) -> Callable[..., FederatedRun]:
    return lambda: build(lines=lambda lines: [one for one in lines if not all(part in one for part in fragments)])


def swapped(at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def edited(*edits: Any, run: Run | None = None, away: set[tuple[int, int]] | None = None) -> Callable[[], FederatedRun]:
    def all_of(message: Any) -> Any:
        for edit in edits:
            message = edit(message)
        return message

    return lambda: build(run, away or set(), all_of)


SENT = Payload("11" * 32, 5000)
BREAKS: list[tuple[str, str, Callable[[], FederatedRun]]] = [
    ("signatures", "opening", signer(Run)),
    ("signatures", "start", signer(Begin)),
    ("signatures", "close", signer(Round)),
    ("signatures", "end", signer(End)),
    ("signatures", "entry", signer(Entry)),
    ("signatures", "enrolment", signer(Enrolment)),
    ("chain_unbroken", "another line before a round", edited(changing(Begin, 2, previous="00" * 32))),
    ("chain_unbroken", "another start before a close", edited(changing(Round, 2, previous="00" * 32))),
    ("chain_unbroken", "another line before the end", edited(changing(End, previous="00" * 32))),
    ("chain_unbroken", "model changed between rounds", edited(changing(Begin, 2, model="00" * 32))),
    ("chain_unbroken", "nonce of a close", edited(changing(Round, 2, nonce="00" * 32))),
    ("chain_unbroken", "attempt skipped", edited(changing(Begin, 2, attempt=2))),
    ("chain_unbroken", "nonce twice", edited(
        changing(Begin, 2, nonce=digest_of("nonce 1")), changing(Round, 2, nonce=digest_of("nonce 1")))),
    ("chain_unbroken", "time runs back", edited(changing(Begin, 2, started="2026-11-26T09:01:00Z"))),
    ("chain_unbroken", "closed before it began", edited(changing(Round, 2, closed="2026-11-26T09:01:00Z"))),
    ("chain_unbroken", "ended before", edited(changing(End, ended="2026-11-26T09:01:00Z"))),
    ("chain_unbroken", "enrolment not named", edited(changing(Round, 1, joined=()))),
    ("chain_unbroken", "end of another run", edited(changing(End, run="00" * 32))),
    ("entries_once", "entry not named", edited(changing(Round, 2, entries=()))),
    ("entries_once", "dropped unsaid", edited(changing(Round, 2, dropped=()), away={(2, 0)})),
    ("entries_once", "never selected", edited(changing(Begin, 2, selected=tuple(IDS[1:])))),
    ("entries_once", "old nonce", edited(changing(Entry, 2, nonce=digest_of("nonce 1")))),
    ("entries_once", "other round", edited(changing(Entry, 2, number=1))),
    ("as_announced", "population", edited(run=opening(population=5))),
    ("as_announced", "rounds", edited(run=opening(rounds=2))),
    ("as_announced", "policy", edited(changing(Entry, 2, policy="00" * 32))),
    ("sizes_add_up", "too large", edited(changing(Entry, 2, sent=SENT))),
    ("sizes_add_up", "too small", edited(changing(Entry, 2, sent=Payload("11" * 32, 999)))),
    ("sizes_add_up", "another model received", edited(changing(Entry, 2, received=Payload("11" * 32, 4000)))),
    ("sizes_add_up", "bytes up", edited(changing(Round, 2, bytes_up=1))),
    ("sizes_add_up", "bytes down", edited(changing(Round, 2, bytes_down=1))),
    ("masks_complete", "no masks", edited(changing(Begin, 2, groups=()), run=masked())),
    ("masks_complete", "masks without a form", edited(changing(Begin, 2, groups=(tuple(IDS),)))),
    ("masks_complete", "group lacks one", edited(changing(Begin, 2, groups=(tuple(IDS[1:]),)), run=masked())),
    ("masks_complete", "lost client in no group", edited(
        changing(Begin, 2, groups=(tuple(IDS[1:]),)), changing(Round, 2, recovered=()), run=masked(), away={(2, 0)})),
    ("masks_complete", "entry without", edited(changing(Entry, 2, mask=None), run=masked())),
    ("masks_complete", "other peers", edited(changing(Entry, 2, mask=Mask("00" * 32, 400, 800)), run=masked())),
    ("masks_complete", "not recovered", edited(changing(Round, 2, recovered=()), run=masked(), away={(2, 0)})),
    ("masks_complete", "opened of one who answered", edited(changing(Round, 2, recovered=(IDS[0],)), run=masked())),
    ("masks_complete", "too few", edited(run=masked(), away={(2, 0), (2, 1), (2, 2)})),
    ("masks_complete", "recovered without masks", edited(changing(Round, 2, recovered=(IDS[0],)))),
    ("masks_complete", "recovered a stranger", edited(
        changing(Round, 2, recovered=(IDS[0], "ff" * 32)), run=masked(), away={(2, 0)})),
    ("final_model", "no end", without(b'"kind":"end"')),
    ("final_model", "another model", edited(changing(End, model="00" * 32))),
    ("final_model", "another number", edited(changing(End, rounds=2))),
]  # fmt: skip
MAY_ALSO_FAIL = {"nonce of a close": {"entries_once"}}


@pytest.mark.parametrize(("check", "what", "make"), BREAKS, ids=[f"{a}: {b}" for a, b, _ in BREAKS])
def test_one_check_alone_fails_when_one_thing_is_changed(
    check: str, what: str, make: Callable[[], FederatedRun]
) -> None:
    assert failing(make()) - MAY_ALSO_FAIL.get(what, set()) == {check}


def altered(run: FederatedRun, number: int, **changes: Any) -> FederatedRun:
    """A run one of whose rounds holds other lines, as only a reader without checks would take it."""
    rounds = [replace(each, **changes) if each.begin.number == number else each for each in run.rounds]
    return replace(run, rounds=tuple(rounds))


def test_entry_fails_when_its_client_never_enrolled() -> None:
    run = build()
    found = altered(run, 1, joined=run.rounds[0].joined[1:])
    assert "which never enrolled" in problems(found, "signatures")[0]


def test_enrolment_fails_when_it_comes_twice_or_after_the_client_was_selected() -> None:
    run = build()
    joined = run.rounds[0].joined
    assert "A client enrolled twice" in problems(altered(run, 2, joined=joined[:1]), "chain_unbroken")
    late = altered(altered(run, 1, joined=joined[1:]), 2, joined=joined[:1])
    assert problems(late, "entries_once") == ["A client was selected for round 1 before it enrolled"]


def test_entries_fail_when_they_stand_out_of_the_order_of_their_clients() -> None:
    run = build()
    second = run.rounds[1]
    entries = (second.entries[1], second.entries[0], *second.entries[2:])
    close = replace(second.close, message=replace(second.close.message, entries=tuple(one.digest for one in entries)))
    found = problems(altered(run, 2, entries=entries, close=close), "entries_once")
    assert found == ["A client has two entries in round 2, or its entries are out of order"]


def test_every_check_is_broken_by_a_test() -> None:
    assert {check for check, _, _ in BREAKS} == set(CHECKS)


@pytest.mark.parametrize("kind", [b'"kind":"client"', b'"kind":"entry"', b'"kind":"begin"', b'"kind":"round"'])
def test_run_is_not_accepted_when_a_line_is_taken_out(kind: bytes) -> None:
    whole = build()
    lines = list(whole.lines())
    for at in (at for at, line in enumerate(lines) if kind in line):
        try:
            cut = parse_run(b"".join(line + b"\n" for line in [*lines[:at], *lines[at + 1 :]]), "run")
        except CertificateError:
            continue
        assert failing(cut), at


@settings(max_examples=60)
@given(st.data())
def test_run_is_not_accepted_when_two_lines_change_places(data: st.DataObject) -> None:
    lines = list(build().lines())
    first = data.draw(st.integers(0, len(lines) - 2))
    second = data.draw(st.integers(first + 1, len(lines) - 1))
    lines[first], lines[second] = lines[second], lines[first]
    try:
        moved = parse_run(b"".join(line + b"\n" for line in lines), "run")
    except CertificateError:
        return
    assert failing(moved)


def test_entry_of_a_stranger_is_found_when_the_server_adds_it() -> None:
    run = opening()

    def add(message: Any) -> Any:
        if type(message) is Entry and message.number == 2 and message.client == IDS[0]:
            return entry_of(run, Begin(run.run, 2, 1, message.nonce, "00" * 32, "2026-11-26T09:02:00Z", "00" * 32,
                                       payload(2), tuple(IDS)), IDS[1])  # fmt: skip
        return message

    found = failing(build(edit=add, key=lambda message, own: CLIENTS[1] if getattr(message, "client", "") == IDS[1]
                          else own))  # fmt: skip
    assert found == {"entries_once"}


def test_sums_count_the_model_that_a_lost_client_received_and_not_one_that_declined() -> None:
    lost = build(away={(2, 0)}).rounds[1].close.message
    assert lost.bytes_down == 6 * 4000 and lost.bytes_up == 5 * 1008

    def declines(message: Any) -> Any:
        if type(message) is Round and message.number == 2:
            return replace(message, dropped=(Drop(IDS[0], "busy"),), bytes_down=5 * 4000)
        return message

    assert failing(build(edit=declines, away={(2, 0)})) == set()


def test_server_that_opens_its_run_is_the_one_who_signs() -> None:
    assert build().opening.signed_by(SERVER.public)


def test_bounds_of_an_answer_hold_its_values_and_overhead() -> None:
    update = Update("top-k", 3, 3, 10)
    assert (update.least_bytes, update.most_bytes) == (2, 12)
