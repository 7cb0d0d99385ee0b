"""The server's log: what it takes and refuses, and that a kill at any byte leaves whole closed rounds."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from honest_run import CLIENTS, IDS, POLICY, SERVER, STRANGER, answer, digest_of, entry_of, opening, payload

from certify.core.errors import CertificateError, UsageError
from certify.core.federation import (
    Enrolment,
    MessageRefused,
    Payload,
    ReceiptFile,
    RoundLog,
    Run,
    Signed,
    Spent,
    parse_run,
    read_receipts,
    sign,
    unanswered,
)
from certify.core.federation.consistency import CHECKS, problems

SPENT = Spent(0.1)
RUN = opening()
SIZE = RUN.update.least_bytes + 8


def clock() -> Callable[[], str]:
    ticks = itertools.count()
    return lambda: f"2026-11-26T10:{next(ticks):02d}:00Z"


def started(path: Path, run: Run = RUN) -> RoundLog:
    log = RoundLog.create(path, run, SERVER, clock())
    for key in CLIENTS:
        log.enrol(sign(Enrolment(run.run, key.public.hex, POLICY), key).line)
    return log


def entry(log: RoundLog, begin: Any, place: int, **changes: Any) -> tuple[bytes, bytes]:
    made = entry_of(log.run, begin, IDS[place], **changes)
    return sign(made, CLIENTS[place]).line, answer(IDS[place], begin.number, made.sent.bytes)


def play(log: RoundLog, answering: Any = range(6)) -> Any:
    number = log.closed + 1
    begin = log.begin(IDS, payload(number), nonce=digest_of(f"nonce {number} {time.monotonic_ns()}")).message
    receipts = {}
    for place in answering:
        signed = log.examine(*entry(log, begin, place))
        receipts[place] = signed, log.accept(signed)
    log.close(digest_of(f"sum {number}"), digest_of(f"model {number}"), SPENT)
    return receipts


def failing(path: Path) -> dict[str, list[str]]:
    run = parse_run(path.read_bytes(), path.name)
    return {name: found for name in CHECKS if (found := problems(run, name))}


def test_run_passes_every_check_when_the_log_wrote_it(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    play(log)
    play(log, answering=(0, 1, 4))
    log.end(log.model, SPENT)
    assert failing(tmp_path / "run.jsonl") == {}
    second = parse_run((tmp_path / "run.jsonl").read_bytes(), "run").rounds[1].close.message
    assert [one.reason for one in second.dropped] == ["straggler"] * 3


def refused(log: RoundLog, line: bytes, sent: bytes) -> str:
    with pytest.raises(MessageRefused) as found:
        log.examine(line, sent)
    return found.value.reason


def test_messages_are_refused_with_a_reason_and_logged_when_they_are_not_as_they_should_be(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    play(log)
    old = parse_run((tmp_path / "run.jsonl").read_bytes(), "run").rounds[0].begin
    begin = log.begin(IDS[:5], payload(2)).message
    good, sent = entry(log, begin, 0)
    tests = {
        "late": entry(log, old, 1),
        "wrong-round": entry(log, replace(begin, nonce="77" * 32), 1),
        "not-selected": entry(log, begin, 5),
        "signature": (sign(entry_of(RUN, begin, IDS[1]), STRANGER).line, answer(IDS[1], 2, SIZE)),
        "foreign": (sign(replace(entry_of(RUN, begin, IDS[1]), run="00" * 32), CLIENTS[1]).line, b""),
        "malformed": (good, sent[:-1]),
        "oversized": (good, bytes(SIZE + 100)),
    }
    reasons = {name: refused(log, *message) for name, message in tests.items()}
    assert reasons == {name: name for name in tests}
    assert refused(log, b"{}", b"") == "malformed" and refused(log, b"x" * 9000, b"") == "oversized"
    stranger = sign(replace(entry_of(RUN, begin, IDS[1]), client=STRANGER.public.key_id), STRANGER).line
    assert refused(log, stranger, answer(IDS[1], 2, SIZE)) == "foreign"
    other = entry(log, begin, 1, policy=None)
    assert refused(log, *other) == "malformed"
    assert refused(log, *entry(log, begin, 1, received=Payload("00" * 32, 4000))) == "malformed"
    log.accept(log.examine(good, sent))
    assert refused(log, good, sent) == "duplicate"
    log.drop(IDS[2], "lost")
    assert refused(log, *entry(log, begin, 2)) == "duplicate"
    log.refuse("norm", b"x", IDS[3])
    closed = log.close(digest_of("s"), digest_of("m"), SPENT).message
    assert len(closed.refused) == len(tests) + 8 and closed.refused[-1].client == IDS[3]
    assert closed.refused[0].sha256 == hashlib.sha256(tests["late"][0]).hexdigest()
    assert set(failing(tmp_path / "run.jsonl")) == {"final_model"}  # it goes on


def test_enrolments_are_refused_when_unsigned_altered_or_too_many(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl", replace(RUN, population=6))
    again = sign(Enrolment(RUN.run, CLIENTS[0].public.hex, POLICY), CLIENTS[0]).line
    assert log.enrol(again) == IDS[0]
    cases = {
        "duplicate": sign(Enrolment(RUN.run, CLIENTS[0].public.hex, None), CLIENTS[0]).line,
        "foreign": sign(Enrolment(RUN.run, STRANGER.public.hex, None), STRANGER).line,
        "signature": sign(Enrolment(RUN.run, CLIENTS[1].public.hex, POLICY), STRANGER).line,
    }
    for reason, line in cases.items():
        with pytest.raises(MessageRefused) as found:
            log.enrol(line)
        assert found.value.reason == reason


def test_usage_errors_name_what_is_wrong(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    with pytest.raises(UsageError, match="No round is open"):
        log.close("00" * 32, "00" * 32, SPENT)
    with pytest.raises(UsageError, match="has not enrolled"):
        log.begin([STRANGER.public.key_id], payload(1))
    with pytest.raises(UsageError, match="exists"):
        RoundLog.create(tmp_path / "run.jsonl", RUN, SERVER)
    with pytest.raises(UsageError, match="Another process"):
        RoundLog.resume(tmp_path / "run.jsonl", SERVER)
    with pytest.raises(UsageError, match="names the server"):
        RoundLog.create(tmp_path / "other.jsonl", RUN, STRANGER)
    log.end(log.model, SPENT)
    with pytest.raises(CertificateError, match="another server"):
        RoundLog.resume(tmp_path / "run.jsonl", STRANGER)
    with pytest.raises(UsageError, match="has ended"):
        RoundLog.resume(tmp_path / "run.jsonl", SERVER).begin([], payload(1))


def test_log_resumes_at_the_last_closed_round_when_cut_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = started(path)
    play(log)
    play(log, range(2))
    log.begin(IDS, payload(3))
    log.stop()
    whole = path.read_bytes()
    ends = [whole.index(b"\n") + 1]
    for each in parse_run(whole, "run").rounds:
        ends.append(whole.index(each.close.line) + len(each.close.line) + 1)
    for cut in [*range(0, len(whole), 997), *(end + shift for end in ends for shift in (-1, 0, 1))]:
        path.write_bytes(whole[:cut])
        closed = sum(end <= cut for end in ends) - 1
        if closed < 0:
            with pytest.raises(CertificateError):
                RoundLog.resume(path, SERVER, clock())
            continue
        resumed = RoundLog.resume(path, SERVER, clock())
        assert resumed.closed == closed
        for key in CLIENTS:
            resumed.enrol(sign(Enrolment(RUN.run, key.public.hex, POLICY), key).line)
        while resumed.closed < 3:
            play_later(resumed)
        resumed.end(resumed.model, SPENT)
        assert failing(path) == {}, cut


def play_later(log: RoundLog) -> None:
    log._clock = lambda: "2026-11-27T09:00:00Z"
    play(log, range(3))


def test_altered_log_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    log = started(path)
    play(log)
    log.stop()
    path.write_bytes(path.read_bytes().replace(b'"bytes_up":6048', b'"bytes_up":6047'))
    with pytest.raises(CertificateError, match="was altered: The close of round 1 is not signed"):
        RoundLog.resume(path, SERVER)


SERVER_SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_round_log import *
path = Path({path!r})
log = RoundLog.resume(path, SERVER) if path.exists() else RoundLog.create(path, replace(RUN, rounds=100000), SERVER)
for key in CLIENTS:
    log.enrol(sign(Enrolment(RUN.run, key.public.hex, POLICY), key).line)
while True:
    play(log)
    print("closed", flush=True)
"""


def test_log_goes_on_when_its_server_was_killed_at_any_moment(tmp_path: Path) -> None:
    path, closed = tmp_path / "run.jsonl", 0
    script = SERVER_SCRIPT.format(paths=[str(Path(__file__).parent)], path=str(path))
    for wait in (0.05, 0.11, 0.07):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None and server.stdout.readline() == "closed\n"
            time.sleep(wait)
            server.kill()
        log = RoundLog.resume(path, SERVER)
        assert log.closed > closed
        closed = log.closed
        log.stop()
    assert set(failing(path)) == {"final_model"}


def kept(tmp_path: Path, log: RoundLog, receipts: dict[int, tuple[Signed[Any], Signed[Any]]], place: int) -> Path:
    path = tmp_path / f"receipts-{place}.jsonl"
    ReceiptFile(path, SERVER.public).keep(receipts[place][0], receipts[place][1].line)
    return path


def test_receipts_find_a_client_when_the_server_drops_it_silently(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    first = play(log)
    begin = log.begin(IDS, payload(2)).message
    receipts = {}
    for place in range(6):
        signed = log.examine(*entry(log, begin, place))
        receipts[place] = signed, log.accept(signed)
    with pytest.raises(UsageError, match="has a receipt"):
        log.drop(IDS[0], "straggler")
    assert log._attempt is not None
    del log._attempt.entries[IDS[0]]
    log.close(digest_of("s"), digest_of("m"), SPENT)
    log.end(log.model, SPENT)
    for place in (0, 1):
        kept(tmp_path, log, first, place)
        kept(tmp_path, log, receipts, place)
    run = parse_run((tmp_path / "run.jsonl").read_bytes(), "run")
    (bad,) = unanswered([run], read_receipts(tmp_path / "receipts-0.jsonl"))
    (good,) = unanswered([run], read_receipts(tmp_path / "receipts-1.jsonl"))
    assert bad.outcome == "fail" and "1 of 2 entries were dropped" in bad.sentence and "for round 2" in bad.sentence
    assert good.outcome == "pass" and "All 2 entries" in good.sentence


def test_receipts_of_an_abandoned_attempt_are_recognised(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    begin = log.begin(IDS, payload(1)).message
    signed = log.examine(*entry(log, begin, 0))
    kept(tmp_path, log, {0: (signed, log.accept(signed))}, 0)
    play(log)
    log.end(log.model, SPENT)
    run = parse_run((tmp_path / "run.jsonl").read_bytes(), "run")
    (found,) = unanswered([run], read_receipts(tmp_path / "receipts-0.jsonl"))
    assert found.outcome == "pass" and "1 more belong to attempts" in found.sentence


def test_receipts_fail_when_another_key_signed_them_or_the_log_lacks_their_run(tmp_path: Path) -> None:
    log = started(tmp_path / "run.jsonl")
    receipts = play(log)
    log.end(log.model, SPENT)
    run = parse_run((tmp_path / "run.jsonl").read_bytes(), "run")
    signed, receipt = receipts[0]
    forged = sign(receipt.message, STRANGER)
    with pytest.raises(CertificateError, match="not that of key"):
        ReceiptFile(tmp_path / "r.jsonl", SERVER.public).keep(signed, forged.line)
    (tmp_path / "r.jsonl").write_bytes(signed.line + b"\n" + forged.line + b"\n")
    (found,) = unanswered([run], read_receipts(tmp_path / "r.jsonl"))
    assert found.outcome == "fail" and "not signed by the run's server" in found.sentence
    (lost,) = unanswered([], read_receipts(tmp_path / "r.jsonl"))
    assert lost.outcome == "fail" and "which is not in the log" in lost.sentence
    with pytest.raises(CertificateError, match="not for the entry that was sent"):
        ReceiptFile(tmp_path / "r.jsonl", SERVER.public).keep(receipts[1][0], receipt.line)
