"""Every leanmark command in the documents exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from certify.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "recipes" / "guides").glob("*.md")),
]
LINE = re.compile(r"^\s*(?:- run: )?(leanmark .*)$")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command on a line of its own, with the lines that a backslash joins to it."""
    code, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        fenced ^= line.lstrip().startswith("```")
        if (fenced or line.startswith("    ")) and (found := LINE.match(line)):
            code.append(found[1])
    for command in code:
        yield shlex.split(command, comments=True)[1:]


def test_commands_joins_lines_and_drops_comments() -> None:
    text = "```sh\nleanmark verify a  # a comment\nleanmark score b \\\n    --sign\n```\n\nleanmark is a tool\n"
    assert list(commands(text)) == [["verify", "a"], ["score", "b", "--sign"]]


def test_documents_show_commands() -> None:
    assert sum(1 for path in DOCUMENTS for _ in commands(path.read_text())) > 100


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documented_commands_have_their_options(path: Path) -> None:
    unknown = []
    for words in commands(path.read_text()):
        command, context = main, click.Context(main)
        rest = list(words)
        while isinstance(command, click.Group):
            name = rest.pop(0)
            found = command.get_command(context, name)
            assert found is not None, f"{path.name}: leanmark {' '.join(words)}"
            command = found
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        unknown += [f"{words}: {word}" for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert unknown == []
