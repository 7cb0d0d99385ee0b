"""The notebook runs from its first cell to its last, and its stored outputs are those of a whole run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

WHOLE = "out=out)"
SHORT = "out=out, plan=certify.Plan(window_s=0.1, time_limit_s=5.0, min_blocks=3, yardstick=False))"
"""Measuring as long as a grade needs would make this the longest of the tests; the whole way is tested elsewhere."""
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


@pytest.mark.timeout(900)
def test_notebook_runs_and_shows_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shortened = 0
    for cell in notebook.cells:
        shortened += cell.source.count(WHOLE)
        cell.source = cell.source.replace(WHOLE, SHORT)
    assert shortened == 1
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = _text(notebook)
    assert "<svg" in shown
    assert "energy_ratio" in shown
    assert "not the file" in shown or "altered" in shown
