"""The whole way, as a user goes it: compress, verify, tamper; the measurement of the first run is the real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from certify.cli.main import main
from certify.cli.plan import take_plan
from certify.measure.plan import Plan
from tests.hasty import hasty as hasty

ROOT = Path(__file__).resolve().parents[1]
MADE_OF = ("--data", "mnist5k", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
QUICK = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
PROGRAM = [sys.executable, "-m", "certify.cli.main"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_small_job: Callable[[Path], None]) -> Path:
    folder = tmp_path_factory.mktemp("user")
    write_small_job(folder)
    return folder


def leanmark(home: Path, *arguments: object, config: str = "config") -> subprocess.CompletedProcess[str]:
    folders = {f"LEANMARK_{kind.upper()}_HOME": str(home / kind) for kind in ("cache", "state")}
    environment = {**os.environ, **folders, "LEANMARK_CONFIG_HOME": str(home / config), "PYTHONPATH": str(ROOT)}
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=580)


@pytest.fixture(scope="module")
def out(home: Path) -> Path:
    arguments = ("compress", "mynets:net", *MADE_OF, "--recipe", "quick.yaml", "--out", "out", "--time-limit", "4")
    done = leanmark(home, *arguments, "--json")
    assert done.returncode in (0, 3), done.stderr
    result = json.loads(done.stdout)
    assert done.returncode == (3 if result["grade"]["letter"] is None else 0)  # a busy machine gives no letter
    (home / "result.json").write_text(done.stdout)
    assert Path(result["files"]["model.onnx"]).name == "model.onnx"
    assert result["payback"].keys() >= {"spent", "inferences"}
    return home / "out"


def test_out_contains_the_graded_file_and_all_its_sidecar_files(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        "model.onnx", "baseline.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg", "label.png",
        "signer.pub", "model.safetensors", "model.structure.json",
    }  # fmt: skip


def test_letter_is_given_unless_a_guard_failed(home: Path, out: Path) -> None:
    result = json.loads((home / "result.json").read_text())
    failed = [guard["name"] for guard in result["profile"]["guards"] if guard["outcome"] == "fail"]
    assert (result["grade"]["letter"] is None) == bool(failed), (result["grade"], failed)
    estimates = result["profile"]["estimates"]
    assert estimates["macs_ratio"]["value"] <= 0.5
    assert estimates["bytes_ratio"]["value"] < 0.3
    assert estimates["energy_ratio"]["high"] < 1
    assert estimates["energy_ratio"]["evidence"] == ("modelled" if _modelled(result) else "counter")


def _modelled(result: dict) -> bool:
    return "~" in result["grade"]["text"] or any("model" in note for note in result["grade"]["notes"])


def test_evidence_passes_every_finding_about_what_can_have_been_recorded(home: Path, out: Path) -> None:
    guards = {guard["name"]: guard for guard in json.loads((home / "result.json").read_text())["profile"]["guards"]}
    for name in ("windows_in_order", "windows_vary", "cpu_time_possible", "latencies_agree", "meter_known",
                 "joules_follow", "joules_not_modelled", "energy_above_idle"):  # fmt: skip
        assert guards[name]["outcome"] == "pass", guards[name]
    assert leanmark(home, "verify", "out/model.onnx", "--strict").returncode == 0


def test_verify_says_valid_to_its_maker_and_untrusted_to_others(home: Path, out: Path) -> None:
    assert leanmark(home, "verify", "out/model.onnx").returncode == 0
    stranger = leanmark(home, "verify", "out/model.onnx", config="stranger")
    assert stranger.returncode == 4
    assert "a key you do not trust" in stranger.stdout
    trusting = leanmark(
        home, "verify", "out/model.onnx", "--trust", home / "config" / "signing.pub", "--json", config="stranger"
    )
    assert trusting.returncode == 0
    assert json.loads(trusting.stdout)["valid"] is True


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg", "label.png", "baseline.onnx",
        "signer.pub", "model.safetensors", "model.structure.json",
    ],
)  # fmt: skip
def test_verify_fails_when_one_byte_is_changed(
    home: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(home / "config"))
    copied = shutil.copytree(out, tmp_path / "out")
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    done = CliRunner().invoke(main, ["verify", str(copied / "model.onnx")])
    assert done.exit_code == 1, done.output


@pytest.mark.usefixtures("hasty")
def test_second_run_reuses_the_kept_baseline_and_makes_the_same_model(
    home: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from certify.attest.certificate import Certificate

    for kind in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(home / kind.lower()))
    monkeypatch.chdir(home)
    monkeypatch.setitem(sys.modules, "mynets", None)  # put back afterwards
    monkeypatch.delitem(sys.modules, "mynets")
    monkeypatch.setattr("compress.cli.compress.take_plan", lambda given, **usual: take_plan(given, **usual) and QUICK)
    done = CliRunner().invoke(main, ["compress", "mynets:net", *MADE_OF, "--recipe", "quick.yaml", "--out", "again"])
    assert done.exit_code in (0, 3), done.stderr
    assert "trained in an earlier run" in done.stderr.replace("\n", " ")
    first, second = (Certificate.read(home / folder / "model.onnx") for folder in ("out", "again"))
    assert first.subject_digest == second.subject_digest
    assert done.exit_code == (3 if second.outcome_text == "refused" else 0)
    assert (home / "again" / "baseline.onnx").read_bytes() == (out / "baseline.onnx").read_bytes()
    assert "accuracy" in done.stdout


def test_checkpoint_continues_training_as_a_module(home: Path, out: Path) -> None:
    import importlib.util

    import torch

    import compress

    spec = importlib.util.spec_from_file_location("mynets", home / "mynets.py")
    assert spec is not None and spec.loader is not None
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    model = compress.load(out, into=nets.net(10))
    loss = model.train()(torch.randn(4, 3, 32, 32)).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    full = sum(parameter.numel() for parameter in nets.net(10).parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) < full
