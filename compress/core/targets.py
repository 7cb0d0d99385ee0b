"""What a processor's integer instructions ask of a quantized model, and which kind of processor this is.

``vpmaddubsw`` (AVX2 without VNNI) adds two products of an unsigned and a signed byte into 16 bits and saturates:
255 * 127 * 2 = 64,770 does not fit into 32,767. With weights held to 7 bits (-64 to 64) it does. ``vpdpbusd``
(VNNI) and ``sdot`` (Arm) add into 32 bits, so there the full range is safe. See
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (section "When and why do I need to
try U8U8").
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from certify.core.suggest import unknown_name

CPUINFO = Path("/proc/cpuinfo")
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "avxvnni"})
ARM_MACHINES = frozenset({"aarch64", "arm64", "armv8l"})

IntegerType = Literal["uint8", "int8"]
TargetName = Literal["cpu-vnni", "cpu-amx", "cpu-avx2", "cpu-arm", "cuda-tensorrt", "openvino"]

CPU_OPERATORS = frozenset(
    {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "LeakyRelu",
        "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""Operators that ONNX Runtime's CPU kernels compute on integers or hand integers through.

Softmax, normalisations and transposed convolutions are left out: the first two lose accuracy for no time, and the
last has no integer kernel.
"""
TENSORRT_OPERATORS = frozenset(
    {"Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool"}
)
"""Layers that TensorRT runs in int8 where their inputs come through Q/DQ (developer guide, section "Working with
Quantized Types": https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html)."""


@dataclass(frozen=True)
class Target:
    """Kind of processor or runtime that the model is made for.

    Attributes:
        name: as a pass's ``target`` names it.
        activation_type: integer type of activations.
        weight_type: integer type of weights.
        reduce_range: weights are held to 7 bits, so that 16-bit sums of products do not saturate.
        channel_multiple: channels that the runtime's kernels take at a time.
        reason: why these types, in one sentence.
        symmetric: the zero of activations is the middle of their range.
        saturates: pairs of products are added in 16 bits and clipped.
        quantize_outputs: what a quantized operator gives is rounded too, not only what it takes.
        quantize_bias: biases are 32-bit integers in the file.
        operators: types of operators that the runtime has integer kernels for, or passes integers through.
        runtime: adapter of the referee's that runs such files, where a pass measures them; empty for none.
        depthwise_multiple: channels that depthwise kernels take at a time; 1 where any number will do.
        max_time: share of the float file's time above which a quantized file is declined, measured where the runtime is
            installed; None for no measurement.
        moves_zero_points: convolutions get a weight zero point of 1 where this machine runs them faster so.
        fuses_gates: HardSwish and HardSigmoid run inside of the convolution before them and are left to it whole.
    """

    name: TargetName
    activation_type: IntegerType
    weight_type: IntegerType
    reduce_range: bool
    channel_multiple: int
    reason: str
    symmetric: bool = False
    saturates: bool = False
    quantize_outputs: bool = True
    quantize_bias: bool = True
    operators: frozenset[str] = CPU_OPERATORS
    runtime: str = "onnxruntime-cpu"
    depthwise_multiple: int = 1
    max_time: float | None = None
    moves_zero_points: bool = False
    fuses_gates: bool = False


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "cpu-vnni", "uint8", "int8", False, 16, "VNNI adds products of bytes into 32 bits",
                depthwise_multiple=16,
            ),
            Target(
                "cpu-amx", "uint8", "int8", False, 16,
                "AMX multiplies matrices of bytes, which ONNX Runtime asks of it for weights that have a zero point",
                moves_zero_points=True, depthwise_multiple=16,
            ),
            Target(
                "cpu-avx2", "uint8", "int8", True, 8, "AVX2 without VNNI saturates at 16 bits, so weights have 7",
                saturates=True, depthwise_multiple=16,
            ),
            Target("cpu-arm", "int8", "int8", False, 8, "Arm's dot product takes signed bytes and adds into 32 bits"),
            Target(
                "cuda-tensorrt", "int8", "int8", False, 32,
                "TensorRT multiplies signed bytes without zero points and rounds what layers take, not what they give",
                symmetric=True, quantize_outputs=False, quantize_bias=False, operators=TENSORRT_OPERATORS, runtime="",
            ),
            Target(
                "openvino", "uint8", "int8", False, 16, "OpenVINO fuses unsigned activations and signed weights",
                operators=CPU_OPERATORS | {"ConvTranspose"}, runtime="openvino", max_time=1.0, fuses_gates=True,
            ),
        )
    }
)  # fmt: skip


def detect(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Target:
    """The target that this machine is.

    Args:
        cpuinfo: where Linux lists the processor's flags.
        machine: architecture name; that of this machine by default.

    Returns:
        ``cpu-avx2`` where the flags can't be read: its models are right on every x86 processor.
    """
    if (machine or platform.machine()).lower() in ARM_MACHINES:
        return TARGETS["cpu-arm"]
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return TARGETS["cpu-avx2"]
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return TARGETS["cpu-vnni" if VNNI_FLAGS & set(flags) else "cpu-avx2"]


def choose(name: str | None = None) -> Target:
    """The target of that name; with none, the one that this machine is.

    Raises:
        UsageError: there is no target of that name.
    """
    if name is None:
        return detect()
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[name]
