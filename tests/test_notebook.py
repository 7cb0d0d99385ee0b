"""The notebook runs from its first cell to its last, and its stored outputs are those of a whole run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

SHORTER = {
    'run("resnet18", recipe="balanced"': 'run("mynets:net", recipe="quick.yaml", '
    'preprocess={"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}',
    'load(out / "model.safetensors")': 'load(out / "model.safetensors", into=__import__("mynets").net(10))',
    "out=out)": "out=out, plan=certify.Plan(window_s=0.1, time_limit_s=5.0, min_blocks=3, yardstick=False))",
}
"""A small network and a short measurement, so that a slow machine has little to do too."""
NOTEBOOK = Path(__file__).resolve().parents[1] / "recipes" / "quickstart.ipynb"


def _text(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(
        str(output.get("text") or output.get("data", {}))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_stored_notebook_has_been_executed_without_an_error() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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
