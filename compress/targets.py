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

from certify.suggest import unknown_name

CPUINFO = Path("/proc/cpuinfo")
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "avxvnni"})
ARM_MACHINES = frozenset({"aarch64", "arm64", "armv8l"})

IntegerType = Literal["uint8", "int8"]


@dataclass(frozen=True)
class Target:
    """Kind of processor that the model is made for.

    Attributes:
        name: as a pass's ``target`` names it.
        activation_type: integer type of activations.
        weight_type: integer type of weights.
        reduce_range: weights are held to 7 bits, so that 16-bit sums of products do not saturate.
        channel_multiple: channels that the runtime's kernels take at a time.
        reason: why these types, in one sentence.
    """

    name: str
    activation_type: IntegerType
    weight_type: IntegerType
    reduce_range: bool
    channel_multiple: int
    reason: str


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("cpu-vnni", "uint8", "int8", False, 16, "VNNI adds products of bytes into 32 bits"),
            Target("cpu-avx2", "uint8", "int8", True, 8, "AVX2 without VNNI saturates at 16 bits, so weights have 7"),
            Target("cpu-arm", "int8", "int8", False, 8, "Arm's dot product takes signed bytes and adds into 32 bits"),
        )
    }
)


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
