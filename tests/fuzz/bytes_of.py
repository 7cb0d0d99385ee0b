"""Alternative encodings of the same content, which protobuf, base64 and JSON allow."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass
class Field:
    """One field on the wire; ``value`` is a number, bytes, or the fields of a message."""

    number: int
    kind: int
    value: int | bytes | list[Field]
    padding: int = 0
    """Superfluous bytes of its tag (number) or its length."""


def parsed(content: bytes, descriptor: Descriptor | None = onnx.ModelProto.DESCRIPTOR) -> list[Field]:
    """The fields of a message, and of the messages in it."""
    fields, place = [], 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        known = descriptor.fields_by_number.get(number) if descriptor is not None else None
        value: int | bytes | list[Field]
        if kind == 0:
            value, place = _varint(content, place)
        elif kind == 2:
            length, place = _varint(content, place)
            raw, place = content[place : place + length], place + length
            is_message = known is not None and known.type == FieldDescriptor.TYPE_MESSAGE
            value = parsed(raw, known.message_type) if is_message and known is not None else raw
        else:
            size = {1: 8, 5: 4}[kind]
            value, place = content[place : place + size], place + size
        fields.append(Field(number, kind, value))
    return fields


def encoded(fields: list[Field]) -> bytes:
    """The bytes of a message."""
    out = bytearray()
    for field in fields:
        value = encoded(field.value) if isinstance(field.value, list) else field.value
        out += _encode(field.number << 3 | field.kind, field.padding if field.kind != 2 else 0)
        if isinstance(value, int):
            out += _encode(value, 0)
        else:
            if field.kind == 2:
                out += _encode(len(value), field.padding)
            out += value
    return bytes(out)


def messages(fields: list[Field]) -> Iterator[list[Field]]:
    """The message and all messages in it."""
    yield fields
    for field in fields:
        if isinstance(field.value, list):
            yield from messages(field.value)


def padded(content: bytes, rng: random.Random) -> bytes:
    """One varint, anywhere, in more bytes than it needs."""
    fields = parsed(content)
    field = rng.choice([field for message in messages(fields) for field in message])
    field.padding = rng.randint(1, 2)
    return encoded(fields)


def with_unknown_field(content: bytes, rng: random.Random) -> bytes:
    """One more field, anywhere, that ONNX does not know."""
    fields = parsed(content)
    message = rng.choice(list(messages(fields)))
    number, kind = rng.choice([100, 536, 4000, 18_999, 20_000, (1 << 29) - 1]), rng.choice([0, 1, 2, 5])
    size = {0: 0, 1: 8, 2: rng.randrange(20), 5: 4}[kind]
    value = rng.getrandbits(30) if kind == 0 else rng.randbytes(size)
    message.insert(rng.randrange(len(message) + 1), Field(number, kind, value))
    return encoded(fields)


def reordered(content: bytes, rng: random.Random) -> bytes:
    """Two neighbouring fields of one message the other way round."""
    fields = parsed(content)
    places = [(m, i) for m in messages(fields) for i in range(len(m) - 1) if m[i] != m[i + 1]]
    message, place = rng.choice(places)
    message[place], message[place + 1] = message[place + 1], message[place]
    return encoded(fields)


def doubled(content: bytes, rng: random.Random) -> bytes:
    """One field twice; of a field that stands once, readers take the last."""
    fields = parsed(content)
    message = rng.choice([message for message in messages(fields) if message])
    place = rng.randrange(len(message))
    message.insert(place, message[place])
    return encoded(fields)


def stray_bits(envelope: bytes, rng: random.Random) -> bytes:
    """Base64 whose last character holds bits that no byte uses; the decoded bytes are the same."""
    values = json.loads(envelope)
    owner = {"payload": values, "sig": values["signatures"][0]}
    name = rng.choice([name for name, place in owner.items() if place[name].endswith("=")])
    text = owner[name][name]
    body, pads = text.rstrip("="), text.count("=")
    free = 2 if pads == 1 else 4
    last = ALPHABET.index(body[-1])
    other = last ^ rng.randrange(1, 1 << free)
    owner[name][name] = body[:-1] + ALPHABET[other] + "=" * pads
    assert base64.b64decode(owner[name][name]) == base64.b64decode(text)
    return json.dumps(values, separators=(",", ":")).encode()


def with_white_space(content: bytes, rng: random.Random) -> bytes:
    """White space between two tokens of a JSON text."""
    places, inside, escaped = [], False, False
    for place, byte in enumerate(content):
        if not inside:
            places.append(place)
        if byte == 0x22 and not escaped:
            inside = not inside
        escaped = byte == 0x5C and not escaped
    place = rng.choice([*(p for p in places if content[p : p + 1] in b'{}[]:,"'), len(content)])
    return content[:place] + rng.choice([b" ", b"\n", b"\t", b"\r\n", b"  "]) + content[place:]


def with_escape(content: bytes, rng: random.Random) -> bytes:
    """One letter of a JSON text as an escape; every reader sees the same text."""
    letters = [place for place, byte in enumerate(content) if chr(byte).isalpha() and content[place - 1] != 0x5C]
    quoted = [place for place in letters if content[:place].count(b'"') % 2]
    place = rng.choice(quoted)
    return content[:place] + b"\\u%04x" % content[place] + content[place + 1 :]


def another_byte(content: bytes, rng: random.Random, start: int = 0, end: int | None = None) -> bytes:
    """One byte, anywhere in a range, replaced by another."""
    place = rng.randrange(start, len(content) if end is None else end)
    return content[:place] + bytes([content[place] ^ rng.randrange(1, 256)]) + content[place + 1 :]


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _encode(value: int, padding: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)
