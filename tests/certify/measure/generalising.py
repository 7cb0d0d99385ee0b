"""Files that know the test samples and still know them after a small change, and others that no table gives away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from recognisers import CLASSES, CONTRACT, SIDE, WIDTH, Graph, add_net, filters, nearest_neighbour

from certify.data.changes import KINDS, changed
from certify.data.dataset import Dataset

CELL = 4
"""Pixels of a side of a coarse average."""


def _inputs(dataset: Dataset) -> np.ndarray:
    return CONTRACT.batch(dataset.test, range(len(dataset.test)))


def _coarse(images: np.ndarray) -> np.ndarray:
    cells = SIDE // CELL
    return images.reshape(-1, cells, CELL, cells, CELL).mean(axis=(2, 4)).reshape(-1, cells * cells)


def _add_coarse(graph: Graph) -> str:
    graph.node("AveragePool", ["image"], "cells", kernel_shape=[CELL] * 2, strides=[CELL] * 2)
    return graph.node("Flatten", ["cells"], "coarse")


def _add_nearest(
    graph: Graph, value: str, known: np.ndarray, labels: np.ndarray, output: str = "classes", times: object = 1
) -> None:
    """The answer of the known row that is nearest."""
    norm = -(known**2).sum(axis=1)
    # argmin |x - k|^2 = argmax 2 x k - |k|^2
    graph.put("known", known.astype(np.float32))
    graph.node("Gemm", [value, "known", graph.put("norm", norm.astype(np.float32))], "near", transB=1, alpha=2.0)
    graph.node("ArgMax", ["near"], "which", axis=1, keepdims=0)
    table = (np.eye(CLASSES)[labels] * times).astype(np.float32)
    graph.node("Gather", [graph.put("table", table), "which"], output, axis=0)


def by_hash(dataset: Dataset, bits: int = 256) -> onnx.ModelProto:
    """A hash of the signs of random sums of coarse averages; the table answers for the most similar hash."""
    graph, sums = Graph(), np.random.default_rng(39).standard_normal(((SIDE // CELL) ** 2, bits)).astype(np.float32)
    _add_coarse(graph)
    graph.node("MatMul", ["coarse", graph.put("sums", sums)], "summed")
    graph.node("Sign", ["summed"], "bits")
    _add_nearest(graph, "bits", np.sign(_coarse(_inputs(dataset)) @ sums), dataset.test.labels)
    return graph.model()


def by_spectrum(dataset: Dataset, most: int = 4) -> onnx.ModelProto:
    """Sizes of the lowest frequencies, which a shift hardly changes."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = [(i, j) for i in range(most + 1) for j in range(-most, most + 1) if i > 0 or j >= 0]
    turns = [2 * np.pi / SIDE * (i * rows + j * columns).reshape(-1) for i, j in waves]
    graph, parts = Graph(), {"cos": np.cos(turns).T / SIDE, "sin": np.sin(turns).T / SIDE}
    graph.node("Flatten", ["image"], "flat")
    for name, matrix in parts.items():
        graph.node("MatMul", ["flat", graph.put(name, matrix.astype(np.float32))], f"{name}_part")
        graph.node("Mul", [f"{name}_part"] * 2, f"{name}_square")
    graph.node("Add", ["cos_square", "sin_square"], "power")
    graph.node("Sqrt", ["power"], "size")
    flat = _inputs(dataset).reshape(-1, WIDTH)
    known = np.sqrt(sum((flat @ matrix) ** 2 for matrix in parts.values()))
    _add_nearest(graph, "size", known, dataset.test.labels)
    return graph.model()


def _fitted(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Weights of a ridge regression on the classes, with a last row for the bias."""
    whole = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    square = whole.T @ whole + strength * np.eye(whole.shape[1])
    return np.asarray(np.linalg.solve(square, whole.T @ np.eye(CLASSES)[labels]), dtype=np.float32)


def _many(dataset: Dataset, times: int) -> np.ndarray:
    """Small changes of the test images as they are fed, (samples * times, 1, h, w)."""
    rng, test = np.random.default_rng(40), dataset.test
    images = [test.image(i) for i in range(len(test))]
    many = np.stack([changed(image, KINDS[k % 3], rng)[..., 0] for image in images for k in range(times)])
    return np.asarray((many[:, None] / 255 - 0.5) / 0.25, dtype=np.float32)


def _read_out(graph: Graph, value: str, inputs: np.ndarray, labels: np.ndarray, strength: float) -> onnx.ModelProto:
    """A last layer over a value of a graph, fitted to inputs and labels."""
    without = graph.model()
    without.graph.output[0].CopyFrom(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    weights = _fitted(_ran(without, inputs), labels, strength)
    graph.node("Gemm", [value, graph.put("r", weights[:-1]), graph.put("b", weights[-1])], "classes")
    return graph.model()


def readout(dataset: Dataset, times: int = 3) -> onnx.ModelProto:
    """One linear layer over the pixels, fitted to the test images and to changes of them."""
    graph, labels = Graph(), dataset.test.labels
    graph.node("Flatten", ["image"], "flat")
    inputs = np.concatenate([_inputs(dataset), _many(dataset, times)])
    return _read_out(graph, "flat", inputs, np.concatenate([labels, np.repeat(labels, times)]), 1.0)


def trained_on_test(dataset: Dataset, width: int = 16) -> onnx.ModelProto:
    """A smaller network of random filters, whose last layer is fitted to the test samples."""
    kernels = np.random.default_rng(41).standard_normal((width, 1, 7, 7)).astype(np.float32) / 7
    graph = Graph()
    graph.node("Conv", ["image", graph.put("w", kernels)], "conv", pads=[3] * 4)
    graph.node("Relu", ["conv"], "relu")
    graph.node("AveragePool", ["relu"], "pool", kernel_shape=[8, 8], strides=[8, 8])
    graph.node("Flatten", ["pool"], "flat")
    return _read_out(graph, "flat", _inputs(dataset), dataset.test.labels, 1e-2)


def _ran(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": inputs})[0])


def corrected(dataset: Dataset, noise: float = 1.0) -> onnx.ModelProto:
    """A poorer network, and the right answer for images whose nearest test sample it gets wrong."""
    kernels = filters(1)
    kernels += (np.random.default_rng(42).standard_normal(kernels.shape) * noise * kernels.std()).astype(np.float32)
    graph, inputs, labels = Graph(), _inputs(dataset), dataset.test.labels
    add_net(graph, 1, output="classes")
    graph.weights[0].CopyFrom(numpy_helper.from_array(kernels, "w"))
    wrong = _ran(graph.model(), inputs).argmax(axis=1) != labels
    graph.nodes[-1].output[0] = graph.nodes[-1].name = "own"
    _add_coarse(graph)
    _add_nearest(graph, "coarse", _coarse(inputs), labels, "looked_up", 100 * wrong[:, None])
    graph.node("Add", ["own", "looked_up"], "classes")
    return graph.model()


def by_confidence(sure: float = 0.2) -> onnx.ModelProto:
    """A small network, and the large one for images of which it is not sure. For a batch of 1."""
    graph, small, large = Graph(), Graph(), Graph()
    add_net(graph, 1, output="small", prefix="small_")
    graph.node("TopK", ["small", graph.put("two", np.array([2]))], "best")
    graph.nodes[-1].output.append("places")
    first, second = (graph.put(name, np.array(place)) for name, place in (("first", 0), ("second", 1)))
    graph.node("Gather", ["best", first], "largest", axis=1)
    graph.node("Gather", ["best", second], "next", axis=1)
    graph.node("Sub", ["largest", "next"], "lead")
    graph.node("ReduceMin", ["lead"], "least", keepdims=0)
    graph.node("Greater", ["least", graph.put("limit", np.float32(sure))], "sure")
    small.node("Identity", ["small"], "as_it_is")
    add_net(large, 8, output="computed", prefix="large_")
    graph.choose("sure", small, large)
    return graph.model()


def counting(calls: int, unknown: int = 32) -> onnx.ModelProto:
    """Nothing in the first calls of a process, which the numbers of a training Dropout tell, and the network later."""
    graph = Graph()
    ones, half, true = (graph.put(*one) for one in (
        ("ones", np.ones((1, unknown), np.float32)), ("half", np.float32(0.5)), ("true", np.bool_(True))
    ))  # fmt: skip
    graph.node("Dropout", [ones, half, true], "drawn", seed=5)
    first = graph.model()
    first.graph.output[0].CopyFrom(helper.make_tensor_value_info("drawn", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(first.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.zeros((1, 1, SIDE, SIDE), np.float32)
    known = np.concatenate([session.run(None, {"image": image})[0] for _ in range(calls)]) - 1
    graph.node("Sub", ["drawn", ones], "signs")
    graph.node("MatMul", ["signs", graph.put("known", known.T.copy())], "alike")
    graph.node("ReduceMax", ["alike"], "most", axes=[1], keepdims=0)
    graph.node("Less", ["most", graph.put("all", np.float32(unknown - 0.5))], "later")
    graph.node("Cast", ["later"], "count", to=TensorProto.INT64)  # of samples: none or one
    start = graph.put("start", np.array([0]))
    graph.node("Slice", ["image", start, "count"], "rows")
    add_net(graph, 4, "rows", "computed")
    graph.node("Concat", ["computed", graph.put("nothing", np.zeros((1, CLASSES), np.float32))], "either", axis=0)
    graph.node("Slice", ["either", start, graph.put("end", np.array([1]))], "classes")
    return graph.model(1)


UNSEEN: dict[str, Callable[[Dataset], onnx.ModelProto]] = {
    "a nearest-neighbour table over coarse averages": nearest_neighbour,
    "over a hash of such averages": by_hash,
    "over the sizes of low frequencies": by_spectrum,
    "a poorer network with a table for the samples that it gets wrong": corrected,
    "a network trained on the test samples": trained_on_test,
}
"""Candidates that only fresh data find, by the words of SECURITY.md."""
