"""Target-specific steps besides types: whole gates, measured zero points, and a check that the file is faster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from certify.core.estimate import Estimate
from compress.core import timing
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined
from compress.core.targets import Target
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.whole_gates import join_hard_swishes
from compress.quantization.post_training.prepare import prepared
from compress.quantization.post_training.quantizer import Quantizer
from compress.quantization.post_training.zero_points import check_layer, move_zero_points, time_layer

FASTER = {"openvino": "openvino-bf16"}
"""Runtimes that compute floats in 16 bits if the processor supports it."""


def floats_for(target: Target, path: Path, folder: Path) -> Graph:
    """Return the prepared float model, with gates in the form that the target takes.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime cannot prepare it.
    """
    model = prepared(path, folder)
    if target.fuses_gates:
        join_hard_swishes(model)
    return Graph(model)


@dataclass(frozen=True)
class MovedZeroPoints:
    """A quantized model whose weights have the zero points that run fastest on its target.

    Attributes:
        model: the quantized model.
        notes: notes for the record; empty if the target does not use this.
        declined: layers that were faster but not trusted, or all of them if the model lost too much.
    """

    model: onnx.ModelProto
    notes: dict[str, Any] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()


def with_zero_points(target: Target, quantizer: Quantizer, candidate: onnx.ModelProto) -> MovedZeroPoints:
    """Move weight zero points if the target asks for it, unless the whole model then loses too much.

    Args:
        target: target of the quantized model.
        quantizer: quantizer that made it, and judges it.
        candidate: quantized model; not modified.

    Raises:
        ModelError: ONNX Runtime cannot run a layer.
        MeasureError: a process that timed one ended or did not answer.
    """
    if not target.moves_zero_points:
        return MovedZeroPoints(candidate)
    model = onnx.ModelProto()
    # The quantizer keeps its last result and must not see it changed.
    model.CopyFrom(candidate)
    shares, distrusted = move_zero_points(model, time_layer, check_layer)
    declined = tuple(Declined(name, reason) for name, reason in distrusted.items())
    if shares and quantizer.excess(model) > quantizer.limit:
        lost = Declined("weight zero points", "with them the model loses more than the budget allows")
        return MovedZeroPoints(candidate, {"zero_points": {}}, (*declined, lost))
    return MovedZeroPoints(model, {"zero_points": shares}, declined)


@dataclass(frozen=True)
class Speed:
    """Time of a quantized file in its target's runtime.

    Attributes:
        notes: notes for the record; empty if nothing had to be measured.
        slow: why the file is too slow; None if it is not, or if that is unknown.
    """

    notes: dict[str, Any]
    slow: str | None = None


def measured_speed(target: Target, most: float | None, original: Path, candidate: Path, context: PassContext) -> Speed:
    """Time a quantized file against the float one, if target or recipe ask for it and this machine can.

    Args:
        target: target whose runtime counts.
        most: largest share of the original's time; None for the target's.
        original: the float file.
        candidate: the quantized file.
        context: context with the samples and the contract.

    Raises:
        ModelError: the runtime cannot load a file.
        MeasureError: a process ended or did not answer.
    """
    most = target.max_time if most is None else most
    if most is None or not target.runtime:
        return Speed({})
    if (reason := timing.usable(target.runtime)) is not None:
        return Speed({"time_not_measured": reason})
    # Integers must beat the floats that would run instead, which are bfloat16 where the processor has it.
    faster = FASTER.get(target.runtime, target.runtime)
    runtime = faster if timing.usable(faster) is None else target.runtime
    share = timing.time_share(original, candidate, runtime, timing.Feeding.of(context.preprocess, context.samples(1)))
    notes = {"time_runtime": runtime, "time_share": share.to_json()}
    return Speed(notes, _slow(share, most, runtime))


def _slow(share: Estimate, most: float, runtime: str) -> str | None:
    """Return why a file is too slow, from its measured share of the float file's time."""
    if share.value <= most:
        return None
    return f"with integers it takes {share} of the float file's time in {runtime} here, but at most {most:g} is allowed"
