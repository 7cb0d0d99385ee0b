from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Run

from certify.attest.keys import generate
from certify.cli.main import main
from certify.comparison import Gate, evaluate_policy
from certify.core.errors import UsageError
from certify.core.evidence_file import read_evidence

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def good(certify_small: Make) -> Any:
    """Grade D: 0.3 of the energy, and 0.6 % at most lost."""
    return certify_small()


@pytest.fixture(scope="module")
def worse(certify_small: Make) -> Any:
    return certify_small(ratio=0.5, seed=1)


def gate(certified: Any, *arguments: object) -> Run:
    key = certified.key.public.hex
    return CliRunner().invoke(main, ["gate", str(certified.path), "--trust", key, *map(str, arguments)])


@pytest.mark.parametrize(
    "arguments", [(), ("--at-least", "D"), ("--at-least", "G"), ("--max-loss", 1), ("--metered",)]
)  # fmt: skip
def test_gate_passes_model_when_it_meets_the_requirements(good: Any, arguments: tuple[object, ...]) -> None:
    done = gate(good, *arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("passed: valid: grade D")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--at-least", "C"), "The grade must be at least C, got D on made up, 2 threads."),
        (("--max-loss", 0.1), "cannot be ruled out; it must be at most 0.1 %."),
    ],
)
def test_gate_stops_model_with_the_reason_when_it_falls_short(
    good: Any, arguments: tuple[object, ...], reason: str
) -> None:
    done = gate(good, *arguments)
    assert done.exit_code == 3
    assert reason in " ".join(done.stdout.split())


def test_gate_names_every_reason_when_there_are_several(good: Any) -> None:
    reasons = json.loads(gate(good, "--at-least", "A", "--max-loss", 0.1, "--json").stdout)["reasons"]
    assert len(reasons) == 2


def test_gate_stops_a_strangers_model_unless_any_key_will_do(good: Any, tmp_path: Path) -> None:
    stranger = generate(tmp_path / "other.key").public.hex
    arguments = ["gate", str(good.path), "--trust", stranger]
    stopped = CliRunner().invoke(main, arguments)
    assert stopped.exit_code == 4
    assert "you do not trust" in stopped.stdout
    assert CliRunner().invoke(main, [*arguments, "--any-key"]).exit_code == 0


@pytest.mark.parametrize("name", ["model.onnx", "evidence.jsonl", "certificate.json", "label.svg"])
def test_gate_stops_model_when_a_file_was_changed(good: Any, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(good.path.parent, tmp_path / "out")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    done = gate(good._replace(path=folder / "model.onnx"), "--any-key")
    assert done.exit_code == 1
    assert "not valid" in done.stdout


def test_gate_exits_with_5_when_nothing_was_derived_whoever_signed(good: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(good.path.parent, tmp_path / "out")
    (folder / "evidence.jsonl").unlink()
    alone = good._replace(path=folder / "model.onnx")
    for arguments in ((), ("--any-key",)):
        done = gate(alone, *arguments)
        assert done.exit_code == 5
        assert "not derived from evidence: evidence.jsonl is missing" in done.stdout


def test_gate_counts_a_plug_in_meter_as_metered_when_its_code_is_trusted(certify_small: Make) -> None:
    plugged = certify_small(level="wall")
    assert gate(plugged).exit_code == 0
    done = gate(plugged, "--metered")
    assert done.exit_code == 3 and "plug-in meter whose code you do not trust" in " ".join(done.stdout.split())
    for code, expected in (("ab" * 31, 2), ("cd" * 32, 3), ("ab" * 32, 0)):
        CliRunner().invoke(main, ["trust", "meter", code, "--name", f"bench-{code[:2]}"])
        assert gate(plugged, "--metered").exit_code == (3 if expected else 0)
    assert '"bench-ab": "abab' in CliRunner().invoke(main, ["trust", "list", "--json"]).stdout
    assert CliRunner().invoke(main, ["trust", "remove", "bench-ab"]).exit_code == 0
    assert gate(plugged, "--metered").exit_code == 3


def test_gate_stops_refusal_when_nothing_else_is_asked(certify_small: Make) -> None:
    done = gate(certify_small(null_bias=0.2))
    assert done.exit_code == 3
    assert "No grade was given: Guard null_holds failed" in done.stdout
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 and line.startswith(("stopped: ", "  ")) for line in lines) and len(lines) > 1


def test_gate_lists_each_reason_of_a_refusal_when_there_are_several(certify_small: Make) -> None:
    refused = certify_small(null_bias=0.2, samples=100, both=80)
    listed = [line for line in gate(refused).stdout.splitlines() if line.startswith("stopped: No grade was given: ")]
    assert len(listed) > 1


def test_gate_rejects_modelled_energy_when_metered_is_required(certify_small: Make) -> None:
    modelled = certify_small(level="modelled")
    assert gate(modelled, "--at-least", "D").exit_code == 0
    done = gate(modelled, "--metered")
    assert done.exit_code == 3
    assert "The energy must be metered, but it is modelled" in done.stdout


def test_gate_passes_model_when_it_is_as_good_as_the_earlier_one(good: Any, worse: Any) -> None:
    for earlier in (good.path.parent / "certificate.json", worse.path.parent / "certificate.json", worse.path):
        assert gate(good, "--not-worse-than", earlier).exit_code == 0


def test_gate_stops_model_with_both_figures_when_it_is_worse_than_the_earlier_one(good: Any, worse: Any) -> None:
    done = gate(worse, "--not-worse-than", good.path.parent / "certificate.json")
    assert done.exit_code == 3
    assert "The grade is F; the earlier one was D." in done.stdout
    assert "The energy ratio is 0.49" in done.stdout


def test_gate_stops_model_when_accuracy_is_shown_to_be_worse(good: Any, certify_small: Make) -> None:
    lossy = certify_small(ratio=0.1, only_baseline=45)
    done = gate(lossy, "--not-worse-than", good.path.parent / "certificate.json")
    assert done.exit_code == 3
    assert "relative loss percent" in done.stdout


def test_gate_stops_model_when_the_earlier_one_cannot_be_compared(good: Any, certify_small: Make) -> None:
    other = certify_small(header={"device": {"processor": "another", "processors_allowed": 2}})
    done = gate(good, "--not-worse-than", other.path.parent / "certificate.json")
    assert done.exit_code == 3
    assert "cannot be compared with the earlier certificate: different device" in done.stdout


def test_gate_compares_joules_and_not_letters_when_baselines_differ(good: Any, certify_small: Make) -> None:
    facts = read_evidence(good.path.parent / "evidence.jsonl").header.models["candidate"]
    header = {"models": {"baseline": replace(facts, file_digest="12" * 32), "candidate": facts}}
    cheap = certify_small(header=header, ratio=0.5, baseline_j=0.5)
    dear = certify_small(header=header, ratio=0.2, baseline_j=20.0)
    assert gate(cheap, "--not-worse-than", good.path).exit_code == 0
    done = gate(dear, "--not-worse-than", good.path)
    assert done.exit_code == 3
    assert "The energy j is 4" in done.stdout


def test_gate_stops_model_when_the_earlier_certificate_was_forged(good: Any, worse: Any, tmp_path: Path) -> None:
    envelope = json.loads((worse.path.parent / "certificate.json").read_bytes())
    envelope["signatures"] = json.loads((good.path.parent / "certificate.json").read_bytes())["signatures"]
    forged = tmp_path / "certificate.json"
    forged.write_bytes(json.dumps(envelope, separators=(",", ":"), sort_keys=True).encode())
    done = gate(good, "--not-worse-than", forged)
    assert done.exit_code == 3
    assert "not signed by the key that it names" in done.stdout


def test_gate_refuses_the_request_when_letter_or_loss_is_not_valid() -> None:
    with pytest.raises(UsageError, match="Unknown letter 'H'"):
        Gate(at_least="H")
    with pytest.raises(UsageError, match="at least 0"):
        Gate(max_loss_percent=-1.0)
    with pytest.raises(UsageError, match="at least 0"):
        Gate(max_loss_percent=float("nan"))


def test_gate_returns_its_findings_when_called_from_python(good: Any) -> None:
    passage = evaluate_policy(good.path, Gate("C"), trust=[good.key.public])
    assert not passage.passed
    assert passage.exit_code == 3
    assert passage.verification.valid
