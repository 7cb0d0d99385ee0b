"""The guide recipes/guides/another-machine.md: its commands run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from certify.cli.main import main
from certify.cli.plan import take_plan
from certify.data import default_preprocess
from certify.data.contract_slot import normalise
from certify.measure.plan import Plan
from compress.exchange.onnx_export import export
from compress.testing.networks import CLASSES, blobs, network
from tests.hasty import hasty as hasty
from tests.kept_exports import kept_exports as kept_exports

GUIDE = Path(__file__).resolve().parents[1] / "recipes" / "guides" / "another-machine.md"
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
MODEL_ONLY = {"model.onnx", "baseline.onnx", "lineage.json"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and its data, and quick measurements."""
    data = blobs()
    export(network("residual"), default_preprocess(data), tmp_path / "exported.onnx", classes=CLASSES)
    normalise(tmp_path / "exported.onnx", tmp_path / "net.onnx", default_preprocess(data))
    for name, part in (("train", "train"), ("val", "validation"), ("test", "test")):
        split = data.parts[part]
        images = np.stack([split.image(row) for row in range(len(split))])
        np.savez(tmp_path / f"{name}.npz", x=images, y=np.asarray(split.labels))
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind.lower()))
    for command in ("certify", "profile"):
        monkeypatch.setattr(
            f"certify.cli.{command}.take_plan", lambda given, **usual: take_plan(given, **usual) and QUICK
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith(("leanmark ", "scp ", "python3 -m venv ", ".venv/bin/pip ")) for line in lines)
    return [shlex.split(line)[1:] for line in lines if line.startswith("leanmark ")]


def test_commands_of_the_guide_measure_on_another_machine_what_was_made_here(home: Path) -> None:
    found = {}
    for arguments in commands():
        result = CliRunner().invoke(main, arguments)
        found.setdefault(arguments[0], []).append(result.exit_code)
        assert result.exit_code in (0, 3), (arguments, result.output)
        if arguments[0] == "compress":
            assert {path.name for path in (home / "job").iterdir()} == MODEL_ONLY
            assert "leanmark certify job/model.onnx" in result.output
    assert list(found) == ["compress", "meters", "profile", "certify", "verify", "audit", "report"]
    assert [codes for name, codes in found.items() if name != "certify"] == [[0]] * 6
    assert (home / "graded" / "lineage.json").read_bytes() == (home / "job" / "lineage.json").read_bytes()
