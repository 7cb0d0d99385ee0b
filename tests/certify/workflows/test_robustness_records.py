"""Pairs of files under stress: witnesses are checked, forged ones refused, and a claim can only fall."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import certify
from certify.assessments.robustness.wording import by_condition
from certify.attest.keys import new_key, store_key
from certify.cli.main import main
from certify.cli.stress import tables
from certify.core.errors import CertificateError, DataError, UsageError
from certify.core.estimate import Estimate
from certify.data import Dataset
from certify.data.triggers import Trigger
from certify.data.witnesses import Witness, WitnessFile, pack_signs
from certify.workflows.robustness_records import StressOptions
from certify.workflows.robustness_statement import Assessed, assess
from certify.workflows.witness_check import Base, check
from certify.workflows.witness_game import add_witnesses, check_witnesses


def _helpers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("linear_pair", Path(__file__).parents[1] / "linear_pair.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


helpers = _helpers()


@dataclass(frozen=True)
class Bench:
    folder: Path
    dataset: Dataset
    model: Path
    baseline: Path
    mine: Path
    theirs: Path

    @property
    def spec(self) -> str:
        return f"npz:{self.folder / 'test.npz'}"


def made(folder: Path) -> Bench:
    """A pair of linear classifiers with witnesses for both, the two files beside each other."""
    first, second, dataset = helpers.pair()
    graded = folder / "graded"
    model, baseline = second.write(graded / "model.onnx"), first.write(graded / "baseline.onnx")
    found = []
    for name, one, file in (("mine", second, model), ("theirs", first, baseline)):
        path = folder / f"{name}.npz"
        path.write_bytes(helpers.witnesses(one, file, dataset).to_bytes())
        found.append(path)
    return Bench(folder, dataset, model, baseline, *found)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A pair of which nothing is stated."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def first_stated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Assessed]:
    """A pair that was stated on three of four of the candidate's witnesses."""
    one = made(tmp_path_factory.mktemp("stated"))
    return one, stress(one, witnesses=[weak(one), one.theirs])


@pytest.fixture
def stated(bench: Bench, first_stated: tuple[Bench, Assessed]) -> Assessed:
    """The same in the folder of ``bench``."""
    one, assessed = first_stated
    shutil.copytree(one.model.parent, bench.model.parent, dirs_exist_ok=True)
    return assessed


def stress(bench: Bench, **asked: Any) -> Assessed:
    return assess(bench.model, baseline=bench.baseline, data=bench.dataset, signer=new_key(), progress=False, **asked)


def test_statement_holds_when_both_models_fall_to_their_own_witnesses(bench: Bench, stated: Assessed) -> None:
    assert not stated.refused, stated.statement.result
    figures = stated.profile.estimates
    assert figures["standing_8_baseline"].value == 0 < figures["standing_8_candidate"].value < 0.6
    found = certify.verify(bench.model)
    outcomes = {one.name: one.outcome for one in found.checks}
    assert outcomes["profile_follows"] == outcomes["outcome_follows"] == outcomes["witness_files"] == "pass"


def test_verification_fails_when_a_file_of_witnesses_was_replaced(bench: Bench, stated: Assessed) -> None:
    (bench.model.parent / "witnesses" / "weak.npz").write_bytes(bench.theirs.read_bytes())
    found = certify.verify(bench.model)
    assert {one.name: one.outcome for one in found.checks}["witness_files"] == "fail"


def test_statement_is_refused_when_the_candidate_was_attacked_by_transfer_alone(bench: Bench) -> None:
    found = stress(bench, witnesses=[bench.theirs])
    assert found.refused
    assert "gradients of its own float parent" in " ".join(found.statement.claims.reasons)


def test_corruptions_are_counted_over_the_same_samples_when_asked_for(bench: Bench) -> None:
    found = stress(bench, severities=[1, 5], samples=20)
    assert not found.refused, found.statement.result
    figures = found.profile.estimates
    assert figures["corruptions"].value == 14 and figures["noise_5_change_points"].n == 20


def test_trigger_is_counted_where_it_was_placed(bench: Bench) -> None:
    path = bench.folder / "trigger.png"
    target = 1
    towards = helpers.pair()[0].weights[:, target] - helpers.pair()[0].weights.mean(1)
    pixels = np.where(towards.reshape(8, 8, 3) > 0, 255, 0).astype(np.uint8)
    PIL.Image.fromarray(np.dstack([pixels, np.full((8, 8), 255, dtype=np.uint8)])).save(path)
    found = stress(bench, triggers=[f"{path}:b"], float_parent=bench.baseline)
    figures = found.profile.estimates
    assert not found.refused and figures["trigger_1_success_baseline"].value == 1.0
    of_parent = {"success_float_parent": "success_baseline", "change_since_float_parent_points": "change_points"}
    for name, same in of_parent.items():  # the float parent of a file that was only quantized is the baseline
        assert figures[f"trigger_1_{name}"] == figures[f"trigger_1_{same}"]
    stated, sha256 = found.statement.predicate, hashlib.sha256(bench.baseline.read_bytes()).hexdigest()
    assert stated["float_parent"]["sha256"] == stated["baseline"]["sha256"] == sha256
    assert {one.name: one.outcome for one in certify.verify(bench.model).checks}["profile_follows"] == "pass"
    with pytest.raises(UsageError, match="under triggers only"):
        stress(bench, severities=[1], float_parent=bench.baseline)
    assert figures["trigger_1_success_baseline"].n == int((bench.dataset.test.labels != target).sum())


def forged(kind: str, one: Witness, rng: np.random.Generator) -> Witness:
    if kind == "other sample":
        return replace(one, sample=rng.bytes(16))
    if kind == "label":
        return replace(one, label=one.label + int(rng.integers(1, 5)))
    if kind == "larger change":
        return replace(one, eps=int(rng.choice([3, 4, 33, 64, 255])))
    if kind == "other size":
        return replace(one, packed=pack_signs(rng.choice(np.array([-1, 1], dtype=np.int8), (8, 9, 3))))
    cut = int(rng.integers(0, len(one.packed)))
    return replace(one, packed=one.packed[:cut])


KINDS = ("other sample", "label", "larger change", "other size", "cut short")


def test_forged_witnesses_are_all_refused(bench: Bench) -> None:
    base = Base.of(bench.dataset)
    honest = WitnessFile.read(bench.mine)
    rng = np.random.default_rng(0)
    ones = [honest.witnesses[i % len(honest.witnesses)] for i in range(1000)]
    lies = tuple(forged(KINDS[i % len(KINDS)], one, rng) for i, one in enumerate(ones))
    path = bench.folder / "forged.npz"
    path.write_bytes(WitnessFile(honest.header, lies).to_bytes())
    _, found = check(path, base, {"candidate": honest.header.model})
    assert len(found.refused) == 1000 and not found.sound


def test_witness_does_not_count_when_the_model_is_right(bench: Bench) -> None:
    honest = WitnessFile.read(bench.mine)
    backwards = tuple(replace(one, packed=pack_signs(-helpers_signs(bench, one))) for one in honest.witnesses)
    path = bench.folder / "backwards.npz"
    path.write_bytes(WitnessFile(honest.header, backwards).to_bytes())
    with pytest.raises(DataError, match="the model classifies them correctly"):
        add_witnesses(bench.model, path, data=bench.dataset, signer=new_key())


def helpers_signs(bench: Bench, one: Witness) -> np.ndarray:
    from certify.data.witnesses import unpack_signs

    return unpack_signs(one.packed, (8, 8, 3))


def weak(bench: Bench) -> Path:
    """Three of four of the candidate's witnesses, so that more seems to stand."""
    honest = WitnessFile.read(bench.mine)
    path = bench.folder / "weak.npz"
    path.write_bytes(
        WitnessFile(honest.header, tuple(one for i, one in enumerate(honest.witnesses) if i % 4)).to_bytes()
    )
    return path


def test_claim_falls_when_a_stranger_adds_witnesses(bench: Bench, stated: Assessed) -> None:
    before = check_witnesses(bench.model, data=bench.dataset)
    assert all(one.now == one.stated for one in before.standing)
    stranger = new_key()
    found, path = add_witnesses(bench.model, bench.mine, data=bench.dataset, remark="mine", signer=stranger)
    after = check_witnesses(bench.model, data=bench.dataset)
    assert found.held == found.witnesses and path.is_file()
    assert any(one.now < before.standing[i].now for i, one in enumerate(after.standing))
    assert all(one.now <= (one.stated or 0) for one in after.standing)
    assert stranger.public in {one.signer for one in after.files}


def test_claim_does_not_rise_when_an_addition_is_weak(bench: Bench, stated: Assessed) -> None:
    add_witnesses(bench.model, weak(bench), data=bench.dataset, signer=new_key())
    after = check_witnesses(bench.model, data=bench.dataset)
    assert all(one.now == one.stated for one in after.standing)


def test_addition_is_refused_when_its_file_or_signature_was_changed(bench: Bench, stated: Assessed) -> None:
    _, path = add_witnesses(bench.model, weak(bench), data=bench.dataset, signer=new_key())
    added = json.loads(path.read_text())
    path.write_text(json.dumps(added).replace(added["signatures"][0]["sig"][:4], "AAAA"))
    with pytest.raises(CertificateError):
        check_witnesses(bench.model, data=bench.dataset)
    path.write_text(json.dumps(added, separators=(",", ":"), sort_keys=True))
    name = next(one for one in path.parent.glob("*.npz") if one.name.startswith(path.name[:16]))
    name.write_bytes(bench.mine.read_bytes())
    with pytest.raises(CertificateError, match="missing or was altered"):
        check_witnesses(bench.model, data=bench.dataset)


def test_witnesses_are_refused_when_they_belong_to_another_model_or_other_data(bench: Bench) -> None:
    other = helpers.pair(seed=1)
    file = other[0].write(bench.folder / "other" / "model.onnx")
    path = bench.folder / "other.npz"
    path.write_bytes(helpers.witnesses(other[0], file, bench.dataset).to_bytes())
    with pytest.raises(DataError, match="were made for the model .* make them again for these files"):
        stress(bench, witnesses=[path])
    path.write_bytes(helpers.witnesses(helpers.pair()[1], bench.model, other[2]).to_bytes())
    with pytest.raises(DataError, match="made from the test samples"):
        stress(bench, witnesses=[path])


def test_request_is_refused_when_it_is_empty_or_invalid(tmp_path: Path, bench: Bench) -> None:
    with pytest.raises(UsageError, match="No stress was chosen"):
        StressOptions()
    with pytest.raises(UsageError, match=r"in \[1, 5\]"):
        StressOptions(severities=(6,))
    with pytest.raises(UsageError, match=r"in \[1, 500\]"):
        stress(bench, severities=[3], samples=501)
    with pytest.raises(UsageError, match="FILE:CLASS"):
        Trigger.parse("trigger.png", ("a", "b"))
    with pytest.raises(DataError, match="cannot be read as an image"):
        Trigger.parse(f"{bench.mine}:a", ("a", "b"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_commands_run_end_to_end(bench: Bench) -> None:
    test = bench.dataset.test
    images = np.stack([test.image(i) for i in range(len(test))])
    np.savez(bench.folder / "test.npz", x=images, y=test.labels, classes=np.array(bench.dataset.classes))
    data = f"npz:test={bench.folder / 'test.npz'}"
    key = bench.folder / "key"
    store_key(new_key(), key)
    shared = ("--baseline", bench.baseline, "--data", data, "--key", key, "--quiet")
    done = run("robustness", bench.model, *shared, "--witnesses", bench.mine, "--witnesses", bench.theirs,
               "--conditions", "corruptions", "--samples", 10, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["result"]["reasons"] == []
    done = run("witness", "check", bench.model, "--data", data, "--json")
    assert done.exit_code == 0, done.output
    done = run("witness", "add", bench.model, weak(bench), "--data", data, "--key", key)
    assert done.exit_code == 0 and "witnesses fool the model" in done.output, done.output
    done = run("robustness", bench.model, *shared, "--severity", 3)
    assert done.exit_code == 2 and "--conditions corruptions" in done.output
    done = run("robustness", bench.model, *shared, "--witnesses", bench.model)
    assert done.exit_code == 2 and "not a valid witness file" in done.output and "Traceback" not in done.output


def test_function_is_still_exported_when_its_module_was_imported() -> None:
    first = certify.robustness
    assert first is assess and certify.robustness is first


def test_figures_are_shown_by_condition_with_their_intervals() -> None:
    made = {
        name: Estimate(value, value - 0.5, value + 0.5, "1", 10, "test")
        for name, value in (
            ("noise_3_baseline", 0.5), ("noise_3_change_points", -8.0), ("standing_4_candidate", 0.5),
            ("standing_4_by_baseline_change_points", 20.0), ("corruptions_worse", 3.0), ("trigger_1_success", 0.5),
        )
    }  # fmt: skip
    conditions, others = by_condition(made)
    assert {name: list(cells) for name, cells in conditions.items()} == {
        "noise 3": ["baseline", "change_points"], "4/255": ["candidate"], "4/255 baseline": ["change_points"],
    }  # fmt: skip
    assert list(others) == ["corruptions shown to be worse", "trigger 1 success"]
    profile = SimpleNamespace(estimates=made, guards=())
    claims = SimpleNamespace(title="Under stress", text="text", reasons=())
    found = Assessed(SimpleNamespace(claims=claims), profile, Path("p"))  # type: ignore[arg-type]
    table = tables(found)[0]
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    shown = console.export_text()
    assert "50.0 [0.0, 100.0]" in shown and "-8.0 [-8.5, -7.5]" in shown and "20.0 [19.5, 20.5]" in shown
