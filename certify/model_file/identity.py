"""Is a file the one that was certified: by its bytes, by what it says, or but for its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Certified:
    """What a certificate states about its file.

    Attributes:
        sha256: of its bytes without a seal.
        content: digest over what it says.
        metadata: digest of its metadata; None for a kind that has none.
        contract: its preprocessing contract, canonical JSON.
    """

    sha256: str
    content: str
    metadata: str | None
    contract: bytes

    @classmethod
    def of(cls, digests: Mapping[str, str], metadata: Any, contract: bytes) -> Certified:
        """From the digests of a statement's subject."""
        return cls(digests["sha256"], digests["leanmarkContent"], metadata, contract)


@dataclass(frozen=True)
class Identity:
    """How a file compares with what was certified.

    Attributes:
        same_file: its bytes are those that were measured.
        same_content: it says the same.
        same_metadata: its metadata is what the certificate states.
        stripped: it says the same but for metadata that was taken away.
        clean: no byte was changed that does not change what the model says.
        beside: names of the files of weights beside it.
    """

    same_file: bool
    same_content: bool
    same_metadata: bool
    stripped: bool
    clean: bool
    beside: tuple[str, ...] = ()
