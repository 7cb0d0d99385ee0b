"""Putting a new signing key in the place of an old one, which says that it is its successor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from certify.attest.keys import PRIVATE_NAME, PublicKey, SigningKey, load_private, new_key, store_key
from certify.attest.trust import hand_over
from certify.core.errors import UsageError
from certify.core.files import write_bytes
from certify.core.folders import config_folder

STATEMENTS_SUFFIX = ".statements.jsonl"


@dataclass(frozen=True)
class Rotation:
    """A key that was replaced.

    Attributes:
        old: the former key.
        new: the one that signs from now on.
        old_path: where the former private key lies now.
        statements: file with the handover and those before it, to be given to whoever trusts the former key.
    """

    old: PublicKey
    new: SigningKey
    old_path: Path
    statements: Path


def rotate(path: Path | None = None) -> Rotation:
    """Replace a signing key by a new one, after the old one has named it.

    The old key is kept under a name with its id: it may still have to be revoked.

    Args:
        path: of the private key; ``signing.key`` in the configuration folder by default.

    Raises:
        UsageError: there is no key to replace.
        CertificateError: the old key is malformed, or others may read it.
    """
    path = path or config_folder() / PRIVATE_NAME
    if not path.is_file():
        raise UsageError(f"{path}: there is no key to rotate. Make one with leanmark keygen.")
    old, new = load_private(path), new_key()
    kept = path.with_name(f"{path.stem}-{old.public.key_id[:16]}{path.suffix}")
    kept.unlink(missing_ok=True)  # left by a rotation that was broken off; it holds this same key
    os.link(path, kept)
    write_bytes(kept.with_suffix(".pub"), old.public.to_pem())
    statements = path.with_suffix(STATEMENTS_SUFFIX)
    before = statements.read_bytes() if statements.is_file() else b""
    write_bytes(statements, before + hand_over(old, new.public).content + b"\n")
    store_key(new, path, force=True)
    return Rotation(old.public, new, kept, statements)
