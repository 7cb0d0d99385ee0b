"""The options of private data: which go together, and the data key that is made on first use."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from certify.cli.command import take_data_key
from certify.core.errors import UsageError
from certify.core.private_data import DataKey


def test_no_key_is_used_when_data_are_not_private() -> None:
    arguments = {"private_data": False, "data_key": None, "seed": 3}
    assert take_data_key(arguments) is None and arguments == {"seed": 3}
    assert take_data_key({}) is None  # of a command without the options


def test_own_key_is_created_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path))
    first = take_data_key({"private_data": True, "data_key": None})
    again = take_data_key({"private_data": True, "data_key": None})
    assert isinstance(first, DataKey) and first == again == DataKey.read(tmp_path / "data.key")
    assert capsys.readouterr().err.count("Created the data key") == 1


def test_key_is_refused_when_data_are_not_private_or_it_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "some.key"
    path.write_text("text")
    with pytest.raises(click.UsageError, match="--private-data"):
        take_data_key({"private_data": False, "data_key": path})
    with pytest.raises(UsageError, match="is not a data key file"):
        take_data_key({"private_data": True, "data_key": path})


def test_key_is_not_created_when_the_named_file_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "typo.key"
    with pytest.raises(UsageError, match=r"No data key found at .*typo\.key; .* create one with leanmark keygen"):
        take_data_key({"private_data": True, "data_key": path})
    assert not path.exists()
