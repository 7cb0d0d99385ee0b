"""The whole job on a tiny net: the files in OUT, resuming after an interruption, modules and ONNX files as models."""

from __future__ import annotations

import copy
import importlib
import json
from dataclasses import replace

import pytest
import torch

from certify.attest.keys import generate, load_public
from certify.core.errors import DataError, MeasureError, UsageError
from certify.core.files import sha256_file
from certify.core.progress import Silent
from certify.core.schema import validate
from certify.data import IMAGENET_MEAN, IMAGENET_STD, default_preprocess
from certify.data.contract_slot import normalise
from certify.measure.plan import Plan
from compress import load
from compress.core.further_data import FurtherData
from compress.core.model_stats import count_macs, state_digest
from compress.costs import comparison
from compress.exchange.onnx_export import CHECKED_SAMPLES
from compress.job import pipeline, recipe
from compress.job.dry_run import dry_run
from compress.job.job import REAL_SAMPLES
from compress.job.workspace import FOLDER
from compress.models import catalog
from compress.models.weights import write
from compress.passes.distill import Distill
from compress.passes.finetune import Finetune
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.space_to_depth import SpaceToDepth

pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
SMALL = recipe.parse(
    """
name: small
passes:
  - structured_prune: {macs: 0.6, round_to: 4}
  - distill: {epochs: 1}
  - quantize_static: {samples: 16}
""",
    "small.yaml",
)


PIXELS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """Keys, caches and logs of a test go nowhere else."""
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp(name)))


@pytest.fixture
def stopped(monkeypatch):
    """The job ends where measuring would begin, as if it had been stopped there; what it was given is kept."""
    asked = []

    def stop(candidate, **arguments):
        asked.append((candidate, arguments))
        raise MeasureError("stopped")

    monkeypatch.setattr(pipeline, "certify", stop)
    return asked


@pytest.fixture
def pruned_anyway(monkeypatch):
    """Twelve channels in integers take longer than sixteen on some processors, and pruning is then declined."""
    monkeypatch.setattr(comparison, "unless_costlier", lambda model, pruned, record, context: (pruned, record))


def test_job_is_refused_before_the_work_when_ci_has_no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="LEANMARK_SIGNING_KEY"):
        pipeline.run("resnet18", data="npz:absent.npz", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("pruned_anyway")
def test_module_becomes_a_graded_file_with_checkpoint_and_lineage(model, dataset, tmp_path):
    before = state_digest(model)
    out = tmp_path / "out"
    key = generate(tmp_path / "release.key").public
    arguments = {"preprocess": PIXELS, "key": tmp_path / "release.key"}
    result = pipeline.run(model, SMALL, dataset, out=out, plan=QUICK, **arguments)
    assert state_digest(model) == before
    assert result.certified.certificate.signer == key == load_public(out / "signer.pub")
    assert {path.name for path in out.iterdir()} == {
        "model.onnx", "baseline.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg", "label.png",
        "signer.pub", "model.safetensors", "model.structure.json",
    }  # fmt: skip
    assert set(result.files) == {path.name for path in out.iterdir()}
    lineage = json.loads((out / "lineage.json").read_text())
    validate(lineage, "lineage-1")
    assert lineage["export"]["parity"]["samples"] == CHECKED_SAMPLES + REAL_SAMPLES  # noise, and validation samples
    rows = lineage["rows"]
    assert [row["pass"] for row in rows] == ["structured_prune", "distill", "quantize_static"]
    assert lineage["baseline"]["model_digest"] == rows[0]["model_digest_in"] == before
    assert rows[0]["model_digest_out"] == rows[1]["model_digest_in"]
    assert rows[0]["macs"] == rows[1]["macs"] <= 0.6 * lineage["baseline"]["macs"]
    assert rows[2]["macs"] == rows[1]["macs"]
    assert all(row["seconds"] > 0 and 0 <= row["validation_accuracy"] <= 1 for row in rows)
    assert lineage["artifacts"]["baseline.onnx"] == sha256_file(out / "baseline.onnx")
    assert lineage["artifacts"]["model.safetensors"] == sha256_file(out / "model.safetensors")
    assert "CompressionResult" in repr(result)
    assert "<svg" in result._repr_html_()
    assert json.loads(json.dumps(result.to_json()))["lineage"] == lineage
    assert result.loss == result.profile.estimates["relative_loss_percent"]  # the edition's confidence is the recipe's
    assert result.within_budget == (result.loss.high <= SMALL.budget.max_loss_percent)
    surer = pipeline._loss(out / "evidence.jsonl", 0.999)
    assert surer.value == result.loss.value and surer.high > result.loss.high

    again = load(out, into=model)
    assert state_digest(model) == before
    assert state_digest(again) == rows[1]["model_digest_out"]
    assert count_macs(again, torch.zeros(1, 3, 32, 32)) == rows[1]["macs"]


def test_job_resumes_with_another_architecture_when_the_recipe_names_one(model, dataset, tmp_path, stopped):
    """The student of the first pass is what the second one gets, also when the job was stopped between them."""
    chosen = recipe.parse(
        "name: other\npasses:\n  - distill: {epochs: 1, student: squeezenet1_1}\n  - finetune: {epochs: 1}\n", "o.yaml"
    )
    arguments = {"recipe": chosen, "data": dataset, "out": tmp_path, "plan": QUICK, "preprocess": PIXELS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finetune, "apply", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(model, **arguments)
    with pytest.raises(MeasureError, match="stopped"):
        pipeline.run(model, **arguments)
    ((_, given),) = stopped
    student = load(given["companions"]["model.safetensors"])
    assert type(student).__name__ == "SqueezeNet"
    assert student(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_job_resumes_after_its_last_finished_pass(model, dataset, tmp_path, stopped, monkeypatch):
    arguments = {"recipe": SMALL, "data": dataset, "out": tmp_path, "plan": QUICK, "preprocess": PIXELS}
    broken = monkeypatch.context()
    with broken as patch:
        patch.setattr(QuantizeStatic, "apply", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(model, **arguments)
    heard, honest, earlier = Heard(), QuantizeStatic.apply, []
    monkeypatch.setattr(
        QuantizeStatic, "apply", lambda self, *given: earlier.append(given[1].earlier) or honest(self, *given)
    )
    with pytest.raises(MeasureError, match="stopped"):
        pipeline.run(model, **arguments, progress=heard)
    ((_, distillation),) = earlier  # a pass knows what the earlier ones did, in an earlier process too
    assert distillation["epochs_done"] == 1
    said = [sentence.partition(":")[0] for sentence in heard.said if "done in an earlier run" in sentence]
    assert said == ["export of the baseline", "structured_prune", "distill", "export of the candidate"]
    heard_again = Heard()
    with pytest.raises(MeasureError, match="stopped"):
        pipeline.run(model, **arguments, progress=heard_again)
    assert "quantize_static: done in an earlier run, skipped." in heard_again.said
    first, second = (sha256_file(candidate) for candidate, _ in stopped)
    assert first == second
    assert not (tmp_path / "model.onnx").exists()


def _interrupt(self, model, context):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("pruned_anyway")
def test_interrupted_and_uninterrupted_jobs_make_the_same_file(model, dataset, tmp_path, stopped, monkeypatch):
    arguments = {"recipe": SMALL, "data": dataset, "plan": QUICK, "preprocess": PIXELS}
    with monkeypatch.context() as patch:
        patch.setattr(QuantizeStatic, "apply", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(model, **arguments, out=tmp_path / "stopped")
    for name in ("stopped", "whole"):
        with pytest.raises(MeasureError):
            pipeline.run(model, **arguments, out=tmp_path / name)
    first, second = (sha256_file(candidate) for candidate, _ in stopped)
    assert first == second


def _parts(data, **changed):
    return replace(data, **{part: getattr(data, part).subset(rows) for part, rows in changed.items()})


@pytest.mark.parametrize(
    ("changed", "unlabelled", "resumes"),
    [
        ({"test": range(1, 64)}, False, True),
        ({"test": range(40)}, True, False),
        ({"train": range(1, 128)}, False, False),
        ({"validation": range(40)}, False, False),
        ({"calibration": range(40)}, False, False),
    ],
)
def test_finished_passes_are_kept_when_only_data_they_never_saw_differ(
    onnx_file, dataset, tmp_path, stopped, monkeypatch, changed, unlabelled, resumes
):
    if unlabelled:
        monkeypatch.setattr(SpaceToDepth, "further_data", FurtherData("compress.testing.networks:blobs", "unlabelled"))
        monkeypatch.setattr(pipeline, "require_further_data", lambda *_, **__: ())
    chosen = recipe.parse("name: one\npasses:\n  - space_to_depth: {}\n", "one.yaml")
    contract, heard = default_preprocess(dataset), Heard()
    for data in (dataset, _parts(dataset, **changed)):
        with pytest.raises(MeasureError, match="stopped"):
            pipeline.run(onnx_file, chosen, data, out=tmp_path / "out", preprocess=contract, plan=QUICK, progress=heard)
    assert resumes == ("space_to_depth: done in an earlier run, skipped." in heard.said)
    lineages = [json.loads(given["lineage"].read_text()) for _, given in stopped]
    counted = lineages[1]["data"]["counts"]
    assert all(counted[part] == len(rows) for part, rows in changed.items())


def test_distill_reports_extra_data_when_it_learns_from_unlabelled_samples():
    further = Distill(unlabelled="mnist5k").further_data
    assert further == FurtherData("mnist5k", "unlabelled", ("test",)) and Distill().further_data is None


def test_job_starts_over_when_the_seed_differs(model, dataset, tmp_path, stopped):
    heard = Heard()
    for seed in (0, 1):
        with pytest.raises(MeasureError):
            pipeline.run(model, "int8", dataset, out=tmp_path, plan=QUICK, seed=seed, progress=heard, preprocess=PIXELS)
    assert any("starting over" in sentence for sentence in heard.said)
    assert not any("done in an earlier run" in sentence for sentence in heard.said)


def test_onnx_file_gets_only_onnx_passes(onnx_file, dataset, tmp_path, stopped):
    source = tmp_path / "given.onnx"
    contract = default_preprocess(dataset)
    normalise(onnx_file, source, contract)
    before = sha256_file(source)
    with pytest.raises(MeasureError):
        pipeline.run(source, SMALL, dataset, out=tmp_path / "out", plan=QUICK)
    assert sha256_file(source) == before
    ((_, asked),) = stopped
    lineage = json.loads(asked["lineage"].read_text())
    rows = {row["pass"]: row for row in lineage["rows"]}
    assert lineage["export"] is None
    assert rows["structured_prune"]["done"] == rows["distill"]["done"] == {}
    assert "ONNX file" in rows["distill"]["declined"][0]["why"]
    assert rows["quantize_static"]["done"]["quantized"] == 5
    assert asked["companions"] == {}
    assert asked["preprocess"] == contract


def test_onnx_file_without_a_contract_is_refused(onnx_file, dataset, tmp_path):
    with pytest.raises(UsageError, match="--preprocess"):
        pipeline.run(onnx_file, "int8", dataset, out=tmp_path / "out", plan=QUICK)


def test_earlier_result_is_kept_until_the_new_one_is_measured(onnx_file, dataset, tmp_path, stopped):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"old")
    contract = default_preprocess(dataset)
    with pytest.raises(MeasureError):
        pipeline.run(onnx_file, "int8", dataset, out=tmp_path / "out", plan=QUICK, preprocess=contract)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"old"


def test_checkpoint_of_an_earlier_job_is_removed_when_the_model_is_a_file(onnx_file, dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"old")
    contract = default_preprocess(dataset)
    result = pipeline.run(onnx_file, "int8", dataset, out=tmp_path / "out", plan=QUICK, preprocess=contract)
    assert set(result.files) == {path.name for path in (tmp_path / "out").iterdir()}
    assert "model.safetensors" not in result.files


@pytest.mark.parametrize("name", ["model.onnx", "baseline.onnx"])
def test_given_file_is_never_replaced_by_the_result(name, onnx_file, dataset, tmp_path):
    source = tmp_path / "own" / name
    source.parent.mkdir()
    source.write_bytes(onnx_file.read_bytes())
    (tmp_path / "link").symlink_to(source.parent)
    for out in (source.parent, tmp_path / "link"):
        with pytest.raises(UsageError, match=f"replace the given file .*{name}; choose another output folder"):
            pipeline.run(source, "int8", dataset, out=out, measure=False, preprocess=PIXELS)
        with pytest.raises(UsageError, match="replace the given file"):
            dry_run(source, "int8", dataset, out=out, measure=False, preprocess=PIXELS)
    assert source.read_bytes() == onnx_file.read_bytes() and list(source.parent.iterdir()) == [source]


def test_given_weights_are_never_replaced_by_the_checkpoint(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept_nets.py").write_text("from compress.testing.networks import Residual as Net\n")
    write(catalog.build("kept_nets:Net", len(dataset.classes)).model.state_dict(), tmp_path / "model.safetensors")
    before = sha256_file(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="replace the given file model.safetensors"):
        pipeline.run("kept_nets:Net", "int8", dataset, "model.safetensors", ".", measure=False, preprocess=PIXELS)
    assert sha256_file(tmp_path / "model.safetensors") == before


def test_data_are_refused_when_parts_overlap(model, dataset, tmp_path):
    mixed = replace(dataset, train=dataset.test)
    with pytest.raises(DataError, match="also occur in"):
        pipeline.run(model, "int8", mixed, out=tmp_path / "out", plan=QUICK)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="also occur in"):
        dry_run(model, "int8", mixed)


@pytest.mark.parametrize("start", [pipeline.run, dry_run])
def test_data_are_refused_before_the_work_when_they_do_not_fit_a_pass(start, model, dataset, tmp_path, monkeypatch):
    def refuse(self, dataset):
        raise UsageError(f"{self.name} needs other data.")

    monkeypatch.setattr(QuantizeStatic, "require_data", refuse)
    with pytest.raises(UsageError, match="quantize_static needs other data"):
        start(model, SMALL, dataset, out=tmp_path / "out", plan=QUICK)
    assert not (tmp_path / "out").exists()


def test_model_is_refused_when_it_is_not_a_model(dataset, tmp_path):
    with pytest.raises(UsageError, match=r"an nn\.Module, got int"):
        pipeline.run(3, "int8", dataset, out=tmp_path, plan=QUICK)


def test_declined_prune_still_gives_a_model(dataset, tmp_path, stopped, model):
    text = "passes:\n  - structured_prune: {macs: 0.01, round_to: 16}\n  - quantize_static: {samples: 16}\n"
    heard = Heard()
    with pytest.raises(MeasureError):
        given, chosen = copy.deepcopy(model), recipe.parse(text, "r")
        pipeline.run(given, chosen, dataset, out=tmp_path, plan=QUICK, progress=heard, preprocess=PIXELS)
    assert any(sentence.startswith("structured_prune left the model unchanged") for sentence in heard.said)
    ((candidate, asked),) = stopped
    assert candidate.parent == tmp_path / FOLDER
    assert candidate.stat().st_size < asked["baseline"].stat().st_size


FACTORY = """
from torch import nn

def tiny_net(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, num_classes),
    )
"""


def test_model_of_a_factory_is_trained_first_and_resumes_after_an_interruption(dataset, tmp_path, stopped, monkeypatch):
    (tmp_path / "factory_of_test.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = {"recipe": SMALL, "data": dataset, "out": tmp_path / "out", "plan": QUICK, "preprocess": PIXELS}
    for _ in range(2):
        with pytest.raises(MeasureError, match="stopped"):
            pipeline.run("factory_of_test:tiny_net", **arguments, cache=tmp_path / "cache")
    lineage = json.loads(stopped[0][1]["lineage"].read_text())
    assert lineage["baseline"]["trained_here"] is True
    assert lineage["model"]["origin"].startswith("trained here on blobs, seed 0")
    assert stopped[0][1]["origin"] == lineage["model"]["origin"]
    assert lineage["rows"][0]["done"]["macs_share"] <= 0.6
    original = importlib.import_module("factory_of_test").tiny_net(4)
    module = load(stopped[0][1]["companions"]["model.safetensors"], into=original)
    assert state_digest(module) == lineage["rows"][1]["model_digest_out"]
    assert module[0].out_channels < 16


def test_out_is_named_after_the_model_when_none_is_given(model, dataset, tmp_path, stopped, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MeasureError):
        pipeline.run(model, "int8", dataset, plan=QUICK, preprocess=PIXELS)
    assert (tmp_path / "build" / "Residual" / FOLDER / "lineage.json").is_file()
