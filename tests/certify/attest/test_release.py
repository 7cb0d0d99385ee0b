"""Signed releases: every change of a file, of the statement or of the key is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from certify.attest.keys import SigningKey, new_key, store_key
from certify.attest.release import check_release, sign_release
from certify.cli.main import main
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes


@pytest.fixture
def key() -> SigningKey:
    return new_key()


@pytest.fixture
def statement(tmp_path: Path, key: SigningKey) -> Path:
    for name in ("tool-1.0-py3-none-any.whl", "tool-1.0.tar.gz"):
        (tmp_path / name).write_text(name)
    written = tmp_path / "release.json"
    write_bytes(written, sign_release(sorted(tmp_path.glob("tool*")), "tool 1.0", key).content)
    return written


def test_release_holds_when_the_files_are_as_signed(statement: Path, key: SigningKey) -> None:
    checked = check_release(statement, trust=[key.public])
    assert (checked.release, len(checked.files), checked.faults, checked.exit_code) == ("tool 1.0", 2, (), 0)


def test_release_is_not_trusted_when_a_stranger_signed_it(statement: Path) -> None:
    assert check_release(statement, trust=[new_key().public]).exit_code == 4


def test_release_fails_when_a_file_was_altered_or_is_missing(statement: Path, key: SigningKey) -> None:
    (statement.parent / "tool-1.0.tar.gz").write_text("other")
    (statement.parent / "tool-1.0-py3-none-any.whl").unlink()
    checked = check_release(statement, trust=[key.public])
    assert checked.exit_code == 1 and len(checked.faults) == 2
    assert "missing" in checked.faults[0] and "not the file" in checked.faults[1]


def test_release_is_refused_when_one_byte_of_the_statement_differs(statement: Path, key: SigningKey) -> None:
    content = statement.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1
        statement.write_bytes(bytes(changed))
        with pytest.raises(CertificateError):
            check_release(statement, trust=[key.public])


def test_signing_is_refused_when_two_files_have_the_same_name(tmp_path: Path, key: SigningKey) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.whl").write_text(folder)
    with pytest.raises(UsageError, match=r"same\.whl"):
        sign_release(sorted(tmp_path.rglob("same.whl")), "tool 1.0", key)


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_signing_is_refused_when_the_name_is_not_valid(tmp_path: Path, key: SigningKey, name: str) -> None:
    (tmp_path / "tool.whl").write_text("")
    with pytest.raises(CertificateError, match="release"):
        sign_release([tmp_path / "tool.whl"], name, key)


def test_commands_sign_and_check_a_release(statement: Path, key: SigningKey, tmp_path: Path) -> None:
    secret = tmp_path / "maker.key"
    store_key(key, secret)
    out = tmp_path / "again.json"
    signing = ["release", "sign", *map(str, sorted(tmp_path.glob("tool*"))), "--name", "tool 1.0"]
    signed = CliRunner().invoke(main, [*signing, "--out", str(out), "--key", str(secret)])
    assert signed.exit_code == 0 and "Signed 2 files" in signed.output
    checking = ["release", "check", str(out)]
    assert CliRunner().invoke(main, [*checking, "--trust", key.public.hex]).exit_code == 0
    (tmp_path / "tool-1.0.tar.gz").write_text("other")
    found = CliRunner().invoke(main, [*checking, "--trust", key.public.hex, "--json"])
    assert found.exit_code == 1 and "not the file that was signed" in found.output
