"""Positions of weights in multiplying operators: float and quantized, standard and ONNX Runtime's own."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
CONTRIB_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Compute:
    """Description of a multiplying operator.

    Attributes:
        kind: ``conv``, ``conv_transpose``, ``gemm``, ``matmul``, or ``blocks`` (weights packed into bytes).
        data: index of the input with activations.
        weight: index of the input with weights (or a second activation).
        quantized: whether it multiplies integers.
        like: standard operator with the same shapes, for shape inference.
        parameters: indices of scales and zero points.
        weight_scale: index of the weight's scale; None if it is not an input of this operator.
        weight_zero: index of the weight's zero point; None if it is not an input of this operator.
    """

    kind: str
    data: int
    weight: int
    quantized: bool
    like: str
    parameters: tuple[int, ...] = ()
    weight_scale: int | None = None
    weight_zero: int | None = None


COMPUTE: dict[str, Compute] = {
    "Conv": Compute("conv", 0, 1, False, "Conv"),
    "FusedConv": Compute("conv", 0, 1, False, "Conv"),
    "ConvTranspose": Compute("conv_transpose", 0, 1, False, "ConvTranspose"),
    "Gemm": Compute("gemm", 0, 1, False, "Gemm"),
    "FusedGemm": Compute("gemm", 0, 1, False, "Gemm"),
    "MatMul": Compute("matmul", 0, 1, False, "MatMul"),
    "FusedMatMul": Compute("matmul", 0, 1, False, "MatMul"),
    "QLinearConv": Compute("conv", 0, 3, True, "Conv", (1, 2, 4, 5, 6, 7), 4, 5),
    "ConvInteger": Compute("conv", 0, 1, True, "Conv", (2, 3), None, 3),
    "QLinearMatMul": Compute("matmul", 0, 3, True, "MatMul", (1, 2, 4, 5, 6, 7), 4, 5),
    "MatMulInteger": Compute("matmul", 0, 1, True, "MatMul", (2, 3), None, 3),
    "QGemm": Compute("gemm", 0, 3, True, "Gemm", (1, 2, 4, 5, 7, 8), 4, 5),
    "DynamicQuantizeMatMul": Compute("matmul", 0, 1, True, "MatMul", (2, 3), 2, 3),
    "MatMulIntegerToFloat": Compute("matmul", 0, 1, True, "MatMul", (2, 3, 4, 5), 3, 5),
    "MatMulNBits": Compute("blocks", 0, 1, True, "MatMul", (2, 3)),
}
"""Operators whose multiply-adds are counted."""

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
"""Operators whose last step needs all steps before it. They multiply all of their weights in every step."""

UNCOUNTED = frozenset(
    {
        "Attention", "BiasAttention", "DeformConv", "DynamicQuantizeLSTM", "Einsum", "GroupQueryAttention",
        "MultiHeadAttention", "PackedAttention", "QAttention",
    }
)  # fmt: skip
"""Other multiplying operators, which are listed as not counted."""

SHAPE_TWINS: dict[str, tuple[str, tuple[int, ...]]] = {
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
    "QLinearSoftmax": ("Identity", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QuickGelu": ("Identity", (0,)),
    "Gelu": ("Identity", (0,)),
    "BiasGelu": ("Add", (0, 1)),
    "FastGelu": ("Identity", (0,)),
    "GatherBlockQuantized": ("Gather", (0, 1)),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
}
"""ONNX Runtime's operators without shape inference in onnx, with a standard one of the same output shape."""

QUANTIZATION_PARAMETERS: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeLinear": (),
    "GatherBlockQuantized": (2, 3),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearLeakyRelu": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4),
    "QLinearAveragePool": (1, 2, 3, 4),
    "QLinearGlobalAveragePool": (1, 2, 3, 4),
    **{name: compute.parameters for name, compute in COMPUTE.items() if compute.parameters},
}
"""Indices of scales and zero points, which are not weights."""


def compute_of(node: onnx.NodeProto) -> Compute | None:
    """Return the description of a multiplying node; None if it does not multiply or cannot be counted."""
    known = COMPUTE.get(node.op_type)
    if known is None or node.domain not in STANDARD_DOMAINS | {CONTRIB_DOMAIN}:
        return None
    return known


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def attribute_list(node: onnx.NodeProto, name: str) -> list[int]:
    """Return an attribute of several integers; empty if absent."""
    return next((list(each.ints) for each in node.attribute if each.name == name), [])
