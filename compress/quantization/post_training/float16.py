"""Conversion of a float model to 16-bit floats."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.version_converter

from certify.core.errors import ModelError
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.onnx_session import failures, reason
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Feed, Graph, opset, probe, require_nodes, signal_to_noise_db, sort_nodes
from compress.quantization.post_training.calibration import Feeds, observe
from compress.quantization.post_training.prepare import prepared

LARGEST_HALF = 65504.0
"""Largest finite number of IEEE 754 binary16."""
BFLOAT16_OPSET = 22
"""First operator set in which convolutions and pools take bfloat16."""

Kind = Literal["fp16", "bf16"]


def to_float16(
    path: Path,
    context: PassContext,
    *,
    pass_name: str,
    kind: Kind,
    samples: int,
    batch: int,
    margin: float,
    keep_nodes: tuple[str, ...],
) -> tuple[Path, PassRecord]:
    """Write a file in 16-bit floats; return the given file, declined, if it cannot be converted or run.

    Args:
        path: path of an ONNX file.
        context: calibration samples, and the folder of the new file.
        pass_name: name of the pass, for errors.
        kind: 16-bit format.
        samples: calibration samples for the ranges of values.
        batch: samples per run.
        margin: safety factor on the largest value seen.
        keep_nodes: names of nodes that stay in 32 bits.

    Raises:
        UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
        ModelError: ONNX Runtime cannot prepare, convert or run the file, or a value is not finite.
    """
    folder = context.workspace or path.parent
    graph = Graph(prepared(path, folder))
    require_nodes(graph, keep_nodes)
    if not graph.weighted():
        return path, PassRecord.refused("it has no float layer with weights")
    feeds = Feeds(context, graph.model, samples, batch, pass_name)
    overflowing = _overflowing(graph, feeds, margin) if kind == "fp16" else {}
    kept = list(dict.fromkeys((*keep_nodes, *overflowing)))
    if len(kept) >= len(graph.nodes):
        return path, PassRecord.refused("every operator would overflow")
    halved = converted(graph.model, kind, kept)
    found = _compare(graph, halved, next(iter(feeds)), context.preprocess.output_name, kind)
    if isinstance(found, str):
        return path, PassRecord.refused(found)
    written = folder / f"{path.stem}.{kind}.onnx"
    onnx_file.save(halved, written)
    done = {
        "kind": kind,
        "calibration_samples": feeds.samples,
        "converted": len(graph.nodes) - len(kept),
        "kept_in_32_bits": len(kept),
        "signal_to_noise_db": found,
    }
    reasons = {name: f"its values reach {value:.3g}, beyond the range of fp16" for name, value in overflowing.items()}
    reasons |= dict.fromkeys(keep_nodes, "the recipe keeps it in 32 bits")
    return written, PassRecord(done, tuple(Declined(name, reasons[name]) for name in kept))


def _overflowing(graph: Graph, feeds: Iterable[Feed], margin: float) -> dict[str, float]:
    """Return the operators that read or return a value beyond the range of fp16, with the largest such value."""
    values = dict.fromkeys(name for node in graph.nodes for name in (*node.input, *node.output))
    seen = observe(graph, [name for name in values if graph.is_float(name)], feeds)
    largest = {name: margin * max(abs(each.low), abs(each.high)) for name, each in seen.items()}
    for name in values:
        constant = graph.constant(name)
        if constant is not None and constant.dtype == np.float32 and constant.size:
            # Without the margin: a constant is what it is, whatever the samples.
            largest[name] = float(np.abs(constant).max())
    found = {}
    for node in graph.nodes:
        most = max((largest.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        # Judged by operator and not by value: the converter keeps whole nodes in 32 bits.
        if most > LARGEST_HALF:
            found[node.name] = most
    return found


def _compare(graph: Graph, halved: onnx.ModelProto, feed: Mapping[str, Any], output: str, kind: Kind) -> float | str:
    """Return the signal-to-noise ratio of the converted model's output in dB, or why it cannot be used."""
    (wanted,) = probe(graph.model, [output], [feed])
    try:
        (found,) = probe(halved, [output], [feed])
    except ModelError as error:
        return f"the runtime on this machine does not run it in {kind} ({error})"
    if not np.isfinite(found[output]).all():
        return f"its output is not finite in {kind}"
    return signal_to_noise_db(wanted[output], found[output])


def converted(model: onnx.ModelProto, kind: Kind, kept: Sequence[str]) -> onnx.ModelProto:
    """Convert a model to 16-bit floats; its inputs and outputs, and the named nodes, stay in 32 bits.

    Args:
        model: float model; not modified.
        kind: 16-bit format.
        kept: names of nodes that stay in 32 bits.

    Raises:
        ModelError: ONNX Runtime's converter cannot handle the model.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        if kind == "bf16" and opset(model) < BFLOAT16_OPSET:
            model = onnx.version_converter.convert_version(model, BFLOAT16_OPSET)
        halved: onnx.ModelProto = convert_float_to_float16(
            # prepared() has inferred the shapes already.
            copy.deepcopy(model),
            keep_io_types=True,
            disable_shape_infer=True,
            node_block_list=list(kept),
        )
    except failures() as error:
        raise ModelError(f"ONNX Runtime could not convert the model to 16-bit floats ({reason(error)}).") from error
    # The converter's casts of one value share an output, which ONNX does not allow twice.
    _drop_doubled(halved)
    sort_nodes(halved.graph)
    if kind == "bf16":
        _as_bfloat16(halved, model)
    return halved


def _drop_doubled(model: onnx.ModelProto) -> None:
    """Keep one cast per value that stays in 32 bits, where the converter writes one before each reader."""
    written: set[str] = set()
    kept = []
    for node in model.graph.node:
        if not written.intersection(node.output):
            kept.append(node)
            written.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _as_bfloat16(halved: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Replace fp16 by bfloat16 in a converted model, with weights rounded from the original's."""
    half, wanted = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    tensors = list(halved.graph.initializer)
    for node in halved.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == half:
                attribute.i = wanted
            if attribute.HasField("t"):
                tensors.append(attribute.t)
    for tensor in tensors:
        if tensor.data_type == half:
            source = onnx.numpy_helper.to_array(weights.get(tensor.name, tensor)).astype(np.float32)
            raw = _upper_halves(source).tobytes()
            tensor.CopyFrom(onnx.TensorProto(name=tensor.name, dims=source.shape, data_type=wanted, raw_data=raw))
    for value in (*halved.graph.input, *halved.graph.value_info, *halved.graph.output):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = wanted


def _upper_halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Return the upper 16 bits of 32-bit floats, rounded to nearest even."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    # Adding just under half, and one more if the kept bit is odd, rounds ties to even.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
