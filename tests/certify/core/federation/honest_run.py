"""An honest federated run, made up, whose every message a test may change before it is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
    Rule,
    Run,
    Signed,
    Spent,
    Update,
    Use,
    parse_run,
    sign,
)
from certify.core.federation.signing import peers_digest
from certify.core.federation.sums import bytes_down, bytes_up
from certify.core.signing_keys import SigningKey

VALUES = 1000
POLICY = "cd" * 32


def key_of(name: str) -> SigningKey:
    """The same key for the same name."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(digest_of(f"key of {name}")[:64].encode()[:32]))


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


SERVER = key_of("server")
CLIENTS = sorted((key_of(f"client {number}") for number in range(6)), key=lambda key: key.public.key_id)
IDS = [key.public.key_id for key in CLIENTS]
STRANGER = key_of("stranger")


def opening(**changes: Any) -> Run:
    """What is fixed before the first round."""
    stated: dict[str, Any] = {
        "run": "ab" * 32, "server": SERVER.public.hex, "leanmark": "0.1.0", "started": "2026-11-26T09:00:00Z",
        "model": digest_of("model 0"), "parameters": VALUES, "transport": "flower", "method": "fedavg",
        "population": len(CLIENTS),
        "rounds": 3, "selection": Rule("uniform", {"per_round": 4.0}), "aggregation": Rule("mean"),
        "update": Update("int8", VALUES, 8, 64, {"clip": 1.0}), "use": Use("finetune", "dpv:AcademicResearch"),
    }  # fmt: skip
    if changes.get("mask_threshold"):
        stated["update"] = Update("int8-masked", VALUES, 16, 64)
    return Run(**{**stated, **changes})


def payload(number: int) -> Payload:
    """What clients receive in a round."""
    return Payload(digest_of(f"payload {number}"), 4 * VALUES)


def answer(client: str, number: int, size: int = VALUES + 8) -> bytes:
    """The bytes of a client's update."""
    return (hashlib.sha256(f"{client} {number}".encode()).digest() * (size // 32 + 1))[:size]


def entry_of(run: Run, begin: Begin, client: str, **changes: Any) -> Entry:
    """A client's entry in a round."""
    size = run.update.least_bytes + 8
    sent = answer(client, begin.number, size)
    group = next((group for group in begin.groups if client in group), None)
    stated: dict[str, Any] = {
        "run": run.run, "number": begin.number, "nonce": begin.nonce, "client": client, "received": begin.payload,
        "sent": Payload(hashlib.sha256(sent).hexdigest(), size), "band": 6 + IDS.index(client) % 2,
        "spent": Spent(1.5, 12.0, "modelled"), "policy": POLICY,
        "mask": None if group is None else Mask(peers_digest(group), 400, 800),
    }  # fmt: skip
    return Entry(**{**stated, **changes})


Edit = Callable[[Any], Any]


def build(
    run: Run | None = None,
    away: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    edit: Edit = lambda message: message,
    key: Callable[[Any, SigningKey], SigningKey] = lambda _, key: key,
    lines: Callable[[list[bytes]], list[bytes]] = lambda lines: lines,
) -> FederatedRun:
    """A run of all clients over three rounds.

    Args:
        run: its opening.
        away: round and place of clients that are dropped.
        edit: changes a message before it is signed; what comes behind it follows from the changed one.
        key: gives another key to sign with.
        lines: changes the lines of the file.
    """
    opened_run = opening() if run is None else run
    groups = (tuple(IDS),) if opened_run.mask_threshold else ()
    written: list[bytes] = []

    def add(message: Any, own: SigningKey) -> Signed[Any]:
        changed = edit(message)
        signed = sign(changed, key(changed, own))
        written.append(signed.line)
        return signed

    head = add(opened_run, SERVER)
    model = opened_run.model
    for number in (1, 2, 3):
        head = add(
            Begin(
                run=opened_run.run, number=number, attempt=1, nonce=digest_of(f"nonce {number}"), previous=head.digest,
                started=f"2026-11-26T09:0{number}:00Z", model=model, payload=payload(number), selected=tuple(IDS),
                groups=groups,
            ),
            SERVER,
        )  # fmt: skip
        begin = head.message
        joined = [
            add(Enrolment(opened_run.run, one.public.hex, POLICY), one) for one in CLIENTS if number == 1
        ]  # fmt: skip
        gone = [(number, place) in away for place in range(len(IDS))]
        entries = [
            add(entry_of(opened_run, begin, client), one)
            for client, one, left in zip(IDS, CLIENTS, gone, strict=True)
            if not left
        ]
        dropped = tuple(Drop(client, "lost") for client, left in zip(IDS, gone, strict=True) if left)
        messages = [one.message for one in entries]
        model = digest_of(f"model {number}")
        head = add(
            Round(
                run=opened_run.run, number=number, nonce=begin.nonce, previous=head.digest,
                closed=f"2026-11-26T09:0{number}:30Z", joined=tuple(one.digest for one in joined),
                entries=tuple(one.digest for one in entries), dropped=dropped, refused=(),
                recovered=tuple(one.client for one in dropped) if groups else (),
                aggregate=digest_of(f"sum {number}"), model=model, bytes_up=bytes_up(messages),
                bytes_down=bytes_down(begin, messages, dropped), spent=Spent(0.5, 4.0, "modelled"),
            ),
            SERVER,
        )  # fmt: skip
        model = head.message.model
    add(End(opened_run.run, head.digest, "2026-11-26T09:10:00Z", 3, model, Spent(0.0, 0.0, "modelled")), SERVER)
    return parse_run(b"".join(line + b"\n" for line in lines(written)), "run.jsonl")


def changing(kind: type[Any], of: int | None = None, /, **changes: Any) -> Edit:
    """An edit of the messages of a kind, of one round, or of the first client."""

    def edit(message: Any) -> Any:
        if type(message) is not kind or (of is not None and message.number != of):
            return message
        if kind is Entry and message.client != IDS[0]:
            return message
        return replace(message, **changes)

    return edit
