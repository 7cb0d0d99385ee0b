"""A job with a federated pass: from the command to a federation statement that a stranger verifies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from certify.assessments.federation.records import parse
from certify.cli.main import main

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
