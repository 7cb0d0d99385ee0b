"""Models of several inputs: the facts of their files, their workers, and what is recorded of their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.data import Dataset, TokenPreprocess
from certify.data.own_data import from_mapping
from certify.measure import runtimes
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import open_worker, subject
from certify.measure.runtimes.base import SessionOptions
from certify.measure.runtimes.onnxruntime_cuda import BoundSession

VOCABULARY, WIDTH, LENGTH = 50, 4, 7
CONTRACT = TokenPreprocess(
    input_ids="ids", output_name="scores", length=LENGTH, vocabulary=VOCABULARY, pad_id=0, reading="logits",
    attention_mask="mask",
)  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> Dataset:
    random = np.random.default_rng(0)
    tokens = np.minimum(random.zipf(1.5, (60, LENGTH)), VOCABULARY - 1)
    mask = (np.arange(LENGTH) < random.integers(3, LENGTH + 1, (60, 1))).astype(np.int64)
    return from_mapping({"input_ids": tokens, "attention_mask": mask, "y": np.arange(60) % 3}, "texts", "tests:t", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of words: the sum of the embeddings of the tokens that count, and a product."""
    random = np.random.default_rng(1)
    weights = {
        "table": random.standard_normal((VOCABULARY, WIDTH)).astype(np.float32),
        "w": random.standard_normal((WIDTH, 3)).astype(np.float32),
        "last": np.array([-1]), "tokens": np.array([1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Cast", ["mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counted", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["bag"], keepdims=0),
        helper.make_node("MatMul", ["bag", "w"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bag",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in ("mask", "ids")],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("bag") / "bag.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def expected(model: Path, texts: Dataset, rows: range) -> np.ndarray:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(model).graph.initializer}
    fed = CONTRACT.feed(texts.test, rows)
    return (weights["table"][fed["ids"]] * fed["mask"][..., None]).sum(1) @ weights["w"]


@pytest.mark.parametrize("runtime", ["onnxruntime-cpu", "openvino"])
def test_worker_feeds_each_input_when_the_model_has_two(
    runtime: str, model: Path, texts: Dataset, tmp_path: Path
) -> None:
    if (reason := runtimes.get(runtime).unavailable()) is not None:
        pytest.skip(reason)
    one = subject("candidate", model, CONTRACT, 4, tmp_path)
    assert (one.facts.macs, one.facts.parameters) == (3 * WIDTH, (VOCABULARY + 3) * WIDTH)
    statistics = save_samples(one.inputs, texts.test, list(range(8)), CONTRACT)
    assert np.load(one.inputs).shape == (8, 2, LENGTH)
    assert statistics.repetition is not None and statistics.repetition > 2
    with open_worker(one, runtime, 1, 4) as worker:
        worker.predict(one.inputs, tmp_path / "outputs.npy", 4, 1.0)
        assert worker.window(3, 1.0).finite
    assert np.allclose(np.load(tmp_path / "outputs.npy"), expected(model, texts, range(8)), atol=1e-4)


def test_gpu_session_binds_each_input_when_the_model_has_two(
    model: Path, texts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime as ort

    to_processor = ort.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", staticmethod(lambda array, *_: to_processor(array)))
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    bound = BoundSession(session, SessionOptions(CONTRACT.input_names, "scores", 1, (0,)), "float32")
    found = bound.run(bound.prepare(CONTRACT.batch(texts.test, range(5))))
    assert np.allclose(found, expected(model, texts, range(5)), atol=1e-4)
