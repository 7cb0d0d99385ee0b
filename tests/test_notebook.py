"""The notebooks run from their first cell to their last, and their stored outputs are those of a whole run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.warm_kernels import warm_kernels as warm_kernels

pytestmark = pytest.mark.usefixtures("warm_kernels")
QUICK = "certify.Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)"
SHORTER = {
    'run("resnet18", recipe="balanced", data="mnist5k"': 'run("mynets:net", recipe="quick.yaml", '
    'data="mynets:few_digits", '
    'preprocess={"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}',
    'load(out / "model.safetensors")': 'load(out / "model.safetensors", into=__import__("mynets").net(10))',
    "out=out)": f"out=out, plan={QUICK})",
}
"""A small network and a short measurement, so that a slow machine has little to do too."""
SHORT_PLAN = "certify.Plan(window_s=0.1, time_limit_s=5.0, min_blocks=3, yardstick=False)"
"""Plan of the short notebooks that measure, in whose place the quick one is run."""
MEASURING = {"gate-in-ci", "grade-a-file"}
RECIPES = Path(__file__).resolve().parents[1] / "recipes"
NOTEBOOK = RECIPES / "quickstart.ipynb"
SHORT = sorted((RECIPES / "notebooks").glob("*.ipynb"))
SHOWN = {
    "adult-income": ("sex=Male, false negatives", "SVG object"),
    "gate-in-ci": ("No grade was given", "not valid"),
    "grade-a-file": ("theirs-int8.onnx", "valid"),
    "own-data": ("after structured_prune, quantize_static",),
    "own-pass": ("first.0", "greater than or equal to 2"),
}
"""What a whole run shows."""


def _text(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(
        str(output.get("text") or output.get("data", {}))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


@pytest.mark.parametrize("path", [NOTEBOOK, *SHORT], ids=lambda path: path.stem)
def test_stored_notebook_has_been_executed_without_an_error(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_notebook_runs_and_shows_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_small_job: Callable[[Path], None]
) -> None:
    write_small_job(tmp_path)
    for kind in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for long, short in SHORTER.items():
        assert sum(cell.source.count(long) for cell in notebook.cells) == 1
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = _text(notebook)
    assert "<svg" in shown
    assert "<table>" in shown and "Compressing: " in shown  # the figures, and the bars of the whole job
    assert "energy_ratio" in shown
    assert "not the file" in shown or "altered" in shown


def _invented_people(folder: Path, rows: int = 900) -> None:
    """Write people who do not exist, in the format of the Adult files."""
    random = np.random.default_rng(1)

    def line(end: str) -> str:
        age, schooling, hours = random.integers(20, 65), random.integers(5, 16), random.integers(20, 60)
        race, sex = random.choice(["White", "Black"]), random.choice(["Male", "Female"])
        income = ">50K" if schooling + age / 10 + random.normal(0, 2) > 15 else "<=50K"
        fields = (age, "Private", 1000, "HS-grad", schooling, "Divorced", "Sales", "Unmarried", race, sex, 0, 0, hours)
        return ", ".join(map(str, (*fields, "Cuba", income + end)))

    (folder / "adult.data").write_text("\n".join(line("") for _ in range(rows)) + "\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(line(".") for _ in range(rows)) + "\n")


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_short_notebook_runs_and_shows_its_documented_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    for kind in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind))
    monkeypatch.setenv("LEANMARK_ADULT", str(tmp_path))
    _invented_people(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    assert any(SHORT_PLAN in cell.source for cell in notebook.cells) == (path.stem in MEASURING)
    for cell in notebook.cells:
        cell.source = cell.source.replace(SHORT_PLAN, QUICK)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = _text(notebook)
    assert [text for text in SHOWN[path.stem] if text not in shown] == []
