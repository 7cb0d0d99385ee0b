"""The guide recipes/guides/own-model.md: its four blocks run as they stand there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from nbclient import NotebookClient
from nbformat import v4
from PIL import Image

from certify.cli.main import main
from certify.data import default_preprocess
from compress.exchange.onnx_export import export
from compress.testing.networks import CLASSES, SIZE, blobs
from tests.kept_exports import kept_exports as kept_exports
from tests.warm_kernels import warm_kernels as warm_kernels

GUIDE = Path(__file__).resolve().parents[1] / "recipes" / "guides" / "own-model.md"
LEAFNET = """
from torch import nn


class LeafNet(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 64, num_classes),
        )
"""
QUICK = "plan=certify.Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]


def _train(net: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        outputs = net(pixels)
        torch.nn.functional.cross_entropy(getattr(outputs, "logits", outputs), labels).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide says that its reader has: leafnet.py, leafnet.pt, leafnet.onnx, leaf-vit and photos."""
    transformers = pytest.importorskip("transformers")
    root, data = tmp_path_factory.mktemp("leaves"), blobs()
    for name, part in (("train", "train"), ("val", "validation"), ("test", "test")):
        split = data.parts[part]
        for row, label in enumerate(split.labels):
            folder = root / "photos" / name / data.classes[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.image(row)).save(folder / f"{row}.png")
    split = data.parts["train"]
    pixels = torch.tensor(np.stack([split.image(row) for row in range(len(split))])).permute(0, 3, 1, 2) / 127.5 - 1
    labels = torch.tensor(np.asarray(split.labels))
    (root / "leafnet.py").write_text(LEAFNET)
    made: dict[str, type[torch.nn.Module]] = {}
    exec(LEAFNET, made)
    size = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 96}
    config = transformers.ViTConfig(image_size=SIZE, patch_size=8, num_labels=CLASSES, **size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _train(made["LeafNet"](CLASSES), pixels, labels)
        vit = _train(transformers.ViTForImageClassification(config), pixels, labels)
    torch.save(net.state_dict(), root / "leafnet.pt")
    export(net, default_preprocess(data), root / "leafnet.onnx", classes=CLASSES)
    vit.save_pretrained(root / "leaf-vit")
    half = [0.5, 0.5, 0.5]
    processor = transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half)
    processor.save_pretrained(root / "leaf-vit")
    return root


@pytest.fixture(autouse=True)
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(project)
    monkeypatch.setitem(sys.modules, "leafnet", None)
    monkeypatch.delitem(sys.modules, "leafnet")


def is_quantized(path: Path) -> bool:
    return any("QuantizeLinear" in node.op_type for node in onnx.load(path).graph.node)


def test_int8_file_of_an_own_network_takes_at_most_four_commands_after_a_clone() -> None:
    first = next(number for number, command in enumerate(commands()) if command[0] == "leanmark")
    assert first < 4
    assert commands()[:2] == [["make", "setup"], [".", ".venv/bin/activate"]]


@pytest.mark.parametrize("command", [each[1:] for each in commands() if each[0] == "leanmark"], ids=" ".join)
def test_command_of_the_guide_makes_its_file(command: list[str], project: Path) -> None:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    if command[0] == "quantize" and "--dry-run" not in command:
        assert "Accuracy on validation samples: 100.0 % before" in result.output
        out = project / "build" / f"{Path(command[1].rpartition(':')[2]).stem}-quantized"
        assert is_quantized(out / "model.onnx") and not is_quantized(out / "baseline.onnx")


@pytest.mark.usefixtures("warm_kernels")
def test_cells_of_the_guide_make_and_certify_a_file_in_a_notebook(project: Path) -> None:
    cells = [v4.new_code_cell(source) for source in blocks("python")]
    cells[-1].source = cells[-1].source.replace("data=data,", f"data=data, {QUICK},")
    assert QUICK in cells[-1].source
    stub = "certify.certify = lambda model, *, baseline, lineage, data, out: None"
    cells.append(v4.new_code_cell(f"{stub}\neval(result.certify_command)"))
    notebook = v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(project)}}).execute()
    shown = [output.get("data", {}).get("text/html", "") for cell in cells[1:] for output in cell.outputs]
    assert any("not measured" in html for html in shown)
    assert any("<table>" in html for html in shown)
    assert is_quantized(project / "build" / "notebook" / "model.onnx")
    assert (project / "build" / "notebook" / "certificate.json").is_file()
