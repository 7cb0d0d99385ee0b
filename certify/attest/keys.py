"""Ed25519 keys: the user's own and those of others.

The private key is in the user's configuration folder, readable only by its owner.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from certify.core.errors import UsageError
from certify.core.files import link_new, write_bytes
from certify.core.folders import config_folder
from certify.core.signing_keys import PublicKey as PublicKey
from certify.core.signing_keys import SigningKey as SigningKey

PRIVATE_NAME = "signing.key"
PUBLIC_NAME = "signing.pub"
PUBLIC = ".pub"
PRIVATE = (".key", ".pem")
"""Suffixes that the public key replaces by its own; any other suffix may be part of a name."""
VARIABLE = "LEANMARK_SIGNING_KEY"
"""Environment variable with the private key, for machines without stored files: its PEM text, or a file path."""
MAX_KEY_BYTES = 64 * 1024

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_KEY_ID = re.compile(r"[0-9a-fA-F]{8,63}")


def signing_key(path: Path | None = None) -> SigningKey:
    """Return the given key, else that of LEANMARK_SIGNING_KEY, else the user's own, created on first use.

    Args:
        path: path of a private key.

    Raises:
        UsageError: the key is malformed, its file is readable by others, or there is no key and the variable CI is set:
            a key created there would sign once and be lost with the machine.

    Example:
        >>> made = generate(Path("release.key"))
        >>> signing_key(Path("release.key")).public == made.public
        True
    """
    if path is not None or (key := environment_key()) is None:
        return load_private(path) if path is not None else _own_key(config_folder() / PRIVATE_NAME)
    return key


def environment_key() -> SigningKey | None:
    """Return the key of LEANMARK_SIGNING_KEY; None if it is not set.

    Raises:
        UsageError: it contains neither a private key nor the path of one.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if text.startswith("-----BEGIN"):
        return _parse_private(text.encode(), f"in {VARIABLE}")
    if not os.path.isfile(text):  # noqa: PTH113 (a Path raises where the text is not a path at all)
        # do not print the value: it may be a key in another form
        raise UsageError(f"{VARIABLE} must be the PEM text of a private key or the path of a file with one.")
    return load_private(Path(text))


def _own_key(path: Path) -> SigningKey:
    if not path.exists():
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise UsageError(
                "No signing key was found, and none is created if CI is set, because it would be lost with this "
                f"machine. Set {VARIABLE} (PEM text or path), give --key, or run leanmark keygen first."
            )
        with contextlib.suppress(FileExistsError):  # another process created it in the meantime
            return store_key(new_key(), path)
    return load_private(path)


def generate(path: Path | None = None, force: bool = False) -> SigningKey:
    """Create a key pair: the private key at ``path``, the public one next to it (see :func:`public_path`).

    Args:
        path: path of the private key. Default: ``signing.key`` in the configuration folder.
        force: whether to replace an existing key.

    Raises:
        UsageError: a key exists and ``force`` is not set, or the name is that of a public key.
    """
    path = path or config_folder() / PRIVATE_NAME
    if path.suffix.lower() == PUBLIC:
        raise UsageError(f"A private key's file must not end in {PUBLIC}, the suffix of public keys, got {path.name}.")
    try:
        return store_key(new_key(), path, force)
    except FileExistsError:
        raise UsageError(
            f"{path} already exists, with the public key {public_path(path)}. Certificates signed with it would "
            "lose their key; use --force to replace it."
        ) from None


def public_path(path: Path) -> Path:
    """Return the path of the public key that belongs to a private one.

    Example:
        >>> public_path(Path("signing.key")).name, public_path(Path("acme.2026")).name
        ('signing.pub', 'acme.2026.pub')
    """
    return path.with_suffix(PUBLIC) if path.suffix in PRIVATE else path.with_name(f"{path.name}{PUBLIC}")


def new_key() -> SigningKey:
    """Return a new key that is not stored anywhere."""
    return SigningKey(Ed25519PrivateKey.generate())


def store_key(key: SigningKey, path: Path, force: bool = False) -> SigningKey:
    """Write a key pair: the private key at ``path``, the public one next to it with the suffix ``.pub``.

    Raises:
        FileExistsError: a key exists and ``force`` is not set.
    """
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_private(path, pem, force)
    write_bytes(public_path(path), key.public.to_pem())
    return key


def _write_private(path: Path, pem: bytes, force: bool) -> None:
    """Write a file that is never partial and never readable by others: mkstemp creates it with mode 0600."""
    # Created in the same folder, so that the final step stays on one file system.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(pem)
            stream.flush()
            # A power failure after signing must not leave certificates without their key.
            os.fsync(stream.fileno())
        if force:
            beside.replace(path)
        else:
            link_new(beside, path)  # unlike rename, it refuses to replace a file
    finally:
        beside.unlink(missing_ok=True)


def load_private(path: Path) -> SigningKey:
    """Read a private key.

    Raises:
        UsageError: the file cannot be read, is readable by others, or does not contain an unencrypted Ed25519 key.
    """
    try:
        with path.open("rb") as stream:
            # Of the open file: a check by path could be answered by another file.
            mode = os.fstat(stream.fileno()).st_mode
            # Bounded because the path may name any file.
            pem = stream.read(MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"The signing key {path} cannot be read: {error.strerror}.") from error
    # Windows keeps access in lists that these bits do not show.
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"The signing key {path} has mode {stat.S_IMODE(mode):04o}, so others may have read it. Create a new one "
            f"with leanmark keygen --force, or run chmod 600 {path} if you are sure that nobody has read it."
        )
    return _parse_private(pem, str(path))


def _parse_private(pem: bytes, where: str) -> SigningKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # drop the cause: its text could contain parts of the key
        raise UsageError(f"The signing key {where} is not an unencrypted PEM private key.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"The signing key {where} is not an Ed25519 key. Create one with leanmark keygen.")
    return SigningKey(key)


def load_public(source: str | Path | PublicKey) -> PublicKey:
    """Return a public key from a PEM file or from 64 hexadecimal digits.

    Raises:
        UsageError: the file is missing, or does not contain an Ed25519 public key.

    Example:
        >>> load_public("ab" * 32).key_id[:16]
        '9a2db2e23f1504cd'
    """
    if isinstance(source, PublicKey):
        return source
    # Before the file system: 64 hexadecimal digits are always a key, whatever files are in the working folder.
    if isinstance(source, str) and _HEX_KEY.fullmatch(source):
        return PublicKey(bytes.fromhex(source))
    path = Path(source)
    try:
        with path.open("rb") as stream:
            pem = stream.read(MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        if _KEY_ID.fullmatch(str(source)):
            raise UsageError(
                f"'{source}' is the beginning of a key id, which identifies a key but is not the key itself. To see "
                "the key's 64 hexadecimal digits, run leanmark verify FILE --json (public_key) or leanmark trust "
                "list; signer.pub next to the certificate contains the key as a file."
            ) from error
        raise UsageError(
            f"'{source}' must be a readable file with a public key, or the key's 64 hexadecimal digits."
        ) from error
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} does not contain a PEM public key; verifying never needs a private key.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} contains a public key that is not Ed25519; pass an Ed25519 key.")
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
