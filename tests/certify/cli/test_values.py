from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certify.cli.command import Command
from certify.cli.main import main
from certify.cli.values import OutFile


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs a command that reads a file and writes another one."""
    monkeypatch.chdir(tmp_path)
    Path("photos.npz").write_text("given")

    @click.command(cls=Command, example="draw photos.npz --out a.svg")
    @click.argument("file", type=click.Path(exists=True, path_type=Path))
    @click.option("--out", type=OutFile())
    @click.option("--more", type=click.Path(path_type=Path), multiple=True)
    @click.option("--size", type=click.FloatRange(min=0), multiple=True)
    def command(file: Path, out: Path, more: tuple[Path, ...], size: tuple[float, ...]) -> None:
        out.write_text("drawn")

    return lambda *arguments: CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    "name", ["model.onnx", "MODEL.ONNX", "net.pt2", "certificate.json", "evidence.jsonl", "signer.pub"]
)
def test_output_is_refused_when_it_would_replace_a_model_or_its_evidence(draw, name: str) -> None:  # type: ignore[no-untyped-def]
    assert draw("photos.npz", "--out", name).exit_code == 0  # nothing is there yet
    Path(name).write_text("signed")
    result = draw("photos.npz", "--out", name)
    assert result.exit_code == 2 and f"'--out': File '{name}' is a model" in result.stderr
    assert Path(name).read_text() == "signed"


@pytest.mark.parametrize("arguments", [("photos.npz",), (".", "--more", "photos.npz")])
def test_output_is_refused_when_it_is_an_input(draw, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    result = draw(*arguments, "--out", "./photos.npz")
    assert result.exit_code == 2 and "is an input, and would be lost" in result.stderr
    assert Path("photos.npz").read_text() == "given"


def test_older_output_is_replaced(draw) -> None:  # type: ignore[no-untyped-def]
    Path("a.svg").write_text("old")
    assert draw("photos.npz", "--out", "a.svg").exit_code == 0 and Path("a.svg").read_text() == "drawn"


@pytest.mark.parametrize(
    "arguments",
    [["keygen", "--out", ""], ["verify", ""], ["verify", "x", "--certificate="], ["witness", "check", ""]],
)
def test_empty_path_is_a_usage_error(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "Path must not be empty." in result.stderr
    assert not list(tmp_path.iterdir())


def test_revocation_never_replaces_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["keygen", "--out", "own.key"]).exit_code == 0
    result = CliRunner().invoke(main, ["keygen", "--out", "own.key", "--revoke", "own.pub"])
    assert result.exit_code == 2 and "own.pub already exists; --revoke takes the name of a new file" in result.stderr
    assert b"PUBLIC KEY" in Path("own.pub").read_bytes()


@pytest.mark.parametrize("number", ["nan", "inf", "1e400"])
def test_number_is_a_usage_error_when_it_is_not_finite(draw, number: str) -> None:  # type: ignore[no-untyped-def]
    result = draw("photos.npz", "--out", "a.svg", "--size", "2", "--size", number)
    assert result.exit_code == 2 and "'--size': must be a finite number, got" in result.stderr
    assert not Path("a.svg").exists()
