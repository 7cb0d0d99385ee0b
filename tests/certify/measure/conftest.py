"""A small real pair: a convolutional net, and its int8 file as ONNX Runtime's own quantizer makes it."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence
from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.data.images import ImagePreprocess
from certify.data.preprocess import Preprocess
from certify.measure import observations
from certify.measure.model_under_test import subject
from certify.measure.variants import VariantBench

sys.path.insert(0, str(Path(__file__).parent))  # tests are not a package

CLASSES = 4
SIDE = 32
RUNTIME = "onnxruntime-cpu"


@dataclass(frozen=True)
class SmallPair:
    baseline: Path
    candidate: Path
    dataset: Dataset
    contract: Preprocess


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's folders."""
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("LEANMARK_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def simplified(tmp_path: Path, edition: Edition, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Simplifies a model, without the processes that a measurement starts for it."""
    here = importlib.import_module("simplified_here")
    monkeypatch.setattr(VariantBench, "run", here.run_here)
    monkeypatch.setattr(VariantBench, "as_loaded", here.load_here)

    def run(
        model: onnx.ModelProto, data: Dataset = here.DATA, contract: Preprocess = here.made.CONTRACT, **plan: Any
    ) -> Any:
        return here.simplify_file(model, tmp_path, edition, data, contract, **plan)

    return run


@pytest.fixture(scope="session")
def contract() -> Preprocess:
    return ImagePreprocess(
        input_name="image", output_name="classes", height=SIDE, width=SIDE, layout="NCHW", colour="RGB", scale=255.0,
        mean=(0.0, 0.0, 0.0), std=(0.5, 0.5, 0.5), resize="exact", crop="none", interpolation="bilinear",
        reading="logits",
    )  # fmt: skip


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """Noise with one bright quarter; the quarter is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(80, dtype=np.int64) % CLASSES
    pixels = rng.integers(0, 100, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        top, left = divmod(int(label), 2)
        half = SIDE // 2
        image[top * half : (top + 1) * half, left * half : (left + 1) * half] += 120
    split = Split(ArraySource(pixels), labels)
    return Dataset(
        name="quarters", spec="tests:quarters", classes=("a", "b", "c", "d"), train=None, calibration=None,
        validation=None, test=split, input_size=(SIDE, SIDE),
    )  # fmt: skip


def small_net(width: int = 32) -> onnx.ModelProto:
    """Two convolutions, a pool that keeps the quarters apart, and a layer that reads them."""
    rng = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    reading = np.zeros((CLASSES, width * CLASSES), dtype=np.float32)
    for label in range(CLASSES):
        reading[label, label::CLASSES] = 1 / width
    weights = [
        weight("w1", width, 3, 3, 3),
        weight("w2", width, width, 3, 3),
        numpy_helper.from_array(reading, "w3"),
        numpy_helper.from_array(np.zeros(CLASSES, dtype=np.float32), "b3"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("AveragePool", ["r2"], ["p"], name="pool", kernel_shape=[SIDE // 2] * 2,
                         strides=[SIDE // 2] * 2),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["classes"], name="head", transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def small_pair(tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset, contract: Preprocess) -> SmallPair:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [contract.batch(small_dataset.test, [i]) for i in range(8)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self.left.pop()} if self.left else None

    folder = tmp_path_factory.mktemp("pair")
    baseline, candidate = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(small_net(), str(baseline))
    logging.disable(logging.WARNING)  # the quantizer advises a preparation that this net does not need
    try:
        quantize_static(
            str(baseline), str(candidate), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return SmallPair(baseline, candidate, small_dataset, contract)


@dataclass(frozen=True)
class Court:
    """Judges what is observed of candidates against the small float net.

    Attributes:
        folder: where files are written.
        pair: the honest pair.
        baseline: what is observed of the baseline.
        make_evidence: the builder of honest evidence.
        edition: by which it is judged.
    """

    folder: Path
    pair: Any
    baseline: Mapping[str, Any]
    make_evidence: Callable[..., Evidence]
    edition: Edition

    def edited(self, edit: Callable[[onnx.ModelProto], None]) -> Path:
        """A copy of the baseline that was tampered with; it still runs."""
        model = onnx.load(str(self.pair.baseline))
        edit(model)
        onnx.checker.check_model(model, full_check=True)
        path = self.folder / "candidate.onnx"
        onnx.save(model, str(path))
        return path

    def look(
        self, path: Path, contract: Preprocess | None = None, arm: str = "candidate", width: int = 4
    ) -> dict[str, Any]:
        """What a measurement observes of one file, by name; ``width`` is that of its output."""
        return _look(path, contract or self.pair.contract, self.folder, arm, width)

    def judge(self, observed: Mapping[str, Any], **header: Any) -> dict[str, str]:
        """Outcome of every guard, with what was observed of the candidate."""
        told = {name: {"baseline": self.baseline[name], "candidate": values} for name, values in observed.items()}
        return self.outcomes(told, **header)

    def outcomes(self, told: Mapping[str, Any], **header: Any) -> dict[str, str]:
        evidence = self.make_evidence(observations=told, header=header)
        profile = derive(evidence, self.edition)
        failed = [guard for guard in profile.guards if guard.outcome == "fail"]
        refused = grade(profile, self.edition)
        for guard in failed:
            assert any(guard.name in reason and guard.sentence[1:] in reason for reason in refused.reasons)
        return {guard.name: guard.outcome for guard in profile.guards if guard.outcome != "pass"}


def _look(path: Path, contract: Preprocess, folder: Path, arm: str, width: int = 4) -> dict[str, Any]:
    """Everything that a measurement observes of one file, by name."""
    model = subject(arm, path, contract, 1, folder)
    graphs = observations.graphs([model], {arm: RUNTIME}, 1, folder)
    found = [*graphs, observations.interfaces([model], {arm: width}, 1)]
    return {observation.name: observation.values[arm] for observation in found}


@pytest.fixture(scope="module")
def court(small_pair, make_evidence, edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Court:
    folder = tmp_path_factory.mktemp("court")
    baseline = _look(small_pair.baseline, small_pair.contract, folder, "baseline")
    return Court(folder, small_pair, baseline, make_evidence, edition)
