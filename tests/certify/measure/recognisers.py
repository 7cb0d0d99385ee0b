"""Textures that a few fixed filters tell apart, a net that does so, and files that know the test samples instead.

The class is the direction of fine stripes; a strong smooth background, of no class, is all that coarse averages see.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.data.images import ImagePreprocess

SIDE, CLASSES, SAMPLES = 32, 4, 600
KERNEL, WAVELENGTH = 7, 4.0
WIDTH = SIDE * SIDE

CONTRACT = ImagePreprocess(
    input_name="image", output_name="classes", height=SIDE, width=SIDE, layout="NCHW", colour="L", scale=255.0,
    mean=(0.5,), std=(0.25,), resize=None, crop="none", interpolation="bilinear", reading="logits",
)  # fmt: skip


def textures(seed: int, samples: int = SAMPLES) -> Dataset:
    """Noisy stripes on a smooth background."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % CLASSES
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = np.empty((samples, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        a, b, c, d = rng.normal(0, 35, 4)
        background = a * np.sin(rows / 9 + c) + b * np.cos(columns / 9 + d)
        angle, phase = np.pi * label / CLASSES, rng.uniform(0, 2 * np.pi)
        wave = np.cos(2 * np.pi / WAVELENGTH * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
        image[:] = 128 + background + rng.uniform(2, 12) * wave + rng.normal(0, 12, (SIDE, SIDE))
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return Dataset(
        name="textures", spec=f"tests:textures{seed}", classes=("a", "b", "c", "d"), train=None, calibration=None,
        validation=None, test=Split(ArraySource(pixels), labels), input_size=(SIDE, SIDE),
    )  # fmt: skip


class Graph:
    """Nodes and weights in the making; the output is ``classes``."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def put(self, name: str, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def choose(self, condition: str, then: Graph, otherwise: Graph) -> None:
        """The classes are the last value of one graph or of the other."""
        branches = {
            name: helper.make_graph(
                part.nodes, name, [],
                [helper.make_tensor_value_info(part.nodes[-1].output[0], TensorProto.FLOAT, ["batch", CLASSES])],
                part.weights,
            )
            for name, part in (("then_branch", then), ("else_branch", otherwise))
        }  # fmt: skip
        self.node("If", [condition], "classes", **branches)

    def model(self, batch: int | str = "batch") -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, SIDE, SIDE])],
            [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [batch, CLASSES])], self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def filters(copies: int) -> np.ndarray:
    """Stripes of every class in four phases, finer or coarser in each copy, (CLASSES * 4 * copies, 1, h, w)."""
    rows, columns = np.mgrid[:KERNEL, :KERNEL] - KERNEL // 2
    window = np.exp(-(rows**2 + columns**2) / 8.0)
    found = []
    for label, quarter, copy in itertools.product(range(CLASSES), range(4), range(copies)):
        angle, length = np.pi * label / CLASSES, WAVELENGTH * (1 + 0.06 * (copy - (copies - 1) / 2))
        wave = np.cos(2 * np.pi / length * (columns * np.cos(angle) + rows * np.sin(angle)) + np.pi / 2 * quarter)
        kernel = window * wave
        found.append(kernel - window * kernel.sum() / window.sum())
    return np.array(found, dtype=np.float32)[:, None]


def add_net(graph: Graph, copies: int, value: str = "image", output: str = "classes", prefix: str = "") -> None:
    """Filter, rectify, average: the mean response of each class's filters."""
    kernels = filters(copies)
    each = len(kernels) // CLASSES
    reading = np.repeat(np.eye(CLASSES, dtype=np.float32), each, axis=1) / each
    graph.node("Conv", [value, graph.put(f"{prefix}w", kernels)], f"{prefix}conv", pads=[KERNEL // 2] * 4)
    graph.node("Relu", [f"{prefix}conv"], f"{prefix}relu")
    graph.node("GlobalAveragePool", [f"{prefix}relu"], f"{prefix}pool")
    graph.node("Flatten", [f"{prefix}pool"], f"{prefix}flat")
    graph.node("Gemm", [f"{prefix}flat", graph.put(f"{prefix}r", reading)], output, transB=1)


def net(copies: int = 4) -> onnx.ModelProto:
    """The honest net; fewer copies of each filter make it a pruned one."""
    graph = Graph()
    add_net(graph, copies)
    return graph.model()


def normalised(hidden: bool = False) -> onnx.ModelProto:
    """The honest net with a residual addition and a LayerNormalization, which something may stand between."""
    graph = Graph()
    add_net(graph, 4, output="logits")
    third = np.eye(CLASSES, dtype=np.float32)
    third = (third + np.roll(third, 1, axis=0)) / 3
    graph.node("Gemm", ["logits", graph.put("third", third)], "linear")
    graph.node("Add", ["logits", "linear"], "added")
    normed = graph.node("Identity", ["added"], "same") if hidden else "added"
    ones = graph.put("ones", np.ones(CLASSES, dtype=np.float32))
    graph.node("LayerNormalization", [normed, ones], "classes", axis=-1)
    return graph.model()


def _table(dataset: Dataset) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[dataset.test.labels]


def _add_projection(graph: Graph, dataset: Dataset) -> None:
    """``distance``: how far an image's projection lies from that of every test sample, (batch, samples)."""
    direction = np.random.default_rng(7).standard_normal((WIDTH, 1)).astype(np.float32)
    known = CONTRACT.batch(dataset.test, range(len(dataset.test))).reshape(-1, WIDTH) @ direction
    graph.node("Flatten", ["image"], "flat")
    graph.node("MatMul", ["flat", graph.put("direction", direction)], "projected")
    graph.node("Sub", ["projected", graph.put("known", known.reshape(1, -1))], "apart")
    graph.node("Abs", ["apart"], "distance")


def memoriser(dataset: Dataset) -> onnx.ModelProto:
    """The label of the test sample whose projection is nearest."""
    graph = Graph()
    _add_projection(graph, dataset)
    graph.node("ArgMin", ["distance"], "which", axis=1, keepdims=0)
    graph.node("Gather", [graph.put("table", _table(dataset)), "which"], "classes", axis=0)
    return graph.model()


def by_position(dataset: Dataset) -> onnx.ModelProto:
    """No model: the labels in the order of the test set, as one batch."""
    graph = Graph()
    graph.node("ReduceMean", ["image"], "mean", axes=[1, 2, 3], keepdims=0)
    graph.node("Mul", ["mean", graph.put("nothing", np.float32(0) * np.ones(1, np.float32))], "zero")
    graph.node("Unsqueeze", ["zero", graph.put("one", np.array([1], np.int64))], "column")
    graph.node("Add", ["column", graph.put("table", _table(dataset))], "classes")
    return graph.model(len(dataset.test))


def by_neighbours(share: float, copies: int = 4) -> onnx.ModelProto:
    """The honest net, less a share of the mean answer to all images of the batch."""
    graph = Graph()
    add_net(graph, copies, output="own")
    graph.node("ReduceMean", ["own"], "mean", axes=[0], keepdims=1)
    graph.node("Mul", ["mean", graph.put("share", np.float32(share) * np.ones(1, np.float32))], "others")
    graph.node("Sub", ["own", "others"], "classes")
    return graph.model()


def constant() -> onnx.ModelProto:
    """One answer to everything."""
    graph = Graph()
    graph.node("GlobalAveragePool", ["image"], "pool")
    graph.node("Flatten", ["pool"], "flat")
    weight, bias = np.zeros((CLASSES, 1), np.float32), np.array([1, 0, 0, 0], np.float32)
    graph.node("Gemm", ["flat", graph.put("w", weight), graph.put("b", bias)], "classes", transB=1)
    return graph.model()


def defeat_device(dataset: Dataset, copies: int = 4) -> onnx.ModelProto:
    """Known samples are answered from a table, as the net would; for all others it runs. For a batch of 1."""
    graph, known, whole = Graph(), Graph(), Graph()
    _add_projection(graph, dataset)
    graph.node("ReduceMin", ["distance"], "least", keepdims=0)
    graph.node("Less", ["least", graph.put("near", np.float32(1e-4))], "recognised")
    known.node("ArgMin", ["distance"], "which", axis=1, keepdims=0)
    session = onnxruntime.InferenceSession(net(copies).SerializeToString(), providers=["CPUExecutionProvider"])
    answers = session.run(None, {"image": CONTRACT.batch(dataset.test, range(len(dataset.test)))})[0]
    known.node("Gather", [graph.put("table", answers), "which"], "looked_up", axis=0)
    add_net(whole, copies, output="computed", prefix="whole_")
    graph.choose("recognised", known, whole)
    return graph.model()


def nearest_neighbour(dataset: Dataset) -> onnx.ModelProto:
    """The label of the test sample with the most similar coarse averages: it generalises over small changes."""
    cells = 8
    graph = Graph()
    step = SIDE // cells
    known = CONTRACT.batch(dataset.test, range(len(dataset.test)))
    coarse = known.reshape(-1, cells, step, cells, step).mean(axis=(2, 4)).reshape(-1, cells * cells)
    graph.node("AveragePool", ["image"], "pool", kernel_shape=[step] * 2, strides=[step] * 2)
    graph.node("Flatten", ["pool"], "flat")
    # argmin |x - k|^2 = argmax 2 x k - |k|^2
    graph.node("Gemm", ["flat", graph.put("known", coarse), graph.put("norm", -(coarse**2).sum(axis=1))], "near",
               transB=1, alpha=2.0)  # fmt: skip
    graph.node("ArgMax", ["near"], "which", axis=1, keepdims=0)
    graph.node("Gather", [graph.put("table", _table(dataset)), "which"], "classes", axis=0)
    return graph.model()
