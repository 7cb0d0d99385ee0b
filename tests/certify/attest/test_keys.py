"""Keys: made so that nobody else can read them, and refused where somebody could."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certify.attest.keys import (
    PRIVATE_NAME,
    PUBLIC_NAME,
    PublicKey,
    SigningKey,
    generate,
    load_private,
    load_public,
    public_path,
    signing_key,
)
from certify.attest.trust import OWN, trusted
from certify.core.errors import CertificateError, UsageError


def test_signing_key_creates_a_private_file_when_first_used(own_config: Path) -> None:
    previous = os.umask(0)
    try:
        key = signing_key()
    finally:
        os.umask(previous)
    assert stat.S_IMODE((own_config / PRIVATE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(own_config.stat().st_mode) == 0o700
    assert sorted(p.name for p in own_config.iterdir()) == [PRIVATE_NAME, PUBLIC_NAME]
    assert signing_key().public == key.public == load_public(own_config / PUBLIC_NAME)


def test_key_id_is_the_digest_of_the_raw_key_when_asked(key: SigningKey) -> None:
    assert key.public.key_id == hashlib.sha256(key.public.raw).hexdigest()
    assert load_public(key.public.hex) == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o660, 0o777])
def test_load_private_refuses_when_others_may_read_the_file(tmp_path: Path, mode: int) -> None:
    generate(tmp_path / "k.key")
    (tmp_path / "k.key").chmod(mode)
    with pytest.raises(UsageError, match=f"{mode:04o}"):
        load_private(tmp_path / "k.key")


def test_generate_refuses_when_there_is_a_key_unless_forced(tmp_path: Path) -> None:
    first = generate(tmp_path / "k.key")
    with pytest.raises(UsageError, match="--force"):
        generate(tmp_path / "k.key")
    assert load_private(tmp_path / "k.key").public == first.public
    second = generate(tmp_path / "k.key", force=True)
    assert second.public != first.public
    assert load_private(tmp_path / "k.key").public == second.public == load_public(tmp_path / "k.pub")
    assert stat.S_IMODE((tmp_path / "k.key").stat().st_mode) == 0o600


def test_load_private_refuses_without_showing_the_content_when_the_file_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    path.touch(mode=0o600)
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(UsageError) as caught:
        load_private(path)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_keys_refuse_when_they_are_not_ed25519(tmp_path: Path) -> None:
    other = generate_private_key(65537, 2048)
    path = tmp_path / "k.key"
    path.touch(mode=0o600)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UsageError, match="Ed25519"):
        load_private(path)
    path.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(UsageError, match="Ed25519"):
        load_public(path)


def test_load_public_refuses_when_given_a_private_key_or_nothing(tmp_path: Path) -> None:
    generate(tmp_path / "k.key")
    with pytest.raises(UsageError, match="public key"):
        load_public(tmp_path / "k.key")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        load_public(str(tmp_path / "absent"))
    with pytest.raises(CertificateError, match="32 bytes"):
        PublicKey(b"short")


def test_repr_shows_no_secret_when_a_key_is_printed(key: SigningKey) -> None:
    secret = key.private.private_bytes_raw().hex()
    assert secret not in repr(key)
    assert key.public.key_id in repr(key)


def test_signing_key_is_refused_when_ci_is_set_and_there_is_none(
    own_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(UsageError, match=r"LEANMARK_SIGNING_KEY .* keygen"):
        signing_key()
    assert not own_config.exists()
    made = generate()
    assert signing_key().public == made.public


def test_signing_key_is_read_from_the_environment_when_it_holds_pem_or_a_path(
    own_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "release.key"
    key = generate(path).public
    monkeypatch.setenv("CI", "true")
    for text in (str(path), path.read_text()):
        monkeypatch.setenv("LEANMARK_SIGNING_KEY", text)
        assert signing_key().public == key
        assert trusted().standing(key).name == OWN
    other = generate(tmp_path / "other.key")
    assert signing_key(tmp_path / "other.key").public == other.public
    assert not own_config.exists()


@pytest.mark.parametrize(
    "text", ["-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", "c2VjcmV0", "c2VjcmV0" * 1000]
)
def test_signing_key_is_not_printed_when_the_environment_holds_a_damaged_one(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LEANMARK_SIGNING_KEY", text)
    with pytest.raises(UsageError, match="LEANMARK_SIGNING_KEY") as caught:
        signing_key()
    assert "c2VjcmV0" not in str(caught.value)


def test_public_key_says_where_to_find_the_digits_when_a_short_id_is_given(key: SigningKey) -> None:
    with pytest.raises(UsageError, match=r"64 hexadecimal digits.*verify FILE --json.*signer\.pub"):
        load_public(key.public.key_id[:16])
    assert "--trust needs" in trusted([key.public.key_id]).standing(key.public).sentence


def test_public_key_never_replaces_another_file_when_the_name_of_the_private_one_has_a_dot(tmp_path: Path) -> None:
    for name in ("acme.2026", "acme.2027", "acme.key", "acme"):
        key = generate(tmp_path / name)
        assert load_public(public_path(tmp_path / name)) == key.public == load_private(tmp_path / name).public
    assert load_public(tmp_path / "acme.2026.pub") == load_private(tmp_path / "acme.2026").public
    with pytest.raises(UsageError, match=r"must not end in \.pub, the suffix of public keys, got mine\.pub"):
        generate(tmp_path / "mine.pub")
    assert not (tmp_path / "mine.pub").exists()
