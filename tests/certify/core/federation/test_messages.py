"""Lines from untrusted parties: one canonical form, every field, sizes, and no mutated line is accepted."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import rfc8785
from honest_run import CLIENTS, IDS, SERVER, STRANGER, build, entry_of, opening

from certify.core.errors import CertificateError
from certify.core.federation import Enrolment, FederatedRun, Receipt, Spent, parse, parse_run, sign, verified
from certify.core.federation.consistency import CHECKS, problems
from certify.core.federation.signing import SMALL_BYTES, signing_bytes

LINES = list(build(opening(mask_threshold=4), {(2, 0)}).lines())
BY_KIND = {json.loads(line)["kind"]: line for line in LINES}


@pytest.mark.parametrize("kind", BY_KIND)
def test_line_is_read_back_when_it_was_written(kind: str) -> None:
    found = parse(BY_KIND[kind], "line", kind)
    assert found.line == BY_KIND[kind] and found.kind == kind


@pytest.mark.parametrize("kind", BY_KIND)
def test_line_is_refused_when_any_field_is_missing_unknown_or_of_another_type(kind: str) -> None:
    values = json.loads(BY_KIND[kind])
    for name in values:
        for other in (None, "", [], {}, -1, True, 0.5, "zz", "A" * 64):
            if other == values[name]:
                continue
            try:
                found = parse(rfc8785.dumps({**values, name: other}), "line")
            except CertificateError:
                continue
            key = SERVER if "client" not in values and kind != "client" else CLIENTS[0]
            assert not found.signed_by(key.public), (name, other)
        with pytest.raises(CertificateError):
            parse(rfc8785.dumps({key: value for key, value in values.items() if key != name}), "line")
    with pytest.raises(CertificateError):
        parse(rfc8785.dumps({**values, "note": "x"}), "line")


def test_line_is_refused_when_it_is_too_long_or_not_canonical() -> None:
    values = json.loads(BY_KIND["client"])
    with pytest.raises(CertificateError, match="not in canonical form"):
        parse(json.dumps(values).encode(), "line")
    with pytest.raises(CertificateError, match=f"has at most {SMALL_BYTES}"):
        parse(rfc8785.dumps({**values, "note": "x" * SMALL_BYTES}), "line")
    with pytest.raises(CertificateError, match="of kind null is not allowed here"):
        parse(b"[]", "line")


def test_signature_means_nothing_when_it_was_made_for_another_kind() -> None:
    entry = entry_of(opening(), build().rounds[0].begin, IDS[0])
    receipt = Receipt(entry.run, entry.number, entry.nonce, entry.client, "00" * 32)
    assert signing_bytes(entry).startswith(b"leanmark federation v1\x00entry\x00")
    assert signing_bytes(receipt).startswith(b"leanmark federation v1\x00receipt\x00")
    forged = rfc8785.dumps({**json.loads(sign(receipt, SERVER).line), "signature": "00" * 64})
    with pytest.raises(CertificateError, match="the signature is not that of key"):
        verified(forged, "line", SERVER.public)


def test_message_cannot_be_signed_when_a_field_is_not_allowed() -> None:
    with pytest.raises(CertificateError, match="key of client"):
        sign(Enrolment("ab" * 32, "not a key"), CLIENTS[0])
    with pytest.raises(ValueError, match="given together"):
        Spent(1.0, 2.0, None)
    with pytest.raises(ValueError, match="mask_threshold"):
        opening(mask_threshold=0, update=opening(mask_threshold=2).update)


def test_verified_refuses_a_line_when_another_key_signed_it() -> None:
    line = sign(Enrolment("ab" * 32, CLIENTS[0].public.hex), STRANGER).line
    with pytest.raises(CertificateError, match="the signature is not that"):
        verified(line, "line", CLIENTS[0].public, "client")


def mutated(line: bytes, chance: random.Random) -> bytes:
    """A line with one thing changed, in one of the ways in which messages break or are forged."""
    way = chance.randrange(7)
    at = chance.randrange(len(line))
    if way == 0:
        return line[:at] + bytes([line[at] ^ (1 << chance.randrange(8))]) + line[at + 1 :]
    if way == 1:
        return line[:at]
    if way == 2:
        return line[:at] + chance.randbytes(chance.randrange(1, 9)) + line[at:]
    if way == 3:
        return line[:at] + line[at + chance.randrange(1, 9) :]
    values = json.loads(line)
    name = chance.choice(list(values))
    if way == 4:
        values[name] = chance.choice([None, [], {}, "", 0, -1, 2**53, 1e300, "0" * 64, [[[]]], True])
    elif way == 5:
        other = json.loads(chance.choice(LINES))
        values[name] = other.get(name, chance.choice(list(other.values())))
    else:
        values.pop(name)
    try:
        return rfc8785.dumps(values)
    except rfc8785.IntegerDomainError:
        return json.dumps(values).encode()


def accepted(lines: list[bytes]) -> FederatedRun | None:
    try:
        run = parse_run(b"".join(line + b"\n" for line in lines), "run")
    except CertificateError:
        return None
    return None if any(problems(run, name) for name in CHECKS) else run


@pytest.mark.parametrize("seed", range(2))
def test_no_mutated_message_is_accepted_and_none_crashes_the_reader(seed: int) -> None:
    """Those that still parse go through all checks of the run; tests/fuzz takes 10,000."""
    chance, tried, checked = random.Random(seed), 0, 0
    while tried < 800:
        at = chance.randrange(len(LINES))
        line = mutated(LINES[at], chance)
        if line == LINES[at]:
            continue
        tried += 1
        try:
            parse(line, "line")
        except CertificateError:
            continue
        checked += 1
        assert accepted([*LINES[:at], line, *LINES[at + 1 :]]) is None, line
    assert checked > 20


def test_mutations_start_from_a_run_that_is_accepted() -> None:
    found: Any = accepted(LINES)
    assert found is not None and found.content() == b"".join(line + b"\n" for line in LINES)
