"""Replacement of a signing key by a new one, which the old key names as its successor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from certify.attest.key_statements import hand_over
from certify.attest.keys import PRIVATE_NAME, PublicKey, SigningKey, load_private, new_key, public_path, store_key
from certify.core.errors import UsageError
from certify.core.files import link_new, write_bytes
from certify.core.folders import config_folder

STATEMENTS_SUFFIX = ".statements.jsonl"


@dataclass(frozen=True)
class Rotation:
    """Replaced key.

    Attributes:
        old: the former key.
        new: the key that signs from now on.
        old_path: new path of the former private key.
        statements: file with this handover and earlier ones, for readers who trust the former key.
    """

    old: PublicKey
    new: SigningKey
    old_path: Path
    statements: Path


def rotate(path: Path | None = None) -> Rotation:
    """Replace a signing key by a new one, after the old one has named it.

    The old key is kept under a name that contains its id, because it may still have to be revoked.

    Args:
        path: path of the private key. Default: ``signing.key`` in the configuration folder.

    Raises:
        UsageError: there is no key to replace.
        CertificateError: the old key is malformed, or readable by others.
    """
    path = path or config_folder() / PRIVATE_NAME
    if not path.is_file():
        raise UsageError(f"No key to rotate was found at {path}; create one with leanmark keygen.")
    old, new = load_private(path), new_key()
    retired = path.with_name(f"{path.stem}-{old.public.key_id[:16]}{path.suffix}")
    retired.unlink(missing_ok=True)  # left by an interrupted rotation; it contains this same key
    # Linked instead of moved, so that the path never lacks a key.
    link_new(path, retired)
    write_bytes(public_path(retired), old.public.to_pem())
    statements = public_path(path).with_suffix(STATEMENTS_SUFFIX)
    before = statements.read_bytes() if statements.is_file() else b""
    # Written before the new key is stored, because without the handover nobody would trust it.
    write_bytes(statements, before + hand_over(old, new.public).content + b"\n")
    store_key(new, path, force=True)
    return Rotation(old.public, new, retired, statements)
