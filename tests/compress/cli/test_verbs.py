"""Jobs that are not measured: quick verbs, dry runs, and the options that compress shares with certify."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import certify
from certify.cli import plan as plan_module
from certify.core.errors import UsageError
from certify.core.files import sha256_file
from certify.data import default_preprocess
from certify.data.contract_slot import normalise, stored_contract
from certify.measure.plan import Plan
from compress.cli import compress, quick
from compress.exchange.onnx_export import export
from compress.job import pipeline, recipe
from compress.job.dry_run import dry_run
from compress.testing.networks import CLASSES, network

INT8 = recipe.load([{"quantize_static": {"samples": 16}}])
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
MADE = {"model.onnx", "baseline.onnx", "lineage.json"}


@pytest.fixture
def normal(onnx_file, dataset, tmp_path):
    """The model's file with its contract inside."""
    normalise(onnx_file, tmp_path / "net.onnx", default_preprocess(dataset))
    return tmp_path / "net.onnx"


@pytest.fixture
def asked(monkeypatch):
    """What the commands ask of the job, which does nothing here."""
    calls = []

    def run(model, **arguments):
        calls.append({"model": model, **arguments})
        raise UsageError("enough")

    monkeypatch.setattr(pipeline, "run", run)
    return calls


def _ask(command, *arguments):
    with pytest.raises(UsageError, match="enough"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.fixture
def made(normal, dataset, tmp_path):
    return pipeline.run(normal, INT8, dataset, out=tmp_path / "out", measure=False)


def test_model_and_lineage_are_in_out_when_nothing_is_measured(made, tmp_path):
    assert {path.name for path in made.out.iterdir()} == MADE == set(made.files)
    lineage = json.loads((made.out / "lineage.json").read_text())
    assert lineage["artifacts"]["model.onnx"] == sha256_file(made.out / "model.onnx")
    assert stored_contract(made.out / "model.onnx") == stored_contract(made.out / "baseline.onnx")
    assert made.certify_command in made.to_json()["certify"]
    assert "not measured" in repr(made)
    with pytest.raises(UsageError, match=r"not measured; certify it with: leanmark certify .*--lineage"):
        made.grade  # noqa: B018


def test_certificate_of_an_earlier_job_is_removed_when_its_model_is_replaced(normal, dataset, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("certificate.json", "evidence.jsonl", "label.svg", "label.png", "signer.pub", "model.safetensors"):
        (tmp_path / "out" / name).touch()
    made = pipeline.run(normal, INT8, dataset, out=tmp_path / "out", measure=False)
    assert {path.name for path in made.out.iterdir()} == MADE


def test_settings_are_in_the_lineage_when_a_recipe_was_changed(normal, dataset, tmp_path):
    changed = recipe.load({"extends": "transformer"}, ["quantize_static.samples=8"])
    made = pipeline.run(normal, changed, dataset, out=tmp_path / "out", measure=False)
    stated = json.loads(made.files["lineage.json"].read_text())["recipe"]
    assert (stated["extends"], stated["settings"]) == (["transformer"], ["quantize_static.samples=8"])


def test_lineage_names_model_and_origin_when_the_file_is_certified_later(made, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "keys"))
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "state"))
    files = {name: made.out / name for name in MADE}
    result = certify.certify(
        files["model.onnx"], baseline=files["baseline.onnx"], data=dataset, lineage=files["lineage.json"],
        out=tmp_path / "graded", plan=QUICK,
    )  # fmt: skip
    predicate = result.certificate.predicate
    assert predicate["model"]["name"] == made.lineage.model["spec"]
    assert made.lineage.model["origin"] in json.dumps(predicate)
    assert (tmp_path / "graded" / "lineage.json").read_bytes() == files["lineage.json"].read_bytes()


def test_file_is_certified_again_with_its_lineage_when_the_baseline_was_simplified(
    normal, dataset, tmp_path, monkeypatch
):
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"LEANMARK_{name}_HOME", str(tmp_path / name))
    padded = onnx.load(normal)
    last = padded.graph.node[-1]
    last.output[0], output = "kept", last.output[0]
    padded.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "one"))
    padded.graph.node.append(onnx.helper.make_node("Mul", ["kept", "one"], [output]))
    onnx.save(padded, normal)
    made = pipeline.run(normal, INT8, dataset, out=tmp_path / "out", measure=False)
    for before, after in (("out", "graded"), ("graded", "again")):
        files = {name: tmp_path / before / name for name in MADE}
        certify.certify(
            files["model.onnx"], baseline=files["baseline.onnx"], data=dataset, lineage=files["lineage.json"],
            out=tmp_path / after, plan=QUICK,
        )  # fmt: skip
    stated = made.lineage.artifacts["baseline.onnx"]
    assert sha256_file(tmp_path / "graded" / "baseline.onnx") != stated == sha256_file(made.out / "baseline.onnx")


def test_lineage_of_another_file_is_refused_before_anything_is_measured(made, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "keys"))
    for candidate, baseline, named in (("baseline", "baseline", "baseline"), ("model", "model", "model")):
        words = rf"must state the digest of .*{named}\.onnx, .*pass the lineage\.json that"
        with pytest.raises(UsageError, match=words):
            certify.certify(
                made.out / f"{candidate}.onnx", baseline=made.out / f"{baseline}.onnx", data=dataset,
                lineage=made.out / "lineage.json", out=tmp_path / "graded", plan=QUICK,
            )  # fmt: skip


def test_baseline_is_never_replaced_by_the_certified_file(made, dataset, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(made.out, own)
    before = sha256_file(own / "model.onnx")
    for candidate, baseline in (("baseline", "model"), ("baseline", "baseline")):
        with pytest.raises(UsageError, match="replace the given file .*choose another output folder"):
            certify.certify(own / f"{candidate}.onnx", baseline=own / f"{baseline}.onnx", data=dataset, out=own)
    assert sha256_file(own / "model.onnx") == before


@pytest.mark.parametrize(("verb", "name"), [("quantize", "quantize_static"), ("prune", "structured_prune")])
def test_verb_runs_compress_with_one_pass_and_no_measurement(asked, verb, name):
    _ask(getattr(quick, verb), "resnet18", "--seed", "3")
    (call,) = asked
    assert (call["model"], call["measure"], call["plan"], call["seed"]) == ("resnet18", False, None, 3)
    assert [each.name for each in call["recipe"].passes] == [name]
    assert call["out"].parts[-2:] == ("build", f"resnet18-{'pruned' if verb == 'prune' else 'quantized'}")


@pytest.mark.parametrize("verb", [quick.quantize, quick.prune])
def test_verb_has_no_option_about_measuring_and_names_its_own_folder(verb):
    assert not {each.name for each in verb.params} & {*compress.ABOUT_MEASURING}
    shown = CliRunner().invoke(verb, ["--help"], catch_exceptions=False).output
    assert f"leanmark {verb.name} resnet18" in shown
    assert "build/MODEL-" in shown


def test_onnx_file_is_pruned_by_the_pass_for_files_when_it_is_given(asked):
    _ask(quick.prune, "net.onnx", "--set", "reconstruct.macs=0.8")
    (applied,) = asked[0]["recipe"].passes
    assert (applied.name, applied.macs) == ("reconstruct", 0.8)
    assert asked[0]["out"].parts[-2:] == ("build", "net-pruned")


def test_lineage_records_what_was_removed_when_an_onnx_file_is_pruned(dataset, tmp_path):
    contract = default_preprocess(dataset)
    export(network("depthwise"), contract, tmp_path / "plain.onnx", classes=CLASSES)
    normalise(tmp_path / "plain.onnx", tmp_path / "net.onnx", contract)
    chosen = recipe.load([{"reconstruct": {"macs": 0.8, "samples": 32, "round_to": 1}}])
    made = pipeline.run(tmp_path / "net.onnx", chosen, dataset, out=tmp_path / "out", measure=False)
    (row,) = json.loads(made.files["lineage.json"].read_text())["rows"]
    assert row["pass"] == "reconstruct"
    assert row["macs"] <= 0.8 * made.lineage.baseline.facts.macs
    assert row["done"]["reconstruction"]["layers"]
    assert any("residual streams" in each["why"] for each in row["declined"])


def test_lineage_is_refused_when_the_file_is_something_else(made, dataset, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other\.json is not a lineage\.json written by leanmark compress"):
        certify.certify(
            made.out / "model.onnx", baseline=made.out / "baseline.onnx", data=dataset,
            lineage=tmp_path / "other.json", out=tmp_path / "graded", plan=QUICK,
        )  # fmt: skip


def test_verb_takes_a_parameter_of_its_pass_when_it_is_set(asked):
    _ask(quick.prune, "resnet18", "--set", "macs=0.4", "--out", "here")
    assert asked[0]["recipe"].passes[0].macs == 0.4
    assert asked[0]["out"] == Path("here")


def test_plan_comes_from_the_recipe_when_options_are_not_given(asked):
    _ask(compress.command, "net", "--recipe", "int8", "--set", "workload.batch=4", "--time-limit", "2m")
    _ask(compress.command, "net", "--batch", "8", "--precision", "2.5", "--metric", "top5", "--meter", "vcpu-watts")
    first, second = (call["plan"] for call in asked)
    assert (first.batch, first.time_limit_s, first.metric) == (4, 120.0, "top1")
    assert (second.batch, second.wanted_half_width, second.metric, second.meter) == (8, 0.025, "top5", "vcpu-watts")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--meter", "nvml"), ("--time-limit", "2m"), ("--carbon-intensity", "300"), ("--batch", "2"), ("--key", __file__)],
)
def test_option_about_measuring_is_refused_when_nothing_is_measured(asked, option, value):
    with pytest.raises(UsageError, match=f"^{option} is about measuring, which --no-measure skips"):
        CliRunner().invoke(compress.command, ["net", "--no-measure", option, value], catch_exceptions=False)
    assert not asked


@pytest.mark.parametrize(("name", "value"), [("meter", "vcpu-wats"), ("metric", "top11"), ("runtime", "openvin")])
def test_unknown_part_of_a_plan_is_refused_before_the_work(normal, dataset, tmp_path, name, value):
    with pytest.raises(UsageError, match="did you mean"):
        pipeline.run(normal, INT8, dataset, out=tmp_path / "out", plan=Plan(**{name: value}))
    assert not (tmp_path / "out").exists()


def test_measuring_commands_take_the_same_options():
    own = {each.name for each in compress.command.params}
    assert {each.name for each in plan_module.plan_options(lambda: None).__click_params__} <= own


def test_dry_run_shows_the_settings_of_each_pass_and_writes_nothing(model, normal, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    passes = [{"structured_prune": {"parameters": 0.5}}, {"distill": {"epochs": 2}}, "quantize_static"]
    plan = dry_run(model, passes, dataset, preprocess=default_preprocess(dataset))
    prune, distill, quantize = plan.passes
    assert prune.asked == {"parameters": plan.size.parameters / 2}
    assert (distill.asked, distill.config) == ({}, {"epochs": 2})
    assert quantize.asked == {"bytes": plan.size.bytes / 8}
    assert plan.measured == {"batch": 1, "runtime": "onnxruntime-cpu", "time_limit_s": 90.0}
    assert json.loads(json.dumps(plan.to_json()))["size"]["macs"] == plan.size.macs > 0
    of_file = dry_run(normal, passes, dataset, measure=False)
    assert "works on the torch module" in of_file.passes[0].left_out
    assert of_file.measured is None
    assert sorted(tmp_path.rglob("*")) == before
