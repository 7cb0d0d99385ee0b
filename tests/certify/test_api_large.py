"""The referee on a pair with weights in external files: measured, sealed, verified, audited."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import certify
from certify.attest.audit import audit
from certify.data import Preprocess
from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.data.images import ImagePreprocess

CLASSES, SIDE, WIDTH = 4, 8, 400
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = certify.Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, threads=1, yardstick=False)
CONTRACT: Preprocess = ImagePreprocess(
    input_name="pixels", output_name="scores", height=SIDE, width=SIDE, layout="NCHW", colour="RGB", scale=255.0,
    mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize="exact", crop="none", interpolation="bilinear", reading="logits",
)  # fmt: skip


class _Images(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._left = [{"pixels": rng.random((1, 3, SIDE, SIDE), dtype=np.float32)} for _ in range(8)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


def _dense() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    inputs = 3 * SIDE * SIDE
    shapes = {"first": (inputs, WIDTH), "second": (WIDTH, WIDTH), "third": (WIDTH, CLASSES)}
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"])]
    taken = "flat"
    for name in shapes:
        made = "scores" if name == "third" else f"after {name}"
        nodes.append(helper.make_node("MatMul", [taken, name], [made], name))
        taken = made
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32) / 20, name) for name, s in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def noise() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (40, SIDE, SIDE, 3), dtype=np.uint8)
    split = Split(ArraySource(pixels), np.arange(40, dtype=np.int64) % CLASSES)
    return Dataset(
        name="noise", spec="tests:noise", classes=("a", "b", "c", "d"), train=None, calibration=None, validation=None,
        test=split, input_size=(SIDE, SIDE),
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(noise: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[certify.Result]:
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("STATE", "CACHE", "CONFIG"):
            patch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path_factory.mktemp(kind)))
        onnx.save(_dense(), folder / "float.onnx")
        quantize_static(
            str(folder / "float.onnx"), str(folder / "int8.onnx"), _Images(), quant_format=QuantFormat.QDQ,
            use_external_data_format=True,
        )  # fmt: skip
        patch.setattr("certify.model_file.onnx_file.normal_form.fits_inside", lambda model, folder: False)
        yield certify.certify(
            folder / "int8.onnx",
            baseline=folder / "float.onnx",
            data=noise,
            preprocess=CONTRACT,
            out=folder / "graded",
            plan=QUICK,
        )


def test_pair_gets_its_sidecars_and_its_weights(result: certify.Result) -> None:
    out = result.model.parent
    names = {"model.onnx", "model.onnx.data", "baseline.onnx", "baseline.onnx.data", "certificate.json",
             "evidence.jsonl", "label.svg", "label.png",
             "signer.pub"}  # fmt: skip
    assert {path.name for path in out.iterdir()} == names == set(result.files)
    assert result.certificate.predicate["companions"].keys() == {"baseline.onnx", "baseline.onnx.data"}
    estimates = result.profile.estimates
    for arm, name in (("candidate", "model.onnx"), ("baseline", "baseline.onnx")):
        assert estimates[f"bytes_{arm}"].value > (out / f"{name}.data").stat().st_size
        assert estimates[f"macs_{arm}"].value == estimates[f"parameters_{arm}"].value
    assert result.profile.guard("quantization_fused").outcome == "pass"


def test_certificate_holds_and_follows_from_the_evidence(result: certify.Result) -> None:
    verification = certify.verify(result.model)
    assert verification.valid and not verification.failed
    assert audit(result.model).agrees
