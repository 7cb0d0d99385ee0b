"""The notebook runs from its first cell to its last, and its stored outputs are those of a whole run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = _text(notebook)
    assert "<svg" in shown
    assert "energy_ratio" in shown
    assert "not the file" in shown or "altered" in shown
