from __future__ import annotations

import importlib

import click
import pytest
from click.testing import CliRunner

from certify.cli.output import bars, quiet_option
from certify.core.progress import Bars, Silent


@pytest.mark.parametrize("name", ["audit", "certify", "countersign", "profile"])
def test_command_takes_quiet_when_it_draws_progress(name: str) -> None:
    command = importlib.import_module(f"certify.cli.{name}").command
    assert "--quiet" in [flag for each in command.params for flag in each.opts]


@pytest.mark.parametrize(("flags", "kind"), [([], Bars), (["--quiet"], Silent)])
def test_bars_are_silent_when_quiet_is_asked_for(flags: list[str], kind: type) -> None:
    @click.command()
    @quiet_option
    def command() -> None:
        assert isinstance(bars(), kind)

    assert CliRunner().invoke(command, flags, catch_exceptions=False).exit_code == 0
