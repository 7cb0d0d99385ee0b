"""``leanmark trust``, ``keygen --rotate`` and ``--revoke``, and what verify then says."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
import rfc8785
from click.testing import CliRunner, Result

from certify.attest.key_statements import KEY_STATEMENTS_NAME
from certify.attest.keys import SigningKey, generate, load_private
from certify.attest.trust import STORE_NAME, load_store
from certify.cli.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def pem(key: SigningKey, tmp_path: Path) -> Path:
    """The maker's public key, as given to others."""
    path = tmp_path / "acme.pub"
    path.write_bytes(key.public.to_pem())
    return path


def test_trust_add_makes_the_key_known_until_it_is_removed(folder: Path, pem: Path) -> None:
    model = folder / "model.onnx"
    assert run("verify", model).exit_code == 4
    assert run("trust", "add", pem).exit_code == 0
    shown = run("verify", model)
    assert shown.exit_code == 0 and "You trust this key (acme)." in shown.stdout
    assert "self-attested" in shown.stdout
    assert json.loads(run("trust", "list", "--json").stdout)["keys"][0]["name"] == "acme"
    assert "acme: " in run("trust", "list").stdout
    assert run("trust", "remove", "acme").exit_code == 0
    assert run("verify", model).exit_code == 4
    assert "trust any key" in run("trust", "list").stdout
    assert run("trust", "remove", "acme").exit_code == 2


def test_trust_revoke_fails_the_verification_when_the_user_or_the_key_revokes(
    folder: Path, pem: Path, key: SigningKey, tmp_path: Path
) -> None:
    run("trust", "add", pem, "--name", "acme")
    result = run("trust", "revoke", "acme", "--reason", "seen on a market")
    assert result.exit_code == 0 and key.public.key_id in result.stdout
    shown = run("verify", folder / "model.onnx", "--trust", pem)
    assert shown.exit_code == 1 and "REVOKED (seen on a market)" in shown.stdout
    assert "(REVOKED)" in run("trust", "list").stdout
    assert run("trust", "add", pem, "--name", "again").exit_code == 2
    own = tmp_path / "own.key"
    generate(own)
    made = run("keygen", "--out", own, "--revoke", tmp_path / "revocation.json", "--reason", "stolen", "--json")
    assert made.exit_code == 0
    assert run("trust", "revoke", tmp_path / "revocation.json").exit_code == 0
    assert load_store().revoked[load_private(own).public] == "stolen"
    assert load_private(own).private.private_bytes_raw().hex() not in (tmp_path / "revocation.json").read_text()


def test_keygen_rotate_hands_trust_over_when_the_statement_is_imported(
    folder: Path, own_config: Path, tmp_path: Path
) -> None:
    path = tmp_path / "keys" / "release.key"
    old = generate(path)
    run("trust", "add", path.with_suffix(".pub"), "--name", "lab")
    rotation = json.loads(run("keygen", "--out", path, "--rotate", "--json").stdout)
    assert (rotation["old_key_id"], rotation["key_id"]) == (old.public.key_id, load_private(path).public.key_id)
    assert load_private(Path(rotation["old_private_key"])).public == old.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not load_store().standing(load_private(path).public).trusted
    taken = run("trust", "add", rotation["statements"])
    assert taken.exit_code == 0 and "handed over" in taken.stdout
    assert load_store().standing(load_private(path).public).name == "lab"
    assert "handed over to" in run("trust", "list").stdout
    assert run("trust", "revoke", rotation["statements"]).exit_code == 2
    rotated = run("keygen", "--out", path, "--rotate")
    assert KEY_STATEMENTS_NAME in rotated.stdout and rotated.exit_code == 0
    assert "PRIVATE" not in rotated.stdout + taken.stdout
    assert (own_config / STORE_NAME).is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("keygen", "--rotate", "--force"),
        ("keygen", "--rotate"),
        ("keygen", "--revoke", "x.json", "--rotate"),
        ("trust", "add", "absent.pub"),
        ("trust", "revoke", "nobody"),
        ("trust", "no-such-thing"),
    ],
)
def test_commands_exit_with_2_when_misused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert not list(tmp_path.iterdir())


def test_trust_add_warns_when_the_key_comes_with_what_it_vouches_for(
    folder: Path, key: SigningKey, pem: Path, tmp_path: Path
) -> None:
    (folder / "signer.pub").rename(tmp_path / "signer.pub")
    assert "Warning" not in run("trust", "add", tmp_path / "signer.pub", "--name", "apart").output
    shutil.copyfile(tmp_path / "signer.pub", folder / "signer.pub")
    for source in (folder / "certificate.json", folder / "model.onnx", folder, folder / "signer.pub"):
        done = run("trust", "add", source, "--name", "maker")
        assert done.exit_code == 0 and "Warning: this key came with the certificate" in done.stderr, done.output
        assert load_store().keys["maker"] == key.public
    assert key.public.hex in run("trust", "list").stdout
    assert run("verify", folder).exit_code == 0


def test_trust_add_refuses_when_a_certificate_names_a_key_that_did_not_sign_it(folder: Path, key: SigningKey) -> None:
    envelope = json.loads((folder / "certificate.json").read_bytes())
    signature = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("B" if signature[0] == "A" else "A") + signature[1:]
    (folder / "certificate.json").write_bytes(rfc8785.dumps(envelope))
    done = run("trust", "add", folder / "certificate.json")
    assert done.exit_code == 1 and "no key was added" in done.stderr
    assert not load_store().keys
