"""What travels: a few JSON values and raw bytes in one message, read strictly.

A message is ``LMF1``, the length of the header (4 bytes, little-endian), the header as canonical JSON (RFC 8785), and
the payload. It says its kind, so that one channel carries all; signatures lie in the header
(:mod:`certify.core.federation`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from certify.core.errors import DataError

MAGIC = b"LMF1"
MAX_HEADER_BYTES = 4_000_000
"""A hundred peers with their keys and encrypted shares need about 100 kB."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        kind: what it asks for or answers, such as ``train``.
        values: of the header, without the kind.
        payload: raw bytes: a model or an update.

    Example:
        >>> sent = Message("train", {"round": 3}, b"weights")
        >>> Message.parse(sent.content(), most_bytes=100) == sent
        True
    """

    kind: str
    values: Mapping[str, Any]
    payload: bytes = b""

    def content(self) -> bytes:
        """The bytes that travel."""
        header = rfc8785.dumps({**self.values, "kind": self.kind})
        return MAGIC + struct.pack("<I", len(header)) + header + self.payload

    @classmethod
    def parse(cls, content: bytes, most_bytes: int) -> Message:
        """Read a message.

        Args:
            content: as it came.
            most_bytes: largest payload that is wanted.

        Raises:
            DataError: it is malformed or too large.
        """
        if len(content) < 8 or content[:4] != MAGIC:
            raise DataError("The message is not one of a federated round; it was cut or comes from elsewhere.")
        (length,) = struct.unpack("<I", content[4:8])
        if length > MAX_HEADER_BYTES or len(content) - 8 < length:
            raise DataError(f"The message's header says {length} bytes and {len(content) - 8} follow.")
        payload = content[8 + length :]
        if len(payload) > most_bytes:
            raise DataError(f"The message has {len(payload)} bytes and at most {most_bytes} are wanted.")
        header = content[8 : 8 + length]
        try:
            values = json.loads(header)
            whole = isinstance(values, dict) and rfc8785.dumps(values) == header
        except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
            raise DataError("The message's header is not valid JSON.") from error
        kind = values.pop("kind", None) if whole else None
        if not isinstance(kind, str):
            raise DataError("The message's header is not canonical JSON with a kind.")
        return cls(kind, values, payload)

    def expect(self, kind: str, **kinds: type) -> dict[str, Any]:
        """The values, which must be these and no others.

        Args:
            kind: that the message must have.
            kinds: Python type of each value, by name.

        Raises:
            DataError: another kind, or a value is missing, unknown or of another type.

        Example:
            >>> Message("train", {"round": 3}).expect("train", round=int)
            {'round': 3}
        """
        if self.kind != kind:
            raise DataError(f"A message of the kind '{kind}' is wanted here and '{self.kind[:40]}' came.")
        if odd := set(self.values) ^ set(kinds):
            raise DataError(f"The '{kind}' message lacks or should not have '{min(odd)[:40]}'.")
        for name, wanted in kinds.items():
            value = self.values[name]
            fits = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise DataError(f"The '{kind}' message's {name} is not of the type {wanted.__name__}.")
        return dict(self.values)
