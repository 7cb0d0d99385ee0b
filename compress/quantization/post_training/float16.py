"""Converting a float model to 16-bit floats."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.version_converter

from certify.errors import ModelError
from compress.onnx_graph.graph import failures, opset

BFLOAT16_OPSET = 22
"""From here on convolutions and pools take bfloat16."""

Kind = Literal["fp16", "bf16"]


def converted(model: onnx.ModelProto, kind: Kind, kept: Sequence[str]) -> onnx.ModelProto:
    """The model in 16-bit floats; its inputs and outputs, and the nodes named, stay in 32 bits.

    Args:
        model: float, left as it is.
        kind: which 16 bits.
        kept: names of nodes.

    Raises:
        ModelError: ONNX Runtime's converter can't work with the model.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        if kind == "bf16" and opset(model) < BFLOAT16_OPSET:
            model = onnx.version_converter.convert_version(model, BFLOAT16_OPSET)
        made: onnx.ModelProto = convert_float_to_float16(
            copy.deepcopy(model), keep_io_types=True, disable_shape_infer=True, node_block_list=list(kept)
        )
    except failures() as error:
        raise ModelError(f"ONNX Runtime could not convert the model to 16-bit floats: {error}") from error
    _drop_doubled(made)
    ONNXModel(made).topological_sort()
    if kind == "bf16":
        _as_bfloat16(made, model)
    return made


def _drop_doubled(model: onnx.ModelProto) -> None:
    """The converter writes a cast before each reader of a value that stays in 32 bits; one for all of them is left."""
    given: set[str] = set()
    kept = []
    for node in model.graph.node:
        if not given.intersection(node.output):
            kept.append(node)
            given.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _as_bfloat16(made: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Write bfloat16 wherever the converter wrote fp16, with weights rounded from the original's."""
    half, wanted = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    tensors = list(made.graph.initializer)
    for node in made.graph.node:
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
    for value in (*made.graph.input, *made.graph.value_info, *made.graph.output):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = wanted


def _upper_halves(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Upper 16 bits of 32-bit floats, rounded to the nearest even ones."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
