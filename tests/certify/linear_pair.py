"""A linear classifier of small images, whose witnesses are known by arithmetic, and a second one that is like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from certify.data import Dataset, ImagePreprocess, array_split
from certify.data.contract_slot import normalise
from certify.data.witnesses import FORMAT, Witness, WitnessFile, WitnessHeader, pack_signs, sample_id
from certify.model_file.subject import subject_digests
from certify.workflows.witness_check import Base

SIDE, CLASSES, SAMPLES = 8, 3, 60
VALUES = SIDE * SIDE * 3


def contract() -> ImagePreprocess:
    """Pixels over 255, as they are."""
    return ImagePreprocess(
        input_name="input", output_name="output", height=SIDE, width=SIDE, layout="NHWC", colour="RGB", scale=255.0,
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=None, crop="none", interpolation="bilinear",
        reading="logits",
    )  # fmt: skip


@dataclass(frozen=True)
class Linear:
    """Weights (values, classes), in the order in which images are flattened."""

    weights: npt.NDArray[np.float32]

    def write(self, path: Path) -> Path:
        """As a file in the normal form."""
        nodes = [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["output"]),
        ]
        shape = ["n", SIDE, SIDE, 3]
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", CLASSES])],
            [numpy_helper.from_array(self.weights, "weights")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = path.with_name("source.onnx")
        onnx.save(model, source)
        normalise(source, path, contract())
        source.unlink()
        return path

    def outputs(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Outputs (n, classes)."""
        return images.reshape(len(images), -1) / 255 @ self.weights

    def signs(self, image: npt.NDArray[np.uint8], label: int) -> npt.NDArray[np.int8]:
        """The strongest change of an image: against its class, towards the nearest other one."""
        outputs = self.outputs(image[None])[0].copy()
        outputs[label] = -np.inf
        towards = self.weights[:, int(outputs.argmax())] - self.weights[:, label]
        return np.where(towards >= 0, 1, -1).astype(np.int8).reshape(image.shape)


def pair(seed: int = 0, apart: float = 0.8) -> tuple[Linear, Linear, Dataset]:
    """Two classifiers, and samples that the first gets right."""
    rng = np.random.default_rng(seed)
    first, noise = (rng.normal(0, 1, (VALUES, CLASSES)) for _ in range(2))
    first, second = (one - one.mean(0) for one in (first, first + apart * noise))  # brightness tells no class
    first, second = first.astype(np.float32), second.astype(np.float32)
    images = rng.integers(110, 146, (SAMPLES, SIDE, SIDE, 3), dtype=np.uint8)
    labels = Linear(first).outputs(images).argmax(1)
    test = array_split(images, labels, "linear")
    dataset = Dataset("linear", "linear", tuple("abc"), None, None, None, test, input_size=(SIDE, SIDE))
    return Linear(first), Linear(second), dataset


def witnesses(model: Linear, file: Path, dataset: Dataset, eps: tuple[int, ...] = (1, 2, 8)) -> WitnessFile:
    """The witnesses of a classifier, each at the least change that turns it."""
    base, found = Base.of(dataset), []
    for place in base.order:
        image, label = dataset.test.image(place), int(dataset.test.labels[place])
        signs = model.signs(image, label)
        for size in eps:
            made = np.clip(image.astype(int) + size * signs, 0, 255).astype(np.uint8)
            if model.outputs(made[None])[0].argmax() != label:
                found.append(Witness(sample_id(dataset.test.digest(place)), label, size, pack_signs(signs)))
                break
    digest = subject_digests(file)["leanmarkContent"]
    header = WitnessHeader(FORMAT, digest, base.test_digest, len(base.order), "other", "f" * 64, False, eps)
    return WitnessFile(header, tuple(found))
