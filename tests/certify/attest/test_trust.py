"""Whom to believe: keys by name, successors, and keys that were taken back."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from certify.attest.envelope import parse_envelope, sign
from certify.attest.key_statements import KEY_STATEMENTS_NAME, hand_over, read_key_statements, revoke
from certify.attest.keys import SigningKey, load_private, load_public, new_key, signing_key
from certify.attest.rotation import rotate
from certify.attest.signed import Signed
from certify.attest.trust import STORE_NAME, TrustStore, load_store, trusted
from certify.attest.verify import verify
from certify.core.errors import CertificateError, UsageError


def store_of(*statements: Signed, **keys: SigningKey) -> TrustStore:
    store = TrustStore({name: key.public for name, key in keys.items()})
    for statement in statements:
        store = store.with_statement(statement)
    return store


def test_standing_is_trusted_when_the_key_or_its_predecessor_is() -> None:
    first, second, third, stranger = (new_key() for _ in range(4))
    chain = (hand_over(first, second.public), hand_over(second, third.public))
    store = store_of(*chain, acme=first)
    assert store.standing(first.public).name == "acme"
    standing = store.standing(third.public)
    assert standing.trusted and standing.name == "acme"
    for key in (first, second, third):
        assert key.public.key_id[:16] in standing.sentence
    assert not store.standing(stranger.public).trusted
    assert not store_of(*chain, acme=second).standing(first.public).trusted  # trust goes forward only


def test_standing_is_revoked_when_the_key_or_the_user_revoked_it() -> None:
    first, second, third = (new_key() for _ in range(3))
    chain = (hand_over(first, second.public), hand_over(second, third.public))
    store = store_of(*chain, revoke(second, "stolen"), acme=first)
    assert store.standing(first.public).trusted
    assert store.standing(second.public).revoked and "stolen" in store.standing(second.public).sentence
    assert not store.standing(third.public).trusted and not store.standing(third.public).revoked
    mine = store_of(acme=first).with_revoked(first.public, "you said so")
    assert not mine.standing(first.public).trusted and mine.standing(first.public).revoked
    with pytest.raises(UsageError, match="revoked"):
        mine.with_key("again", first.public)


def test_standing_terminates_when_keys_hand_over_in_a_circle() -> None:
    one, other, stranger = (new_key() for _ in range(3))
    store = store_of(hand_over(one, other.public), hand_over(other, one.public), acme=one)
    assert store.standing(other.public).trusted
    assert not store.standing(stranger.public).trusted


def test_store_reads_back_the_same_when_saved(own_config: Path) -> None:
    first, second, third = (new_key() for _ in range(3))
    store = store_of(hand_over(first, second.public), revoke(third, "lost"), acme=first)
    assert load_store() == TrustStore()
    assert store.save() == own_config / STORE_NAME
    assert stat.S_IMODE((own_config / STORE_NAME).stat().st_mode) == 0o600
    assert load_store() == store
    assert store.without("acme").keys == {}
    with pytest.raises(UsageError, match="did you mean 'acme'"):
        store.without("acm")
    with pytest.raises(UsageError, match="name of another key"):
        store.with_key("acme", second.public)
    with pytest.raises(UsageError, match="schema"):
        store.with_key("two words", second.public).save()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": 2}', '{"version": 1, "keys": {"a": "no"}}'])
def test_load_store_refuses_when_the_file_is_malformed(own_config: Path, content: str) -> None:
    own_config.mkdir(parents=True)
    (own_config / STORE_NAME).write_text(content)
    (own_config / STORE_NAME).chmod(0o600)
    with pytest.raises(CertificateError, match="trust store"):
        load_store()


def test_load_store_refuses_when_others_may_write_to_it(own_config: Path) -> None:
    TrustStore().save()
    (own_config / STORE_NAME).chmod(0o666)
    with pytest.raises(CertificateError, match="0666"):
        load_store()


def test_trusted_includes_the_users_own_key_when_there_is_one(key: SigningKey) -> None:
    assert trusted() == TrustStore()
    own = signing_key()
    assert set(trusted([key.public.hex, own.public]).keys.values()) == {own.public, key.public}
    assert trusted().standing(own.public).name == "your own"


@pytest.mark.parametrize("what", ["successor", "signature", "line"])
def test_read_key_statements_refuses_when_a_statement_was_changed(tmp_path: Path, what: str) -> None:
    old, new, thief = (new_key() for _ in range(3))
    payload = parse_envelope(hand_over(old, new.public).content).payload
    if what == "successor":  # signed, but the subject is another key
        content = sign(payload.replace(new.public.hex.encode(), thief.public.hex.encode()), old).to_bytes()
    elif what == "signature":
        content = sign(payload, thief).to_bytes()
    else:
        content = b"nothing"
    (tmp_path / "keys.jsonl").write_bytes(revoke(new, "lost").content + b"\n" + content + b"\n")
    with pytest.raises(CertificateError, match="line 2"):
        read_key_statements(tmp_path / "keys.jsonl")


def test_rotate_keeps_the_old_key_when_a_new_one_takes_its_place(own_config: Path) -> None:
    first = signing_key()
    one, two = rotate(), rotate()
    assert (one.old, two.old, two.new.public) == (first.public, one.new.public, signing_key().public)
    assert load_private(one.old_path).public == first.public == load_public(one.old_path.with_suffix(".pub"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in own_config.glob("*.key")} == {0o600}
    chain = read_key_statements(two.statements)
    assert [statement.signer for statement in chain] == [first.public, one.new.public]
    assert store_of(*chain, acme=first).standing(two.new.public).trusted
    for secret in (first, one.new, two.new):
        assert secret.private.private_bytes_raw().hex() not in two.statements.read_text()


def test_rotate_refuses_when_there_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keygen"):
        rotate(tmp_path / "absent.key")


def test_verify_accepts_the_key_when_a_trusted_one_handed_over(folder: Path, key: SigningKey) -> None:
    old = new_key()
    statement = hand_over(old, key.public).content + b"\n"
    assert verify(folder / "model.onnx", trust=[old.public]).exit_code == 4
    (folder / KEY_STATEMENTS_NAME).write_bytes(statement)
    verification = verify(folder / "model.onnx", trust=[old.public])
    assert verification.exit_code == 0
    check = verification.check("key_trusted")
    assert check is not None and "handed over" in check.sentence
    (folder / KEY_STATEMENTS_NAME).write_bytes(statement + revoke(old, "stolen").content)
    assert verify(folder / "model.onnx", trust=[old.public]).exit_code == 4
    (folder / KEY_STATEMENTS_NAME).write_bytes(statement[:-9])
    assert {check.name for check in verify(folder / "model.onnx").failed} == {"key_statements"}


def test_verify_fails_when_the_key_is_revoked(folder: Path, key: SigningKey) -> None:
    store_of(revoke(key, "stolen"), acme=key).save()
    verification = verify(folder / "model.onnx", trust=[key.public])
    assert verification.exit_code == 1
    assert [check.name for check in verification.failed] == ["key_trusted"]
    assert "REVOKED (stolen)" in str(verification)


def test_verify_trusts_the_key_when_it_is_in_the_store(folder: Path, key: SigningKey) -> None:
    store_of(acme=key).save()
    verification = verify(folder / "model.onnx")
    assert verification.exit_code == 0
    assert json.loads(json.dumps(verification.to_json()))["signatures"] == [
        {
            "role": "maker",
            "key_id": key.public.key_id,
            "name": "acme",
            "trusted": True,
            "vouches_for": "self-attested",
            "agrees": True,
            "auditor_files": [],
        }
    ]
