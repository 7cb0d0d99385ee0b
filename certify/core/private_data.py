"""Private data in two files: a public file with aggregates, and an auditor file with keyed identifiers and rows.

A plain digest identifies a sample to everybody who has the sample. So identifiers of private samples are HMAC-SHA256
under a key of the data holder: only holders of the key can recognise a sample. Such identifiers are pseudonymous, not
anonymous.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError
from certify.core.files import write_secret

KEY_BYTES = 32
FOLDER = "auditor"
"""Folder next to the public files of a model; never part of a pack."""
WITHHELD = "withheld"
"""Specification of private data in public files: a path may name people, places or diagnoses."""
_ID_OF = b"leanmark data key"
_PREFIX = "leanmark-data-key:"
_MAX_KEY_FILE_BYTES = 4096


@dataclass(frozen=True, repr=False)
class DataKey:
    """Secret key of a data holder for identifiers of private samples.

    Attributes:
        secret: 32 random bytes.

    Example:
        >>> key = DataKey(bytes(32))
        >>> key.keyed("00" * 32) == key.keyed("00" * 32), len(key.keyed("00" * 32))
        (True, 64)
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise UsageError(
                f"A data key must have {KEY_BYTES} bytes, got {len(self.secret)}; create one with DataKey.new()."
            )

    @classmethod
    def new(cls) -> DataKey:
        """Create a key from the system's entropy."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def read(cls, path: Path) -> DataKey:
        """Read a key file.

        Raises:
            UsageError: the file cannot be read, or is not a key file.
        """
        try:
            with path.open("rb") as stream:
                text = stream.read(_MAX_KEY_FILE_BYTES).decode("ascii").strip()
            return cls(bytes.fromhex(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else b"")
        except OSError as error:
            raise UsageError(f"The data key {path} cannot be read: {error.strerror}.") from error
        except (ValueError, UsageError) as error:
            raise UsageError(
                f"{path} is not a data key file, which begins with '{_PREFIX}'; give the key file."
            ) from error

    def write(self, path: Path) -> None:
        """Write a key file that only its owner can read.

        Raises:
            UsageError: the path already exists.
        """
        try:
            write_secret(path, f"{_PREFIX}{self.secret.hex()}\n".encode())
        except FileExistsError as error:
            raise UsageError(
                f"{path} already exists, and data keys are never overwritten; give another path."
            ) from error

    @property
    def id(self) -> str:
        """Id of the key in public files; it reveals nothing about the key."""
        return hmac.new(self.secret, _ID_OF, hashlib.sha256).hexdigest()

    def keyed(self, identifier: str) -> str:
        """Return the keyed identifier of a sample from its digest: HMAC-SHA256 in hexadecimal."""
        # The prefix keeps identifiers apart from the key's id, which is an HMAC under the same key.
        return hmac.new(self.secret, f"sample {identifier}".encode(), hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return f"DataKey({self.id[:16]})"


@dataclass(frozen=True)
class AuditorBinding:
    """Binding of an auditor file in its public file.

    The size is not stated: with an identifier of fixed length per sample, it would reveal their number.

    Attributes:
        sha256: hex digest of the auditor file.
        key: id of the data key of its identifiers.
    """

    sha256: str
    key: str

    @classmethod
    def of(cls, content: bytes, key: DataKey) -> AuditorBinding:
        """Bind the bytes of an auditor file."""
        return cls(hashlib.sha256(content).hexdigest(), key.id)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {"sha256": self.sha256, "key": self.key}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AuditorBinding:
        """Inverse of :meth:`to_json`, for values that fit the schema."""
        return cls(values["sha256"], values["key"])
