"""The yardstick: a fixed FP32 ResNet-50 that makes figures comparable between machines.

ResNet-50 ("Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385) with the stride in the 3 x 3
convolutions, 224 x 224, batch 1, 1,000 outputs, 4.09 G multiply-adds. Its weights are drawn from a fixed seed with
BatchNorm already folded; it does not classify anything. The file is built with NumPy alone and cached in the user's
cache folder; its measurements are never cached.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from certify.core.errors import MeasureError
from certify.core.files import sha256_file, write_bytes
from certify.core.folders import cache_folder

SHA256 = "7aa192c09044d7daa5675f403b7b662aca38258fcfbae9ada186145fd9d19fb5"
"""Digest of the file; a different file would be a different yardstick."""
INPUT_NAME = "input"
OUTPUT_NAME = "output"
SIDE = 224
CLASSES = 1000
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, number of blocks, and stride of the first block of the four stages."""
EXPANSION = 4
SEED = 20260101
BRANCH_GAIN = 0.5
"""Scale of a block's last convolution, which keeps the activations' magnitude constant through 16 additions."""
IMAGES = 4


def yardstick_file() -> Path:
    """Return the path of the yardstick in the cache folder; build it if it is missing or damaged.

    Raises:
        MeasureError: the installed libraries build other bytes, so figures would not be comparable.
    """
    path = cache_folder() / "yardstick-resnet50.onnx"
    if path.is_file() and sha256_file(path) == SHA256:
        return path
    content = build()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise MeasureError(
            f"The yardstick built here has the digest {found[:12]} instead of {SHA256[:12]}; the installed onnx "
            f"({onnx.__version__}) or numpy ({np.__version__}) writes it differently. Measure without a yardstick."
        )
    try:
        write_bytes(path, content)
    except OSError as error:
        raise MeasureError(
            f"The yardstick cannot be written to {path.parent} ({error.strerror}); make room there, or set "
            "LEANMARK_CACHE_HOME to a writable folder."
        ) from error
    return path


def build() -> bytes:
    """Return the bytes of the ONNX file, which depend only on the onnx file format."""
    net = _Net()
    value = net.conv(INPUT_NAME, 3, 64, kernel=7, stride=2)
    value = net.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for width, blocks, stride in STAGES:
        for block in range(blocks):
            value = net.bottleneck(value, channels, width, stride if block == 0 else 1)
            channels = width * EXPANSION
    value = net.node("GlobalAveragePool", [value])
    value = net.node("Flatten", [value], axis=1)
    weight, bias = net.weight("fc.weight", (CLASSES, channels), channels), net.zeros("fc.bias", CLASSES)
    net.nodes.append(helper.make_node("Gemm", [value, weight, bias], [OUTPUT_NAME], name="fc", transB=1))
    graph = helper.make_graph(
        net.nodes,
        "yardstick",
        [helper.make_tensor_value_info(INPUT_NAME, onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT_NAME, onnx.TensorProto.FLOAT, [1, CLASSES])],
        net.weights,
    )
    # Versions are pinned, so that the bytes do not depend on the installed onnx.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


class _Net:
    """Nodes and weights of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        # NumPy's policy freezes RandomState's stream, and uniform numbers need no math function that differs between
        # machines.
        self._random = np.random.RandomState(SEED)

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, shape: tuple[int, ...], fan_in: int, gain: float = 1.0) -> str:
        """Return uniform weights of variance 2 / fan_in (arXiv 1502.01852), times ``gain``."""
        limit = gain * math.sqrt(6 / fan_in)
        values = ((self._random.random_sample(shape) * 2 - 1) * limit).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def zeros(self, name: str, size: int) -> str:
        self.weights.append(numpy_helper.from_array(np.zeros(size, dtype=np.float32), name))
        return name

    def conv(
        self, value: str, inputs: int, outputs: int, kernel: int, stride: int = 1, gain: float = 1.0, relu: bool = True
    ) -> str:
        name = f"conv{len(self.nodes)}"
        weight = self.weight(f"{name}.weight", (outputs, inputs, kernel, kernel), inputs * kernel * kernel, gain)
        bias = self.zeros(f"{name}.bias", outputs)
        convolved = self.node("Conv", [value, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[kernel // 2] * 4)  # fmt: skip
        return self.node("Relu", [convolved]) if relu else convolved

    def bottleneck(self, value: str, channels: int, width: int, stride: int) -> str:
        outputs = width * EXPANSION
        inner = self.conv(value, channels, width, kernel=1)
        inner = self.conv(inner, width, width, kernel=3, stride=stride)
        inner = self.conv(inner, width, outputs, kernel=1, gain=BRANCH_GAIN, relu=False)
        if stride != 1 or channels != outputs:
            value = self.conv(value, channels, outputs, kernel=1, stride=stride, gain=math.sqrt(0.5), relu=False)
        return self.node("Relu", [self.node("Add", [inner, value])])


def images() -> npt.NDArray[np.float32]:
    """Return the yardstick's inputs, float32 (4, 3, 224, 224).

    They are 1/f noise, as in natural images (Field 1987), with mean 0 and standard deviation 1 per channel, whatever
    data the models are measured on.
    """
    random = np.random.RandomState(SEED)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :])
    # Avoids a division by 0; this term is removed below.
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(random.random_sample((IMAGES, 3, SIDE, SIDE)) - 0.5) / frequency
    spectrum[..., 0, 0] = 0.0
    values = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    values /= values.std(axis=(-2, -1), keepdims=True)
    return values.astype(np.float32)
