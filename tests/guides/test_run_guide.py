"""The guides run by scripts: their blocks are read in order, and their commands exist with the options given."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

from certify.assessments.declarations.declaration import parse_declaration
from certify.cli.main import main
from compress.job import recipe

SCRIPT = Path(__file__).parent / "run_guide.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_guide", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_are_files_and_commands_in_the_order_of_the_guide(script: ModuleType) -> None:
    text = '```python title="a.py"\nprint(1)\n```\ntext\n```sh\npython a.py\n# comment\ntrue\n```\n```yaml\nx: 1\n```\n'
    assert list(script.steps(text)) == [("a.py", "print(1)\n"), (None, "python a.py"), (None, "true")]


@pytest.mark.parametrize(
    ("command", "status", "expected"),
    [("leanmark certify a", 3, True), ("leanmark certify a", 1, False), ("leanmark score a", 3, False), ("x", 0, True)],
)
def test_only_certify_may_end_without_a_grade(script: ModuleType, command: str, status: int, expected: bool) -> None:
    assert script.allowed(shlex.split(command), status) is expected


def test_run_stops_at_the_first_command_that_fails(
    script: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = '```text title="said"\nhello\n```\n```sh\ncat said\nfalse\necho never\n```\n'
    assert script.run(text, tmp_path) == 1
    shown = capfd.readouterr().out
    assert "hello" in shown and "\nnever" not in shown
    assert script.run("```sh\ntrue\n```\n", tmp_path) == 0


def test_commands_of_the_guide_have_the_options_that_they_use(script: ModuleType) -> None:
    text = script.GUIDE.read_text("utf-8")
    commands = [shlex.split(line) for name, line in script.steps(text) if name is None and line.startswith("leanmark ")]
    assert {words[1] for words in commands} == {
        "compress", "attack", "certify", "state", "declare", "score", "page", "verify",
    }  # fmt: skip
    for words in commands:
        command = main.get_command(click.Context(main), words[1])
        assert command is not None, words
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_files_of_the_guide_are_valid(script: ModuleType, tmp_path: Path) -> None:
    files = {name: content for name, content in script.steps(script.GUIDE.read_text("utf-8")) if name}
    for name, content in files.items():
        if name.endswith(".py"):
            compile(content, name, "exec")
        else:
            assert yaml.safe_load(content)
    declared = parse_declaration(files["declarations.yaml"].encode(), "declarations.yaml")
    assert declared.people == "depicted" and declared.faces == "no" and declared.signed_by
    (tmp_path / "recipe.yaml").write_text(files["recipe.yaml"])
    passes = recipe.load(tmp_path / "recipe.yaml").passes
    assert [one.name for one in passes] == ["structured_prune", "federated_finetune", "quantize_static"]
