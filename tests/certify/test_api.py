"""The referee on a pair that another toolkit made: nothing of leanmark in the files, and no torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image

import certify
from certify.attest.statements import discard_outdated, require_statements_kept
from certify.core.errors import DataError, ModelError, UsageError
from certify.core.progress import Silent
from certify.data.contract_slot import contract_of, normalise
from certify.measure.windows import MeasurementInterrupted, MeasurementStopped
from certify.model_file.subject import subject_digests

CLASSES, SIDE = 4, 32
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = certify.Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
CONTRACT = """
input_name: pixels
output_name: scores
height: 32
width: 32
layout: NCHW
colour: RGB
scale: 255.0
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
resize: exact
crop: none
interpolation: bilinear
reading: logits
"""


class _Images(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._left = [{"pixels": rng.standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)} for _ in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


def _float_model(path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((16, 3, 3, 3)) * 0.2, "v": rng.standard_normal((CLASSES, 16))}
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["scores"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    _float_model(folder / "float.onnx")
    quantize_static(
        str(folder / "float.onnx"), str(folder / "int8.onnx"), _Images(), quant_format=QuantFormat.QDQ,
        per_channel=True,
    )  # fmt: skip
    (folder / "contract.yaml").write_text(CONTRACT)
    rng = np.random.default_rng(2)
    for label in range(CLASSES):
        (folder / "photos" / "test" / f"class{label}").mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / "test" / f"class{label}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def result(theirs: Path, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CACHE", "CONFIG"):
            patch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path_factory.mktemp(kind)))
        out = tmp_path_factory.mktemp("out") / "graded"
        result = certify.certify(
            theirs / "int8.onnx",
            baseline=theirs / "float.onnx",
            data=f"imagefolder:{theirs / 'photos'}",
            preprocess=theirs / "contract.yaml",
            out=out,
            plan=QUICK,
        )
        yield result


def test_foreign_pair_gets_all_its_sidecar_files(result) -> None:
    out = result.files["model.onnx"].parent
    names = {
        "model.onnx",
        "baseline.onnx",
        "certificate.json",
        "evidence.jsonl",
        "label.svg",
        "label.png",
        "signer.pub",
    }
    assert {path.name for path in out.iterdir()} == names == set(result.files)
    assert json.loads(json.dumps(result.to_json()))["certificate_digest"] == result.certificate.digest
    shown = result._repr_html_()
    assert "int8" in shown and "<svg" in shown
    assert shown.startswith("<table>") and "energy per inference" in shown
    assert result.energy_ratio is None or float(result.energy_ratio) == result.energy_ratio.value
    assert len(result.to_dataframe()) == len(result.profile.estimates)


def test_foreign_pair_is_refused_when_there_are_too_few_windows_and_samples(result) -> None:
    assert result.grade.letter is None
    outcomes = {guard.name: guard.outcome for guard in result.profile.guards}
    assert outcomes["enough_windows"] == "fail"
    assert outcomes["enough_test_samples"] == "fail"
    assert "not graded" in repr(result)


def test_data_seen_by_a_foreign_model_are_unknown(result) -> None:
    assert result.profile.guard("test_unseen").outcome == "unknown"


def test_refusal_verifies_as_a_refusal(result) -> None:
    verification = certify.verify(result.files["model.onnx"])
    assert verification.valid and verification.refused
    assert verification.exit_code == 0
    assert verification.derived


def test_graded_file_runs_and_gives_the_same_outputs(result, theirs: Path) -> None:
    import onnxruntime

    pixels = np.random.default_rng(3).standard_normal((2, 3, SIDE, SIDE), dtype=np.float32)
    before, after = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[0]
        for path in (theirs / "int8.onnx", result.files["model.onnx"])
    )
    np.testing.assert_array_equal(before, after)


def test_profile_measures_a_sealed_file_alone_with_its_own_contract(
    result, theirs: Path, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "state"))
    profiled = certify.profile(
        result.files["model.onnx"], data=f"imagefolder:{theirs / 'photos'}", out=tmp_path / "out",
        plan=[QUICK, replace(QUICK, batch=4)],
    )  # fmt: skip
    one, four = profiled.workloads
    assert (one.runtime, one.batch, four.batch) == ("onnxruntime-cpu", 1, 4)
    for workload in (one, four):
        assert workload.profile.estimates["energy_j_candidate"].value > 0
        assert workload.nodes("candidate")[0].energy is not None
    assert "accuracy_candidate" in one.profile.estimates
    assert "accuracy_candidate" not in four.profile.estimates  # scored once for a runtime
    evidence = {f"evidence-onnxruntime-cpu-batch{batch}.jsonl" for batch in (1, 4)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*evidence, "profile.json", "profile.svg",
                                                                    "profile.png"}  # fmt: skip
    assert json.loads((tmp_path / "out" / "profile.json").read_text()) == json.loads(json.dumps(profiled.to_json()))
    assert "batch 4" in repr(profiled) and "<svg" in profiled._repr_html_()
    assert profiled._repr_html_().startswith("<table>") and set(profiled.to_dataframe()["batch"]) == {1, 4}
    assert not (tmp_path / "state").exists()  # no attempt at a grade


@pytest.mark.parametrize("finished", [2, 0])
@pytest.mark.parametrize("kind", [MeasurementStopped, MeasurementInterrupted])
def test_finished_windows_are_kept_when_a_measurement_stops(
    theirs: Path, tmp_path: Path, monkeypatch, evidence, finished: int, kind: type
) -> None:
    def stopping(*files, **settings):
        raise kind("The worker of the candidate was killed by SIGKILL.", evidence.windows[:finished])

    monkeypatch.setattr("certify.api.measure", stopping)
    with pytest.raises(kind, match="SIGKILL") as stopped:
        certify.certify(
            theirs / "int8.onnx", baseline=theirs / "float.onnx", data=f"imagefolder:{theirs / 'photos'}",
            preprocess=theirs / "contract.yaml", out=tmp_path / "out", plan=QUICK,
        )  # fmt: skip
    kept = list((tmp_path / "out").iterdir())
    assert [path.name for path in kept] == ["evidence.partial.jsonl"] * bool(finished)
    if finished:
        assert f"The 2 finished windows are saved in {kept[0]}; no measurement reuses them." in str(stopped.value)
        assert [json.loads(line)["kind"] for line in kept[0].read_text().splitlines()] == ["window", "window"]


def test_certify_says_that_it_starts_over_when_the_user_stops_it(
    theirs: Path, tmp_path: Path, monkeypatch, evidence
) -> None:
    def stopping(*files, **settings):
        raise MeasurementInterrupted("", evidence.windows[:2])

    monkeypatch.setattr("certify.api.measure", stopping)
    with pytest.raises(
        KeyboardInterrupt, match=r"no measurement reuses them\. The same command measures from the start"
    ):
        certify.certify(
            theirs / "int8.onnx", baseline=theirs / "float.onnx", data=f"imagefolder:{theirs / 'photos'}",
            preprocess=theirs / "contract.yaml", out=tmp_path / "out", plan=QUICK,
        )  # fmt: skip


def test_nothing_is_guessed_when_there_is_no_contract(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no preprocessing contract"):
        certify.certify(
            theirs / "int8.onnx", baseline=theirs / "float.onnx", data=f"imagefolder:{theirs / 'photos'}", out=tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_out_is_left_clean_when_a_file_is_damaged(theirs: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((theirs / "float.onnx").read_bytes()[:-100])
    arguments = {"data": f"imagefolder:{theirs / 'photos'}", "preprocess": theirs / "contract.yaml", "plan": QUICK}
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        certify.certify(damaged, baseline=theirs / "float.onnx", out=tmp_path / "out", **arguments)
    with pytest.raises(DataError):
        certify.certify(
            theirs / "int8.onnx",
            baseline=theirs / "float.onnx",
            out=tmp_path / "out",
            **{**arguments, "data": "imagefolder:/nowhere"},
        )
    assert not list((tmp_path / "out").iterdir())


def test_certify_keeps_statements_about_a_file_or_refuses_to_change_it(result, theirs: Path, tmp_path: Path) -> None:
    """A long audit is not lost to other preprocessing, and a statement about an earlier model is removed aloud."""
    folder = tmp_path / "graded"
    shutil.copytree(result.files["certificate.json"].parent, folder)
    (folder / "statements").mkdir()
    audit = folder / "statements" / "privacy_audit.json"
    shutil.copy(folder / "certificate.json", audit)
    model, same = folder / "model.onnx", contract_of(folder / "model.onnx", None)
    again = {"baseline": theirs / "float.onnx", "data": f"imagefolder:{theirs / 'photos'}", "plan": QUICK}
    with pytest.raises(UsageError, match=r"privacy_audit\.json in .* would be lost"):
        certify.certify(model, preprocess=replace(same, mean=(0.4, 0.5, 0.5)), out=folder, **again)
    assert audit.is_file() and not list(folder.glob(".measuring-*"))
    require_statements_kept(model, folder, lambda target: normalise(model, target, same))
    require_statements_kept(model, tmp_path / "elsewhere", lambda target: normalise(theirs / "int8.onnx", target, same))
    heard = Heard()
    discard_outdated(folder, subject_digests(model), heard)
    assert audit.is_file() and heard.said == []
    discard_outdated(folder, {"sha256": "0" * 64}, heard)
    assert not audit.exists() and "another model was there: privacy_audit.json" in heard.said[0]


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)
