"""A job with a federated pass: from the command to a federation statement that a stranger verifies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from certify.assessments.federation.records import parse
from certify.attest.certificate import Certificate
from certify.cli.main import main
from certify.measure.plan import Plan

pytestmark = pytest.mark.usefixtures("hasty")
RECIPE = """\
name: fleet
passes:
  - federated_finetune: {clients: 4, rounds: 2, update: int8-masked, batch: 16}
  - quantize_static: {samples: 32}
"""
DATA = "tests.compress.job.test_federated:data"


def network(num_classes: int = 4) -> object:
    """A factory for the command."""
    from compress.testing.networks import network as make

    return make("residual")


def data() -> object:
    """Data for the command."""
    from compress.testing.networks import blobs

    return blobs()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "fleet.yaml").write_text(RECIPE)
    return tmp_path


def test_statement_follows_from_the_log_when_a_job_has_a_federated_pass(job: Path) -> None:
    out = job / "out"
    made = run(
        "compress", "tests.compress.job.test_federated:network", "--recipe", job / "fleet.yaml", "--data", DATA,
        "--out", out, "--no-measure", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5",
    )  # fmt: skip
    assert made.exit_code == 0 and "federation.jsonl" in made.output, made.output
    records = parse((out / "federation.jsonl").read_bytes(), "the records")
    lineage = json.loads((out / "lineage.json").read_text())
    row, _ = lineage["rows"]
    assert records.runs[0].end is not None and records.runs[0].end.message.model == row["model_digest_out"]
    assert records.runs[0].opening.message.model == row["model_digest_in"] == lineage["baseline"]["model_digest"]
    assert row["touched"]["train"] == ["raw"] and not (out / ".work").exists()
    stated = run("state", out / "model.onnx", "--assessment", "federation", "--records", out / "federation.jsonl")
    assert stated.exit_code == 0, stated.output
    checked = run("verify", out / "model.onnx", "--json")
    assert "federation" in checked.output, checked.output


def test_central_run_is_in_the_statement_when_its_job_was_measured(job: Path) -> None:
    from compress.job import pipeline, recipe

    plan = Plan(window_s=0.05, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
    out, central, contract = job / "out", job / "central", {"mean": [0.5] * 3, "std": [0.5] * 3}
    for folder, trained in (
        (out, "federated_finetune: {clients: 4, rounds: 2, batch: 16}"),
        (central, "finetune: {epochs: 1}"),
    ):
        chosen = recipe.parse(f"name: r\npasses:\n  - {trained}\n", "r.yaml")
        pipeline.run(network(), chosen, data(), out=folder, plan=plan, preprocess=contract)
    added = run("federate", "compare", out, central)
    assert added.exit_code == 0 and "of 64 test samples right" in added.output, added.output
    found = parse((out / "federation.jsonl").read_bytes(), "the records").central
    lineage = json.loads((central / "lineage.json").read_text())
    assert found is not None and found.model == lineage["artifacts"]["model.onnx"] and found.table.n == 64
    assert found.cpu_s == lineage["rows"][0]["cpu_s"] > 0 and found.energy_j == lineage["rows"][0]["energy_j"]["value"]
    stated = run("state", out / "model.onnx", "--assessment", "federation", "--records", out / "federation.jsonl")
    assert stated.exit_code == 0, stated.output
    figures = Certificate.read(out / "statements" / "federation.json").predicate["profile"]["estimates"]
    assert figures["central_change_points"]["n"] == 64 and figures["central_cpu_ratio"]["value"] > 0
    verified = json.loads(run("verify", out / "model.onnx", "--json").output)
    assert '"runs_match_lineage", "outcome": "pass"' in json.dumps(verified), verified
    shutil.copy(out / "lineage.json", central / "lineage.json")
    refused = run("federate", "compare", out, central)
    assert refused.exit_code == 2 and "is not training in one place" in " ".join(refused.output.split())
    (central / "evidence.jsonl").unlink()
    assert "has no evidence.jsonl" in " ".join(run("federate", "compare", out, central).output.split())
    assert "has no federation.jsonl" in " ".join(run("federate", "compare", central, out).output.split())
