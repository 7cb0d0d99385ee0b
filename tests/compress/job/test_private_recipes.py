"""The whole way of a private model: made by a recipe, stated, verified; and refused where one touch was raw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import certify
from certify.assessments.privacy.edition import load_edition
from certify.assessments.privacy.figures import total_spent
from certify.assessments.privacy.findings import judge
from certify.assessments.privacy.record_file import parse_records
from certify.assessments.privacy.records import Records
from certify.assessments.privacy.withholding import join
from certify.attest.auditor import Access
from certify.attest.keys import new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from compress.job import job as job_module
from compress.job import pipeline, recipe
from compress.job.context import make_context
from compress.job.dry_run import dry_run
from compress.job.original import Request, find_original
from compress.job.privacy import source_of
from compress.job.public_form import public_config
from compress.job.workspace import Workspace
from compress.models.built_model import BuiltModel
from compress.private.account import PRIVATE
from compress.testing.networks import blobs, network

KEY = DataKey(bytes(range(32)))
SIGNER = new_key()
PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
QUICK = ("dp_head.steps=30", "dp_head.delta=0.001", "quantize_static.samples=16")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp(name)))


def job(out: Path, chosen: Any, **options: Any) -> Path:
    given = {"data_key": KEY, "public_original": True, **options}
    pipeline.run(
        network("residual"), chosen, blobs(), out=out, preprocess=PIXELS, measure=False, progress=False, **given
    )
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield job(tmp_path_factory.mktemp("job") / "out", recipe.load("private-head", QUICK))


def state(out: Path) -> Any:
    return certify.state(out / "model.onnx", "privacy", out / "privacy.jsonl", edition="2026", signer=SIGNER)


def access(out: Path) -> Access:
    return Access((out / "auditor" / "privacy.jsonl",), KEY)


def whole(out: Path) -> Records:
    """What an auditor judges."""
    public = parse_records((out / "privacy.jsonl").read_bytes(), "public")
    return join(public, (out / "auditor" / "privacy.jsonl").read_bytes(), KEY)


def failing(out: Path) -> dict[str, str]:
    records = whole(out)
    return {one.name: one.outcome for one in judge(records, load_edition("2026")) if one.outcome == "fail"}


def test_statement_is_derived_when_a_head_was_trained_privately(made: Path) -> None:
    issued = state(made)
    assert not issued.claims.refused, issued.claims.reasons
    found = verify(made / "model.onnx", trust=[SIGNER.public], access=access(made))
    assert not found.failed and found.strict_exit_code == 0, str(found)
    assert issued.profile["epsilon_stated"].value <= 8.0


def test_epsilon_is_derived_again_to_1e9_by_the_auditor(made: Path) -> None:
    records = whole(made)
    total = total_spent(records)
    assert total is not None and abs(total.epsilon - records.header.claimed_epsilon) < 1e-9
    assert 7.9 < total.epsilon <= 8.0 and records.header.units == 128
    found = {one.name: one.outcome for one in judge(records, load_edition("2026"))}
    assert (
        set(found.values()) <= {"pass", "unknown"} and found["sampler_is_poisson"] == found["parts_disjoint"] == "pass"
    )


def test_public_files_withhold_the_number_of_records_when_one_may_be_added(made: Path) -> None:
    lineage = json.loads((made / "lineage.json").read_text())
    assert PRIVATE not in lineage["rows"][0]["done"] and lineage["rows"][0]["touched"]["train"] == ["dp-sgd#0"]
    public = parse_records((made / "privacy.jsonl").read_bytes(), "public")
    assert public.header.units is None and not public.batches and not public.members
    kept = json.loads((made / "auditor" / "lineage.json").read_text())
    assert len(kept["rows"][0]["done"][PRIVATE]["sizes"]) == 30


def test_public_lineage_withholds_the_sampling_rate_when_one_record_may_be_added(made: Path) -> None:
    public, kept = (json.loads((made / name).read_text()) for name in ("lineage.json", "auditor/lineage.json"))
    assert "sampling_rate" not in public["rows"][0]["config"] and kept["rows"][0]["config"]["sampling_rate"] == 0.2
    done, noise = public["rows"][0]["done"], kept["rows"][0]["done"]["noise"]
    assert "noise" not in done and done["epsilon"] <= 8.0, "the rate would follow from both"
    assert not any(str(noise) in path.read_text() for path in made.glob("*.json*"))


def test_digest_of_a_recipe_hides_the_sampling_rate_when_one_record_may_be_added() -> None:
    rates = [recipe.load("private-head", (*QUICK, f"dp_head.sampling_rate={rate}")) for rate in (0.1, 0.2)]
    assert rates[0].digest() != rates[1].digest()
    assert rates[0].digest(public_config) == rates[1].digest(public_config)
    replaced = [recipe.load(each, ["dp_head.adjacency=replace-one"]) for each in rates]
    assert replaced[0].digest(public_config) != replaced[1].digest(public_config)


def test_settings_in_the_public_lineage_hide_the_sampling_rate(tmp_path: Path) -> None:
    out = job(tmp_path / "out", recipe.load("private-head", (*QUICK, "dp_head.sampling_rate=0.3")))
    public, kept = (json.loads((out / name).read_text()) for name in ("lineage.json", "auditor/lineage.json"))
    assert list(QUICK) == public["recipe"]["settings"] and kept["recipe"]["settings"] == [
        *QUICK,
        "dp_head.sampling_rate=0.3",
    ]


def test_claim_is_refused_when_a_later_pass_reads_the_private_part(tmp_path: Path) -> None:
    passes = [{"dp_head": {"steps": 5, "delta": 1e-3}}, {"finetune": {"epochs": 1}}]
    out = job(tmp_path / "out", {"name": "leaky", "passes": passes})
    assert failing(out) == {"every_touch_accounted": "fail"}
    issued = state(out)
    assert issued.claims.refused and any("1 finetune read train (raw)" in reason for reason in issued.claims.reasons)


def test_claim_is_refused_when_calibration_is_private_too(tmp_path: Path) -> None:
    out = job(tmp_path / "out", recipe.load("private-head", QUICK), private_parts=("train", "calibration"))
    issued = state(out)
    assert issued.claims.refused and any("read calibration (raw)" in reason for reason in issued.claims.reasons)


def test_claim_is_unknown_when_the_original_is_not_declared_public(tmp_path: Path) -> None:
    chosen = {"name": "head", "passes": [{"dp_head": {"steps": 5, "delta": 1e-3}}]}
    assert state(job(tmp_path / "out", chosen, public_original=False)).claims.refused


def test_private_head_and_pruned_model_compose(tmp_path: Path) -> None:
    passes = [
        {"structured_prune": {"macs": 0.6, "round_to": 1, "reconstruct": False}},
        {"fold_norms": {}},
        {"dp_head": {"steps": 5, "delta": 1e-3}},
        {"quantize_static": {"samples": 16}},
    ]
    out = job(tmp_path / "out", {"name": "small", "passes": passes})
    touched = [row["touched"].get("train") for row in json.loads((out / "lineage.json").read_text())["rows"]]
    assert "dp-sgd#2" in touched[2] and failing(out) == (
        {} if touched[0] is None else {"every_touch_accounted": "fail"}
    )


def test_pate_is_derived_when_the_public_part_is_separate(tmp_path: Path) -> None:
    chosen = recipe.load(
        "pate",
        ("pate_distill.teachers=3", "pate_distill.noise=1", "pate_distill.queries=40", "pate_distill.answers=30",
         "pate_distill.threshold_noise=1", "pate_distill.delta=0.001", "pate_distill.epochs=1",
         "quantize_static.samples=16"),
    )  # fmt: skip
    out = job(tmp_path / "out", chosen)
    assert failing(out) == {}
    issued = state(out)
    assert not issued.claims.refused and issued.profile["epsilon"].value == issued.profile["epsilon_stated"].value
    assert not verify(out / "model.onnx", trust=[SIGNER.public], access=access(out)).failed


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"data_key": None}, "add --private-data"),
    "a part that does not exist": ({"private_parts": ("train", "extra")}, "no private part 'extra'"),
    "another part alone": ({"private_parts": ("validation",)}, "protects the part train"),
}


@pytest.mark.parametrize("what", BAD)
def test_private_recipe_is_refused_before_the_work_when_no_claim_is_possible(what: str, tmp_path: Path) -> None:
    options, sentence = BAD[what]
    with pytest.raises(UsageError, match=sentence):
        job(tmp_path / "out", recipe.load("private-head", QUICK), **options)
    assert not (tmp_path / "out").exists()


NOT_FITTING: dict[str, tuple[list[Any], str]] = {
    "delta": ([{"fold_norms": {}}, {"dp_head": {"delta": 0.01}}], "delta 0.01 is not below 1/128"),
    "noise": ([{"dp_head": {"delta": 1e-3, "epsilon": 1e-3, "sampling_rate": 1.0}}], "epsilon 0.001 needs noise"),
    "delta of votes": ([{"pate_distill": {"delta": 0.01}}], "delta 0.01 is not below 1/128"),
    "teachers": ([{"pate_distill": {"teachers": 100, "delta": 1e-3}}], "100 teachers are too many for 128 samples"),
    "votes": (
        [{"pate_distill": {"teachers": 2, "delta": 1e-3, "epsilon": 0.1}}],
        "cost epsilon .*than the allowed 0.1",
    ),
    "batch norms": ([{"dp_finetune": {"delta": 1e-3}}, {"fold_norms": {}}], "mixes samples; put fold_norms before"),
    "sampling rate": ([{"dp_head": {"sampling_rate": 1.5}}], "sampling_rate of dp_head must be .* 1, got 1.5"),
}


@pytest.mark.parametrize("what", NOT_FITTING)
def test_private_recipe_is_refused_before_the_work_when_its_settings_do_not_fit(what: str, tmp_path: Path) -> None:
    passes, sentence = NOT_FITTING[what]
    with pytest.raises(UsageError, match=sentence) as caught:
        job(tmp_path / "out", {"name": "own", "passes": passes})
    assert str(caught.value).count(". ") == 0 and not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=sentence):
        dry_run(network("residual"), {"name": "own", "passes": passes}, blobs(), preprocess=PIXELS, measure=False)


def test_command_exits_with_2_and_writes_nothing_when_delta_is_too_large(tmp_path: Path) -> None:
    asked = ["compress", "compress.testing.networks:Residual", "--recipe", "private-head", "--data", "mnist5k"]
    asked += ["--set", "dp_head.delta=0.5", "--no-measure", "--mean", "0.5", "--std", "0.5", "--private-data"]
    result = CliRunner().invoke(main, [*asked, "--out", str(tmp_path / "o")])
    assert result.exit_code == 2 and "delta 0.5 is not below 1/" in result.stderr, result.output
    assert not (tmp_path / "o").exists()


def test_passes_with_other_neighbours_are_refused(tmp_path: Path) -> None:
    passes = [{"dp_head": {"delta": 1e-3}}, {"dp_head": {"delta": 1e-3, "adjacency": "replace-one"}}]
    with pytest.raises(UsageError, match="the same adjacency"):
        job(tmp_path / "out", {"name": "mixed", "passes": passes})


def test_command_exits_with_2_when_private_data_is_not_declared(tmp_path: Path) -> None:
    asked = ["compress", "resnet18", "--recipe", "private-head", "--data", "mnist5k", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(main, [*asked, "--no-measure"])
    assert result.exit_code == 2 and "--private-data" in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(("name", "trains"), [("private-head", False), ("finetuned", True)])
def test_original_is_trained_when_the_recipe_hides_nothing(
    name: str, trains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, progress = blobs(), Silent()
    original = find_original(Request("squeezenet1_1"), dataset, progress)
    chosen = recipe.load(name) if name in recipe.names() else recipe.load({"name": name, "passes": [{"finetune": {}}]})
    context = make_context(original, dataset, target=None, seed=0, max_train_time=None, progress=progress)
    asked: list[bool] = []

    def trained(built: BuiltModel, *_: object, **__: object) -> object:
        asked.append(True)
        return built.model, "trained here", False, None

    monkeypatch.setattr(job_module, "trained_baseline", trained)
    row = job_module.Job(original, chosen, dataset, context, Workspace(tmp_path, {}, progress), None).baseline().row
    assert bool(asked) is row.trained_here is trains and ("train" in (row.touched or {})) is trains
    assert source_of(original, "ab" * 32, public=False).status == "public"  # its weights are random
    given = replace(original, built=replace(original.built, partly_given=True))
    assert source_of(given, "ab" * 32, public=False).status == "unknown"  # some may come from private data


def test_result_names_the_records_and_a_private_measurement_when_the_data_are_private(tmp_path: Path) -> None:
    result = pipeline.run(
        network("residual"), recipe.load("private-head", QUICK), blobs(), out=tmp_path, preprocess=PIXELS,
        measure=False, progress=False, data_key=KEY, public_original=True,
    )  # fmt: skip
    assert result.files["privacy.jsonl"] == tmp_path / "privacy.jsonl"
    assert result.certify_command.endswith(" --private-data")
    public = replace(result.lineage, auditor=None)
    assert "--private-data" not in replace(result, lineage=public).certify_command
    assert result.lineage.data["spec"] == "withheld" and f"--data {blobs().spec}" in result.certify_command
    assert "data_key=data_key" in replace(result, data="given in Python:dict").certify_command
