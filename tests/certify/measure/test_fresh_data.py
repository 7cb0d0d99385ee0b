"""Fresh data all the way: a certified nearest-neighbour table holds in every other test, and not on unseen samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import recognisers as made
from click.testing import CliRunner, Result

import certify
from certify.attest.keys import generate
from certify.cli.main import main
from certify.core.evidence_file import read_evidence
from certify.data.dataset import Dataset

pytestmark = pytest.mark.usefixtures("hasty")
QUICK = certify.Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)


def _save(data: Dataset, path: Path) -> str:
    """Write test samples to an npz file; gives the data specification."""
    images = np.stack([data.test.image(i)[..., 0] for i in range(len(data.test))])
    np.savez(path, x=images, y=data.test.labels, classes=np.array(data.classes))
    return f"npz:test={path}"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--json"])


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, tuple[object, ...]]:
    """A certified nearest-neighbour table, and the options of a new measurement of it with fresh data."""
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "state"))
    seen, fresh = (_save(made.textures(seed), tmp_path / f"{seed}.npz") for seed in (0, 1))
    onnx.save(made.net(), tmp_path / "honest.onnx")
    onnx.save(made.nearest_neighbour(made.textures(0)), tmp_path / "table.onnx")
    signer = generate(tmp_path / "maker.key")
    result = certify.certify(
        tmp_path / "table.onnx", baseline=tmp_path / "honest.onnx", data=seen, out=tmp_path / "out", plan=QUICK,
        preprocess=made.CONTRACT, signer=signer,
    )  # fmt: skip
    failed = {guard.name for guard in result.profile.guards if guard.outcome == "fail"}
    assert not failed & {"answers_stable", "same_on_changed", "same_cost_on_changed", "candidate_beats_majority"}
    for command in ("audit", "countersign"):
        monkeypatch.setattr(f"certify.cli.{command}.take_plan", lambda arguments: arguments.clear() or QUICK)
    return result.model, ("--data", seen, "--fresh-data", fresh)


def test_lookup_table_is_found_by_fresh_data_alone_at_an_audit_and_a_countersignature(
    table: tuple[Path, tuple[object, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = table
    kept = tmp_path / "again.jsonl"
    audited = _run("audit", model, "--remeasure", *options, "--keep", kept)
    assert audited.exit_code == 1, audited.output
    outcomes: dict[str, Any] = {
        figure["name"]: figure["outcome"] for figure in json.loads(audited.stdout)["remeasured"]["figures"]
    }
    assert outcomes["accuracy_baseline"] == outcomes["accuracy_candidate"] == "agrees"
    assert outcomes["accuracy_fresh"] == "differs"
    key = generate(tmp_path / "lab.key")
    measured: dict[str, Any] = {}  # the same measurement again, which would take seconds
    monkeypatch.setattr(
        "certify.workflows.remeasurement.measure", lambda *_, **named: measured.update(named) or read_evidence(kept)
    )
    signed = _run("countersign", model, *options, "--key", tmp_path / "lab.key")
    assert signed.exit_code == 0, signed.output
    predicate = json.loads(signed.stdout)["predicate"]
    assert measured["fresh"].spec == options[-1]
    assert predicate["fresh_data"] == "npz:test=1.npz"  # without the folder of the lab's machine
    assert "accuracy_fresh" in predicate["differs"]
    shown = CliRunner().invoke(main, ["verify", str(model), "--trust", key.public.hex])
    assert shown.exit_code == 1 and f"with fresh data ({predicate['fresh_data']}) and DISAGREES: " in " ".join(
        shown.stdout.split()
    )
    assert certify.audit(model).countersignatures[0].outcome == "pass"
