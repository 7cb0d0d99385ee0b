"""The guide recipes/guides/use-policy.md: its terms bind, and its commands exist with their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from certify.cli.main import main
from certify.core.yaml_document import parse_document
from certify.workflows.data_governance import bind_policy

GUIDE = (Path(__file__).resolve().parents[2] / "recipes" / "guides" / "use-policy.md").read_text()
COMMANDS = re.findall(r"^    leanmark (.+)$", GUIDE, re.MULTILINE)


def test_terms_of_the_guide_bind_when_written_verbatim(tmp_path: Path) -> None:
    import numpy as np

    from certify.core.private_data import DataKey

    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "digits.npz", x=images, y=np.arange(40) % 2)
    terms = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert terms is not None
    values = parse_document(terms[1].encode(), "terms.yaml").values
    _, policy = bind_policy(f"npz:{tmp_path / 'digits.npz'}", values, DataKey(bytes(32)))
    assert policy.no_sale and policy.consent == "required"


@pytest.mark.parametrize("line", COMMANDS)
def test_command_of_the_guide_parses(line: str) -> None:
    words = shlex.split(line)
    context = click.Context(main)
    command = main.get_command(context, words.pop(0))
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
