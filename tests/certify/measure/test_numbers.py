"""A model that predicts a number, certified all the way: data of floats, the metric, and the verification."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import recognisers as made
from onnx import TensorProto, helper, numpy_helper

import certify
from certify.core.errors import DataError
from certify.measure.plan import Plan

pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False, metric="regression:0.2")


def brightness(factor: float, path: Path) -> Path:
    """A model of the mean grey level, (n, 1), times a factor."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Mul", ["flat", "factor"], ["classes"]),
    ]
    ports = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, made.SIDE, made.SIDE]),
             helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", 1])]  # fmt: skip
    weights = [numpy_helper.from_array(np.array([factor], np.float32), "factor")]
    graph = helper.make_graph(nodes, "brightness", ports[:1], ports[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_regression_model_is_certified_by_its_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "state"))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (600, 1, 1)) * 128 + rng.integers(0, 128, (600, made.SIDE, made.SIDE))
    numbers = (images.mean(axis=(1, 2)) / 255 - 0.5) / 0.25  # as the contract feeds it
    np.savez(tmp_path / "grey.npz", x=images.astype(np.uint8), y=numbers)
    files = {name: brightness(factor, tmp_path / f"{name}.onnx") for name, factor in (("old", 1.0), ("new", 1.02))}
    spec = f"npz:test={tmp_path / 'grey.npz'}"

    def graded(plan: Plan) -> certify.Result:
        return certify.certify(
            files["new"], baseline=files["old"], data=spec, out=tmp_path / "out", plan=plan,
            preprocess=made.CONTRACT,
        )  # fmt: skip

    with pytest.raises(DataError, match="regression:SCALE"):
        graded(certify.Plan(min_blocks=2))
    result = graded(QUICK)
    scores = [result.profile.estimates[f"score_{arm}"].value for arm in ("baseline", "candidate")]
    assert scores[0] == pytest.approx(1.0, abs=1e-4) and 0.8 < scores[1] < 0.99
    failed = {guard.name: guard.sentence for guard in result.profile.guards if guard.outcome == "fail"}
    assert not {"metric_bound", "top1_kept", "baseline_beats_majority", "candidate_beats_majority"} & set(failed)
    data = result.certificate.predicate["data"]
    assert data["metric"] == "regression:0.2" and len(data["targets"]) == 64
    found = certify.verify(result.model)
    assert found.valid and found.derived, str(found)
