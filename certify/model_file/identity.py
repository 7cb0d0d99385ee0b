"""Identity of a file and the certified one: by bytes, by content, or except for metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Certified:
    """Digests of the file in a certificate.

    Attributes:
        sha256: SHA-256 of its bytes without a seal.
        content: content digest.
        metadata: digest of its metadata; None for a kind of file without metadata.
        contract: its preprocessing contract, canonical JSON.
    """

    sha256: str
    content: str
    metadata: str | None
    contract: bytes

    @classmethod
    def of(cls, digests: Mapping[str, str], metadata: Any, contract: bytes) -> Certified:
        """Make it from the digests of a statement's subject."""
        return cls(digests["sha256"], digests["leanmarkContent"], metadata, contract)


@dataclass(frozen=True)
class Identity:
    """Comparison of a file with the certified one.

    Attributes:
        same_file: whether its bytes are the measured ones.
        same_content: whether its content is the same.
        same_metadata: whether its metadata is the certified one.
        stripped: whether its content is the same except for removed metadata.
        clean: whether no byte differs that does not affect the content.
        beside: names of its sidecar files with weights.
    """

    same_file: bool
    same_content: bool
    same_metadata: bool
    stripped: bool
    clean: bool
    beside: tuple[str, ...] = ()
