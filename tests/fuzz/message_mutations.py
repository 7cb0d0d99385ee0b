"""Mutation of messages of federated rounds into hostile ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import mutations
import rfc8785

from compress.federated.messages import MAGIC, Message

KINDS = ("enrol", "train", "receipt", "keys", "shares", "unmask", "logits")


def mutated(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return another message: with altered bytes, header, signed line, kind or payload, or one that was seen before."""
    message = Message.parse(content, len(content))
    values: dict[str, Any] = {**message.values, "kind": message.kind}
    way = rng.randrange(8)
    if way == 0:
        return rng.choice(others)
    if way == 1:
        return framed(values, mutations.of_bytes(message.payload, rng))
    if way == 2:
        return framed({**values, "kind": rng.choice(KINDS)}, message.payload)
    if way <= 4:
        return framed(mutations.of_json(values, rng), message.payload)
    lines = [name for name in ("line", "begin", "receipt", "opening") if isinstance(values.get(name), str)]
    if way == 5 and lines:
        name = rng.choice(lines)
        return framed({**values, name: _line(values[name], rng)}, message.payload)
    if way == 6 and (numbers := list(_numbers(values))):
        owner, key = rng.choice(numbers)
        owner[key] = rng.choice(mutations.NUMBERS)
        return framed(values, message.payload)
    return mutations.of_bytes(content, rng)


def _numbers(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the places of numbers in JSON values, as container and key."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict | list):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield values, key


def _line(line: str, rng: random.Random) -> str:
    try:
        return rfc8785.dumps(mutations.of_json(json.loads(line), rng)).decode()
    except (ValueError, rfc8785.CanonicalizationError):
        return line[:-1]


def framed(values: Any, payload: bytes) -> bytes:
    """Return a message with any JSON as its header, canonical where it has such a form."""
    try:
        header = rfc8785.dumps(values)
    except (ValueError, rfc8785.CanonicalizationError):
        header = json.dumps(values).encode("utf-8", "surrogatepass")
    return MAGIC + len(header).to_bytes(4, "little") + header + payload
