"""Requirements of a processor's integer instructions on a quantized model, and detection of the processor.

``vpmaddubsw`` (AVX2 without VNNI) adds two products of an unsigned and a signed byte in 16 bits and saturates:
255 * 127 * 2 = 64,770 does not fit into 32,767. With 7-bit weights (-64 to 64) it does. ``vpdpbusd`` (VNNI) and
``sdot`` (Arm) accumulate in 32 bits, so there the full range is safe. See
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (section "When and why do I need to
try U8U8") and https://docs.openvino.ai/latest/pot_saturation_issue.html.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator

from certify.core.suggest import unknown_name

CPUINFO = Path("/proc/cpuinfo")
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "avxvnni"})
ARM_MACHINES = frozenset({"aarch64", "arm64", "armv8l"})

IntegerType = Literal["uint8", "int8"]
TargetName = Literal[
    "cpu-vnni", "cpu-amx", "cpu-avx2", "cpu-arm", "cuda-tensorrt", "openvino", "openvino-vnni", "openvino-avx2"
]

CPU_OPERATORS = frozenset(
    {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "LeakyRelu",
        "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""Operators that ONNX Runtime's CPU kernels compute on integers, or through which integers pass unchanged.

Softmax, normalisations and transposed convolutions are excluded: the first two lose accuracy without saving time, and
the last has no integer kernel.
"""
TENSORRT_OPERATORS = frozenset(
    {"Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool"}
)
"""Layers that TensorRT runs in int8 if their inputs come through Q/DQ (developer guide, section "Working with
Quantized Types": https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html)."""


@dataclass(frozen=True)
class Target:
    """Kind of processor or runtime that the model is optimised for.

    Attributes:
        name: name in a pass's ``target`` parameter.
        activation_type: integer type of activations.
        weight_type: integer type of weights.
        reduce_range: weights use only 7 bits, so that 16-bit sums of products do not saturate.
        channel_multiple: channels that the runtime's kernels process at a time.
        reason: reason for these types, in one sentence.
        symmetric: the zero point of activations is the middle of their range.
        saturates: pairs of products are added in 16 bits and saturate.
        quantize_outputs: outputs of quantized operators are rounded too, not only their inputs.
        quantize_bias: biases are 32-bit integers in the file.
        operators: types of operators for which the runtime has integer kernels, or through which integers pass.
        runtime: the referee's adapter that runs such files, for passes that measure them; empty for none.
        depthwise_multiple: channels that depthwise kernels process at a time; 1 for any number.
        max_time: maximum time as a share of the float file's, above which a quantized file is declined, measured if the
            runtime is installed; None for no measurement.
        moves_zero_points: convolutions get a weight zero point of 1 where this machine runs them faster that way.
        fuses_gates: HardSwish and HardSigmoid run inside the preceding convolution and are left whole for it.
        quantize_scores: attention runs as one operator, and faster with integer queries and keys.
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
    quantize_scores: bool = False


OPENVINO = Target(
    "openvino", "uint8", "int8", False, 16, "OpenVINO fuses unsigned activations and signed weights",
    operators=CPU_OPERATORS | {"ConvTranspose"}, runtime="openvino", max_time=1.0, fuses_gates=True,
    quantize_scores=True,
)  # fmt: skip
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "cpu-vnni", "uint8", "int8", False, 16, "VNNI accumulates products of bytes in 32 bits",
                depthwise_multiple=16,
            ),
            Target(
                "cpu-amx", "uint8", "int8", False, 16,
                "AMX multiplies byte matrices, which ONNX Runtime uses for weights that have a zero point",
                moves_zero_points=True, depthwise_multiple=16,
            ),
            Target(
                "cpu-avx2", "uint8", "int8", True, 8, "AVX2 without VNNI saturates at 16 bits, so weights have 7",
                saturates=True, depthwise_multiple=16,
            ),
            Target("cpu-arm", "int8", "int8", False, 8, "Arm's dot product takes signed bytes and adds in 32 bits"),
            Target(
                "cuda-tensorrt", "int8", "int8", False, 32,
                "TensorRT multiplies signed bytes without zero points and rounds the inputs of layers, not outputs",
                symmetric=True, quantize_outputs=False, quantize_bias=False, operators=TENSORRT_OPERATORS, runtime="",
            ),
            OPENVINO,
            replace(OPENVINO, name="openvino-vnni"),
            replace(
                OPENVINO, name="openvino-avx2", reduce_range=True, saturates=True, quantize_scores=False,
                reason="OpenVINO saturates at 16 bits on AVX2 without VNNI, so weights have 7",
            ),
        )
    }
)  # fmt: skip


OPENVINO_HERE = {"cpu-vnni": "openvino-vnni", "cpu-avx2": "openvino-avx2"}
"""Targets that ``openvino`` stands for, by this machine's."""


def detect(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Target:
    """Detect the target of this machine.

    Args:
        cpuinfo: file in which Linux lists the processor's flags.
        machine: architecture name; that of this machine by default.

    Returns:
        The target; ``cpu-avx2`` if the flags cannot be read, since its models are correct on every x86 processor.
    """
    if (machine or platform.machine()).lower() in ARM_MACHINES:
        return TARGETS["cpu-arm"]
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return TARGETS["cpu-avx2"]
    # Only the first processor is read, because a job cannot choose which of unequal cores it runs on.
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return TARGETS["cpu-vnni" if VNNI_FLAGS & set(flags) else "cpu-avx2"]


def choose(name: str | None = None) -> Target:
    """Return the target of that name, or the one of this machine.

    ``openvino`` is OpenVINO on a processor like this machine's: ``openvino-vnni`` or ``openvino-avx2`` on x86.

    Raises:
        UsageError: there is no target of that name.

    Example:
        >>> choose("cpu-arm").activation_type
        'int8'
    """
    if name is None:
        return detect()
    if name not in TARGETS:
        raise unknown_name("target", name, TARGETS)
    return TARGETS[OPENVINO_HERE.get(detect().name, name) if name == OPENVINO.name else name]


ChosenTarget = Annotated[TargetName, AfterValidator(lambda name: choose(name).name)]
"""A pass's parameter: ``openvino`` becomes what it stands for, so that records mean the same on every machine."""
