"""The maker's commands: help, lists, JSON, and one sentence for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from certify.core.errors import UsageError
from compress.cli import compress, models, passes, recipes, tokenize
from compress.job import recipe

COMMANDS = {"compress": compress, "models": models, "passes": passes, "recipes": recipes, "tokenize": tokenize}


def _invoke(name, *arguments):
    return CliRunner().invoke(COMMANDS[name].command, arguments, catch_exceptions=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name):
    result = _invoke(name, "--help")
    assert result.exit_code == 0
    assert f"leanmark {name}" in result.output


def test_commands_import_without_torch():
    code = "import sys, compress, " + ", ".join(f"compress.cli.{name}" for name in COMMANDS)
    code += "; from compress import passes; from compress.job import recipe"
    code += "; recipe.load('balanced'); passes.describe('structured_prune')"
    code += "; sys.exit(any(name in sys.modules for name in ('torch', 'onnxruntime')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_data_are_refused_before_torch_is_loaded(tmp_path):
    code = """
import sys
from click.testing import CliRunner
from certify.core.errors import UsageError
from compress.cli import compress, search, table

for command, more in ((compress, ()), (search, ("--max-loss", "1")), (table, ())):
    error = CliRunner().invoke(command.command, ["resnet18", "--data", "photos", *more]).exception
    assert isinstance(error, UsageError) and "Unknown data 'photos'" in str(error), error
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_models_are_listed_by_pattern():
    assert _invoke("models", "resnet18").output.split() == ["resnet18"]
    assert "resnet50" in json.loads(_invoke("models", "--json").output)["models"]
    with pytest.raises(UsageError, match="did you mean"):
        _invoke("models", "resnett5")


def test_recipes_are_listed_and_shown():
    listed = _invoke("recipes").output
    assert all(name in listed for name in ("int8", "prune", "balanced", "aggressive"))
    shown = _invoke("recipes", "balanced").output
    assert "structured_prune" in shown
    assert "macs" in shown
    assert json.loads(_invoke("recipes", "balanced", "--json").output)["passes"][0]["structured_prune"]["macs"] == 0.5
    assert len(json.loads(_invoke("recipes", "--json").output)["recipes"]) == len(recipe.names())


def test_passes_are_listed_and_shown():
    assert "quantize_static" in _invoke("passes").output
    shown = _invoke("passes", "structured_prune").output
    assert "DepGraph" in shown
    assert "When not to use it" in shown
    assert "> 0, < 1" in shown
    values = json.loads(_invoke("passes", "distill", "--json").output)
    assert {parameter["name"] for parameter in values["parameters"]} >= {"epochs", "lr", "alpha", "temperature"}


@pytest.mark.parametrize(("text", "seconds"), [("600", 600), ("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_duration_is_parsed(text, seconds):
    assert compress.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "10 minutes", "m", "1e3"])
def test_duration_is_refused_when_malformed(text):
    with pytest.raises(click.BadParameter, match="positive duration"):
        compress.duration(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet118",), "did you mean 'resnet18'"),
        (("resnet18", "--recipe", "balancd"), "did you mean 'balanced'"),
        (("resnet18", "--data", "mnist5"), "did you mean 'mnist5k'"),
        (("resnet18", "--target", "cpu-vni"), "did you mean 'cpu-vnni'"),
        (("resnet18", "--data", "mnist5k", "--weights", "absent.safetensors"), "absent.safetensors"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_one(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=words) as error:
        _invoke("compress", *arguments)
    assert getattr(error.value, "exit_code", None) == 2
    assert not (tmp_path / "build").exists()


def test_paragraphs_are_wrapped_by_the_terminal_when_a_pass_is_shown(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    shown = _invoke("passes", "low_rank").output.splitlines()
    assert any(line.startswith("A linear layer or a 1 x 1") and line.endswith("stays unchanged.") for line in shown)
    assert "    >>> LowRank(energy=0.8).least_saving" in shown


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("width=2,depth=20", {"width": 2, "depth": 20}),
        ("widths=[2, 3], name=a=b", {"widths": [2, 3], "name": "a=b"}),
        ("cfg: {width: 2}", {"cfg": {"width": 2}}),
        ('{"width": 2.5, "norm": null}', {"width": 2.5, "norm": None}),
    ],
)
def test_model_arguments_are_read_when_they_are_pairs_yaml_or_json(text, values):
    assert compress.model_arguments(text) == values


def test_flags_of_the_contract_reach_the_job_and_exclude_a_file(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("compress.job.dry_run.dry_run", lambda model, **arguments: asked.append(arguments))
    monkeypatch.setattr("compress.cli.unmeasured_output.print_plan", lambda *_: None)
    flags = ("--mean", "0.5,0.5,0.5", "--resize", "none", "--input-size", "32x48")
    _invoke("compress", "resnet18", "--dry-run", "--model-args", "dropout=0.5", *flags)
    assert asked[0]["preprocess"] == {"mean": [0.5] * 3, "resize": None, "height": 32, "width": 48}
    assert asked[0]["model_args"] == {"dropout": 0.5}
    (tmp_path / "c.yaml").write_text("mean: [0.5]\n")
    with pytest.raises(UsageError, match="--preprocess and --mean exclude each other"):
        _invoke("compress", "resnet18", "--dry-run", "--preprocess", str(tmp_path / "c.yaml"), "--mean", "0.5")
