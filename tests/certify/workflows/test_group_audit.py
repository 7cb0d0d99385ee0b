"""``leanmark fairness``: any ONNX file by itself, and against the one that it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import certify
from certify.assessments.social.assessment import Social
from certify.cli.main import main

pytest.importorskip("onnxruntime")
N = 1200


def linear(path: Path, weights: list[float]) -> Path:
    """A file that answers 1 where the weighted sum of four inputs is above 0."""
    w = np.stack([np.zeros(4), np.array(weights)], axis=1).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["output"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(w, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A file, one that also looks at the sex of a person, and people."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    female = rng.random(N) < 0.5
    score = rng.standard_normal(N)
    x = np.stack([score + 0.3 * rng.standard_normal(N), rng.standard_normal(N), female, ~female], axis=1)
    np.savez(
        folder / "test.npz",
        x=x.astype(np.float32),
        y=(score > 0).astype(np.int64),
        features=np.array(["score", "noise", "sex=f", "sex=m"]),
        group_sex=np.where(female, "f", "m"),
    )
    paths = linear(folder / "fair.onnx", [1, 0, 0, 0]), linear(folder / "unfair.onnx", [1, 0, -0.5, 0.0])
    return *paths, f"npz:test={folder / 'test.npz'}"


def test_fairness_finds_the_group_that_lost_accuracy(files: tuple[Path, Path, str]) -> None:
    fair, unfair, data = files
    found = certify.fairness(unfair, against=fair, data=data, groups="sex", batch=16, progress=False)
    shown = {one.name: one.verdict for one in found.cells}
    assert shown["sex=f, false negatives"] == "worse" and shown["sex=m, false negatives"] == "no worse"
    figures = found.profile.estimates
    assert figures["sex_flips_baseline"].value == 0 < figures["sex_flips_candidate"].low
    assert figures["sex_selection_ratio_candidate"].value < figures["sex_selection_ratio_baseline"].value
    assert not found.outcome.refused and "1 of 4 cells worse" in found.outcome.text
    assert Social().parse(Social().dump(found.records), "records") == found.records


def test_command_writes_page_plot_and_records_when_a_file_is_audited_alone(
    files: tuple[Path, Path, str], tmp_path: Path
) -> None:
    _, unfair, data = files
    arguments = ["fairness", str(unfair), "--data", data, "--groups", "sex", "--batch", "16", "--quiet"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "disparate-impact ratio" in result.output and "before" not in result.output
    page = (tmp_path / "out" / "fairness.html").read_text()
    assert "<script" not in page and "sex=f" in page and "<svg" in page
    assert (tmp_path / "out" / "fairness.svg").read_text().startswith("<svg")
    told = json.loads((tmp_path / "out" / "fairness.json").read_text())
    assert told["cells"] == [] and told["profile"]["estimates"]["sex_selection_ratio_candidate"]["value"] < 1


@pytest.mark.parametrize(("groups", "words"), [("sec", "sex"), ("sex:sex", "two different ones")])
def test_command_exits_with_2_and_one_sentence_when_groups_are_unknown(
    files: tuple[Path, Path, str], groups: str, words: str
) -> None:
    _, unfair, data = files
    result = CliRunner().invoke(main, ["fairness", str(unfair), "--data", data, "--groups", groups, "--quiet"])
    assert result.exit_code == 2 and words in result.output and "Traceback" not in result.output
