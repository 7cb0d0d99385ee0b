"""Forgetting in the whole: a job on governed data, a withdrawal, and the model made again without the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from certify.attest.auditor import Access
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import MeasureError
from certify.core.private_data import DataKey
from compress.job import pipeline

KEY = DataKey(bytes(range(32)))
NETWORK = """\
from torch import nn

def tiny(num_classes=2):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, num_classes))
"""
TERMS = """\
name: digits
controller: Clinic
contact: privacy@example.org
permissions:
  - {actions: [train, calibrate, evaluate], purposes: ["dpv:ResearchAndDevelopment"]}
legal_basis: dpv:PublicInterest
consent: unless-withdrawn
withdrawal: by letter
"""
TUNED = "name: tuned\npasses:\n  - finetune: {epochs: 1}\n"
RECIPE = "name: small\npasses:\n  - quantize_static: {samples: 8}\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def governed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data under a policy, a network and a recipe."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.savez("digits.npz", x=random.integers(0, 255, (60, 32, 32, 3), dtype=np.uint8), y=np.arange(60) % 2)
    files = {"governed_nets.py": NETWORK, "terms.yaml": TERMS, "small.yaml": RECIPE, "tuned.yaml": TUNED}
    for name, text in files.items():
        Path(name).write_text(text)
    KEY.write(Path("data.key"))
    bound = run("policy", "bind", "npz:digits.npz", "--terms", "terms.yaml", "--data-key", "data.key")
    assert bound.exit_code == 0, bound.output
    return tmp_path


def compress(*further: object) -> Result:
    return run(
        "compress", "governed_nets:tiny", "--recipe", "small.yaml", "--data", "npz:digits.npz", "--mean", "0.5,0.5,0.5",
        "--std", "0.5,0.5,0.5", "--no-measure", "--out", "out", *further,
    )  # fmt: skip


ASKED = ("--purpose", "research", "--data-key", "data.key")


def forgotten(identifier: str, data: str = "npz:digits.npz", *further: str) -> Any:
    told = run("forget", identifier, "--data", data, "--data-key", "data.key", "--json", *further)
    assert told.exit_code in (0, 3), told.output
    return json.loads(told.stdout)


def test_student_is_named_when_its_teacher_saw_the_record(governed: Path) -> None:
    assert compress(*ASKED).exit_code == 0
    gone = min(list_of(Path("out/auditor/data_use.jsonl")))
    Path("teacher.safetensors").write_bytes(Path("out/model.safetensors").read_bytes())
    terms = TERMS.replace("[train,", "[train, distil,").replace("digits", "others")
    random = np.random.default_rng(1)
    np.savez("others.npz", x=random.integers(0, 255, (60, 32, 32, 3), dtype=np.uint8), y=np.arange(60) % 2)
    # The student's own data are under the same policy folder, but without the record.
    Path("terms.yaml").write_text(terms.replace("others", "digits"))
    assert run("policy", "bind", "npz:digits.npz", "--terms", "terms.yaml", "--data-key", "data.key").exit_code == 0
    forgotten(gone)
    taught = {"epochs": 1, "teacher": "governed_nets:tiny", "teacher_weights": "teacher.safetensors"}
    Path("small.yaml").write_text(json.dumps({"name": "taught", "passes": [{"distill": taught}]}))
    result = compress(*ASKED, "--out", "student")
    assert result.exit_code == 0, result.output
    assert gone in list_of(Path("student/auditor/data_use.jsonl")), "the teacher handed it on"
    named = {Path(one["path"]).parent.name for one in forgotten(gone)["models"]}
    assert named == {"out", "student"}


def bind_others() -> None:
    random = np.random.default_rng(1)
    np.savez("others.npz", x=random.integers(0, 255, (60, 32, 32, 3), dtype=np.uint8), y=np.arange(60) % 2)
    Path("terms.yaml").write_text(TERMS.replace("[train,", "[train, distil,"))
    for data in ("digits", "others"):
        bound = run("policy", "bind", f"npz:{data}.npz", "--terms", "terms.yaml", "--data-key", "data.key")
        assert bound.exit_code == 0, bound.output


def test_model_is_named_by_governed_data_that_a_pass_brought(governed: Path) -> None:
    bind_others()
    extra = {"name": "extra", "passes": [{"distill": {"epochs": 1, "unlabelled": "npz:others.npz"}}]}
    Path("small.yaml").write_text(json.dumps(extra))
    result = compress(*ASKED)
    assert result.exit_code == 0, result.output
    (listed,) = Path("others.npz.use/models").iterdir()
    gone = json.loads(listed.read_bytes())["records"][0]
    assert gone not in list_of(Path("out/auditor/data_use.jsonl"))
    told = forgotten(gone, "npz:others.npz", "--retrain")
    assert [Path(one["path"]).name for one in told["models"]] == ["model.onnx"]
    assert [one["outcome"] for one in told["made_again"]] == ["made"]
    again = max(Path("others.npz.use/models").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert gone not in json.loads(again.read_bytes())["records"]


def test_model_of_private_data_is_made_again_as_one(governed: Path) -> None:
    result = compress(*ASKED, "--private-data")
    assert result.exit_code == 0, result.output
    gone = min(list_of(Path("out/auditor/data_use.jsonl")))
    assert [one["outcome"] for one in forgotten(gone, "npz:digits.npz", "--retrain")["made_again"]] == ["made"]
    lineage = json.loads(Path("out/lineage.json").read_bytes())
    assert lineage["seed"] is None and lineage["data"]["digests"] == {} and lineage["data"]["spec"] == "withheld"
    assert gone not in list_of(Path("out/auditor/data_use.jsonl"))


def list_of(records: Path) -> set[str]:
    lines = (json.loads(line) for line in records.read_bytes().splitlines())
    found: dict[str, Any] = {line["kind"]: line for line in lines}
    return set(found["records"]["ids"])


def test_models_are_remade_without_the_record_unless_their_weights_saw_it(governed: Path) -> None:
    asked = ("--purpose", "research", "--data-key", "data.key")
    assert compress().exit_code == 6 and compress("--purpose", "marketing", *asked[2:]).exit_code == 6
    assert not Path("out").exists()
    result = compress(*asked)
    assert result.exit_code == 0, result.output
    assert " --purpose dpv:ResearchAndDevelopment\n" in result.output, "the next command is complete"
    tuned = compress(*asked, "--recipe", "tuned.yaml", "--out", "tuned")
    assert tuned.exit_code == 6 and "does not permit finetune" in tuned.stderr and not Path("tuned/model.onnx").exists()
    Path("first.safetensors").write_bytes(Path("out/model.safetensors").read_bytes())
    assert compress("--weights", "first.safetensors", *asked, "--out", "second").exit_code == 0
    auditor, model = Path("out/auditor/data_use.jsonl"), Path("out/model.onnx")
    before = list_of(auditor)
    gone = min(before)
    assert gone in list_of(Path("second/auditor/data_use.jsonl"))
    told = run("forget", gone, "--data", "npz:digits.npz", "--retrain", "--data-key", "data.key", "--json")
    values = json.loads(told.stdout)
    outcomes = {Path(one["path"]).parent.name: one["outcome"] for one in values["made_again"]}
    assert told.exit_code == 3 and outcomes == {"out": "made", "second": "declined"}
    assert len(values["models"]) == 4 and list_of(auditor) == before - {gone}
    found = verify(model, access=Access.from_options((auditor,), Path("data.key")))
    assert found.valid and found.check("not_revoked").outcome == "pass"
    assert found.certificates[0].predicate["use"]["actions"] == ["train", "calibrate", "evaluate"]
    assert verify(Path("second/model.onnx")).check("not_revoked").outcome == "fail"
    refused = run("verify", "second/model.onnx", "--purpose", "research")
    assert refused.exit_code == 1 and "is not valid, so its use is not permitted" in refused.output
    told = run("subject", gone, "--data", "npz:digits.npz", "--data-key", "data.key").output
    assert "second/model.onnx" in told and told.count(", and revoked") == 4, told
    assert told.count("not seen by the model") == 1 and told.count("not seen by the original") == 1, told


SKIPPED = "done in an earlier run, skipped"


def stopped(*_: object) -> None:
    raise MeasureError("stopped")


def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the job until its last step, as if it were killed before its files are in place."""
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "enter_use", stopped)
        assert "stopped" in compress(*ASKED).output
    assert Path("out/.work/run.json").is_file()


def test_finished_pass_is_not_reused_when_its_own_data_lost_a_record(
    governed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind_others()
    extra = {"epochs": 1, "unlabelled": "npz:others.npz"}
    Path("small.yaml").write_text(json.dumps({"name": "extra", "passes": [{"distill": extra}]}))
    interrupted(monkeypatch)
    listed = run("policy", "records", "npz:others.npz", "--data-key", "data.key", "--json")
    records = json.loads(listed.stdout)["records"]
    gone = next(one["identifier"] for one in records if one["part"] == "train")
    assert forgotten(gone, "npz:others.npz")["models"] == [], "the job is not finished, so no model is listed"
    made = compress(*ASKED)
    assert made.exit_code == 0, made.output
    assert "starting over" in made.output and SKIPPED not in made.output
    assert gone not in Path("others.npz.use/models").iterdir().__next__().read_text()


def test_finished_pass_is_not_reused_when_its_teacher_was_made_again(
    governed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind_others()
    assert compress(*ASKED, "--out", "first").exit_code == 0
    Path("teacher.safetensors").write_bytes(Path("first/model.safetensors").read_bytes())
    taught = {"epochs": 1, "teacher": "governed_nets:tiny", "teacher_weights": "teacher.safetensors"}
    Path("small.yaml").write_text(json.dumps({"name": "taught", "passes": [{"distill": taught}]}))
    interrupted(monkeypatch)
    # A teacher of other weights in the same place, as `forget --retrain` leaves it.
    content = bytearray(Path("teacher.safetensors").read_bytes())
    content[-1] ^= 1
    Path("teacher.safetensors").write_bytes(bytes(content))
    made = compress(*ASKED)
    assert made.exit_code == 0, made.output
    assert "starting over" in made.output and SKIPPED not in made.output


def test_interrupted_job_starts_over_without_a_record_that_was_forgotten(
    governed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch)
    records = json.loads(run("policy", "records", "npz:digits.npz", "--data-key", "data.key", "--json").stdout)
    gone = next(one["identifier"] for one in records["records"] if one["part"] == "train")
    forgotten(gone, "npz:digits.npz", "--retrain")
    made = compress(*ASKED)
    assert made.exit_code == 0, made.output
    assert "starting over" in made.output and SKIPPED not in made.output and "loaded from" not in made.output
    assert gone not in list_of(Path("out/auditor/data_use.jsonl"))


def train_record(data: str = "npz:digits.npz") -> str:
    records = json.loads(run("policy", "records", data, "--data-key", "data.key", "--json").stdout)["records"]
    return str(next(one["identifier"] for one in records if one["part"] == "train"))


def test_job_keeps_no_model_when_a_record_is_forgotten_after_its_last_read(
    governed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, enter = train_record(), pipeline.enter_use
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "enter_use", lambda *given: (forgotten(gone), enter(*given))[1])
        refused = compress(*ASKED)
    assert refused.exit_code == 6 and "after the job had read it" in refused.stderr, refused.output
    assert not Path("out/model.onnx").exists()
    made = compress(*ASKED)
    assert made.exit_code == 0 and "starting over" in made.output, made.output
    assert gone not in list_of(Path("out/auditor/data_use.jsonl"))


def test_model_is_revoked_when_a_record_is_forgotten_while_its_files_are_brought(
    governed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, bring = train_record(), pipeline.bring_unmeasured
    named: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "bring_unmeasured", lambda *given: (named.append(forgotten(gone)), bring(*given))[1])
        refused = compress(*ASKED)
    assert [Path(one["path"]).name for one in named[0]["models"]] == ["baseline.onnx", "model.onnx"]
    assert refused.exit_code == 6 and "so the model is revoked" in refused.stderr, refused.output
    told = run("verify", "out/model.onnx", "--purpose", "research")
    assert told.exit_code != 0 and "was revoked" in told.output, told.output


def test_model_of_a_killed_job_is_named_by_forget(governed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the files in OUT and their statement."""
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "write_federation", stopped)
        assert "stopped" in compress(*ASKED).output
    assert Path("out/model.onnx").is_file()
    told = forgotten(train_record(), "npz:digits.npz", "--retrain")
    assert [Path(one["path"]).name for one in told["models"]] == ["baseline.onnx", "model.onnx"]
    assert [one["outcome"] for one in told["made_again"]] == ["made"]


@pytest.mark.parametrize("asked", [("search",), ("compress",), ("compress", *ASKED)])
def test_search_refuses_governed_data_with_the_way_out(governed: Path, asked: tuple[str, ...]) -> None:
    told = run(
        asked[0], "governed_nets:tiny", "--data", "npz:digits.npz", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5",
        "--max-loss", "60", "--out", "out", *asked[1:],
    )  # fmt: skip
    assert told.exit_code == (2 if "--purpose" in asked else 6) and "--recipe" in told.output, told.output
    assert not Path("out").exists()
