"""What a build pipeline reads: errors as JSON, and the annotations of a gate that stopped a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from certify.core.errors import CertificateError

Run = Callable[..., Result]
Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("verify", "MODEL", "--json"), 1),
        (("verify", "absent.onnx", "--json"), 2),
        (("verify", "--json"), 2),
        (("verify", "MODEL", "--json", "--nonsense"), 2),
        (("varify", "--json"), 2),
        (("trust", "remove", "nobody", "--json"), 2),
        (("gate", "MODEL", "--at-least", "Z", "--json"), 2),
    ],
)
def test_error_is_one_json_object_when_json_was_requested(
    leanmark: Run, onnx_file: Make, arguments: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "config"))
    model = onnx_file()
    command = [model if word == "MODEL" else word for word in arguments]
    done = leanmark(*command)
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"], done.stderr) == (code, code, "")
    assert error["message"] and not error["message"].startswith("Error")
    plain = leanmark(*(word for word in command if word != "--json"))
    assert (plain.exit_code, plain.stdout) == (code, "") and plain.stderr


@pytest.mark.parametrize("arguments", [("verfy",), ("trust", "remove", "nobody"), ("verify", "absent.onnx")])
def test_error_is_wrapped_at_spaces_when_a_terminal_shows_it(
    leanmark: Run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "40")
    in_file = leanmark(*arguments).stderr
    monkeypatch.setattr("certify.cli.main._on_terminal", lambda: True)
    on_terminal = leanmark(*arguments).stderr
    assert max(map(len, in_file.splitlines())) > 40 >= max(map(len, on_terminal.splitlines()))
    assert on_terminal.split() == in_file.split()


def test_exit_codes_of_success_and_usage_errors_are_listed_when_a_command_names_only_others(leanmark: Run) -> None:
    codes = leanmark("fairness", "--help").output.partition("Exit codes:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in codes.splitlines()] == ["0", "2", "3"]


def test_gate_annotates_each_reason_when_github_runs_it(
    leanmark: Run, onnx_file: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CertificateError("100 % of <b>it</b>\nis wrong.")

    monkeypatch.setattr("certify.comparison.evaluate_policy", refuse)
    model, summary = onnx_file(), tmp_path / "summary.md"
    assert "::" not in leanmark("gate", model).output
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = leanmark("gate", model, "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["error"]["code"] == 1
    assert done.stderr == "::error title=leanmark gate::100 %25 of <b>it</b> is wrong.\n"
    assert summary.read_text().splitlines()[-1] == "- 100 % of \\<b\\>it\\</b\\> is wrong."


@pytest.mark.parametrize("command", ["audit", "label", "score"])
def test_reason_is_given_when_a_file_is_damaged(leanmark: Run, command: str, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(b"hello\n")
    done = leanmark(command, path)
    assert done.exit_code == 1 and f"{path} is damaged or not an ONNX model" in done.stderr
    assert "seal:" not in done.stderr
