"""Nothing is believed, shown or passed on of figures that follow from no evidence."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.attest import checks_sidecars
from certify.attest.keys import SigningKey
from certify.attest.verify import require_derived, verify
from certify.cli.main import main
from certify.core.errors import CertificateError, NotDerivedError

Resign = Callable[[Path, Callable[[dict[str, Any]], object], SigningKey], Path]

WITHHELD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a pipe": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
}
SHOWING = {
    "label": (),
    "badge": (),
    "report": (),
    "export": ("--format", "cyclonedx"),
    "audit": (),
    "gate": ("--any-key",),
    "verify": ("--strict",),
}


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)])


@pytest.mark.parametrize("how", WITHHELD)
def test_verify_says_not_derived_when_evidence_is_withheld(folder: Path, key: SigningKey, how: str) -> None:
    (folder / "evidence.jsonl").unlink()
    WITHHELD[how](folder / "evidence.jsonl")
    verification = verify(folder / "model.onnx", trust=[key.public])
    assert verification.valid and not verification.derived
    assert (verification.exit_code, verification.strict_exit_code) == (0, 5)
    assert verification.verdict.startswith("valid, but NOT DERIVED (")
    assert verification._repr_svg_() is None


def test_verify_says_not_derived_when_evidence_may_not_be_read(
    folder: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "evidence.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    verification = verify(folder / "model.onnx", trust=[key.public])
    assert verification.strict_exit_code == 5 and "Permission denied" in verification.verdict


@pytest.mark.parametrize("command", SHOWING)
@pytest.mark.parametrize("how", ["missing", "an endless device"])
def test_command_exits_with_5_when_evidence_is_withheld(folder: Path, key: SigningKey, command: str, how: str) -> None:
    (folder / "evidence.jsonl").unlink()
    WITHHELD[how](folder / "evidence.jsonl")
    trust = ("--trust", key.public.hex) if command in ("audit", "gate", "verify") else ()
    result = run(command, folder / "model.onnx", *SHOWING[command], *trust)
    assert result.exit_code == 5, result.output
    assert not {"badge.svg", "report.html"} & {path.name for path in folder.iterdir()}


def test_compare_exits_with_5_when_one_of_the_models_has_no_evidence(folder: Path, certified: Path) -> None:
    (folder / "evidence.jsonl").unlink()
    assert run("compare", folder / "model.onnx", certified / "model.onnx").exit_code == 5


@pytest.mark.parametrize("command", ["label", "badge", "report", "export", "gate", "verify"])
def test_command_exits_with_1_when_the_model_was_altered(folder: Path, command: str) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    (folder / "evidence.jsonl").unlink()  # what was altered weighs more than what is missing
    result = run(command, folder / "model.onnx", *SHOWING[command])
    assert result.exit_code == 1, result.output


def test_label_is_redrawn_when_the_one_next_to_the_model_differs(folder: Path) -> None:
    drawn = (folder / "label.svg").read_text()
    (folder / "label.svg").write_text("<svg/>")
    assert run("label", folder / "model.onnx").exit_code == 0
    assert (folder / "label.svg").read_text() == drawn


def test_require_derived_distinguishes_invalid_from_not_derived(folder: Path) -> None:
    (folder / "evidence.jsonl").unlink()
    with pytest.raises(NotDerivedError, match=r"evidence.jsonl is missing"):
        require_derived(folder / "model.onnx")
    (folder / "lineage.json").write_text("{}")
    with pytest.raises(CertificateError, match=r"lineage.json is not the lineage that was signed") as failure:
        require_derived(folder / "model.onnx")
    assert failure.value.exit_code == 1


@pytest.mark.parametrize(
    ("command", "code"), [("gate", 4), ("audit", 4), ("verify", 4), ("label", 0), ("badge", 0), ("report", 0)]
)
def test_command_exits_with_4_when_asked_who_signed(folder: Path, command: str, code: int) -> None:
    assert run(command, folder / "model.onnx").exit_code == code


def test_created_fails_when_measuring_began_in_the_future(
    folder: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)  # as the made-up evidence says

    def failed(later_minutes: float) -> list[str]:
        now = began + datetime.timedelta(minutes=later_minutes)
        monkeypatch.setattr(checks_sidecars, "now", lambda: now)
        return [check.name for check in verify(folder / "model.onnx", trust=[key.public]).failed]

    assert failed(-9) == failed(0) == failed(1e6) == []
    assert failed(-11) == failed(-1e6) == ["created"]


def _estimate(name: str, factor: float) -> Callable[[dict[str, Any]], object]:
    def change(statement: dict[str, Any]) -> None:
        estimate = statement["predicate"]["profile"]["estimates"][name]
        estimate.update({end: factor * estimate[end] for end in ("value", "low", "high")})

    return change


@pytest.mark.parametrize("name", ["macs_baseline", "bytes_baseline", "parameters_baseline"])
def test_baseline_facts_fail_when_the_baseline_is_smaller_than_signed(
    folder: Path, key: SigningKey, sign_again: Resign, name: str
) -> None:
    (folder / "evidence.jsonl").unlink()  # with it, the profile would not follow either
    path = sign_again(folder, _estimate(name, 10), key)
    verification = verify(path, trust=[key.public])
    assert [check.name for check in verification.failed] == ["baseline_facts"], str(verification)
    (folder / "baseline.onnx").unlink()
    assert verify(path, trust=[key.public]).valid


OBSERVED: dict[str, Any] = {
    "zero channels": ("zero_channels", {"channels": 10, "zero": 0, "share": 0.01}),
    "share of all-zero channels": ("zero_channels", {"share": 0.02}),
    "quantized operators": ("quantization", {"intended": 3, "fused": 3, "unfused": []}),
}


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("what", OBSERVED)
def test_observed_facts_fail_alone_when_the_file_shows_other_facts(
    tmp_path: Path, normalised: Path, certified_evidence: Callable[..., Any], observed_in: Callable[..., Any],
    make_papers: Callable[..., Path], key: SigningKey, what: str, arm: str,
) -> None:  # fmt: skip
    name, values = OBSERVED[what]
    honest = observed_in(normalised, normalised)[name]
    evidence = certified_evidence(observations={name: {**honest, arm: values}})
    path = make_papers(tmp_path / "out", normalised, evidence, key)
    verification = verify(path, trust=[key.public])
    assert [check.name for check in verification.failed] == ["observed_facts"], str(verification)
    assert json.loads(json.dumps(verification.to_json()))["valid"] is False
