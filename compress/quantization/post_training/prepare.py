"""Bringing an ONNX file into the form that quantization starts from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnx.version_converter

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.onnx_graph.graph import failures, opset
from compress.onnx_graph.spatial_means import means_as_pools

OPSET = 13
"""From here on DequantizeLinear takes a scale for each channel."""


def prepared(source: Path, folder: Path) -> onnx.ModelProto:
    """Fold batch norms and constants, infer shapes, and write spatial means as pools.

    Args:
        source: the ONNX file, left as it is.
        folder: where temporary files may lie.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime can't prepare it.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # a damaged file, or one with weights outside of its folder, is refused here, with a clear sentence
    large = onnx_file.weight_bytes(load_model(source)) > onnx_file.INLINE_BYTES
    with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize.") as scratch:
        written = Path(scratch) / "prepared.onnx"
        try:
            quant_pre_process(
                str(source),
                str(written),
                skip_symbolic_shape=True,
                save_as_external_data=large,
                all_tensors_to_one_file=True,
                external_data_location=f"{written.name}{onnx_file.SUFFIX}",
            )
        except failures() as error:
            raise ModelError(f"ONNX Runtime could not prepare {source.name} for quantization: {error}") from error
        model = onnx.load(written)
    older = opset(model) < OPSET
    if older and large:
        raise ModelError(
            f"{source.name} has operator set {opset(model)} and more than {onnx_file.INLINE_BYTES:,} bytes of weights, "
            f"with which it can't be converted; export it with operator set {OPSET} or later."
        )
    if older:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except failures() as error:
            raise ModelError(f"{source.name} could not be brought to operator set {OPSET}: {error}") from error
    _name_all(model.graph)
    if means_as_pools(model) or older:
        onnx_file.infer_shapes(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.value_info if value.name not in constants]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)  # without constants, whose shapes may change
    return model


def _name_all(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, by which layers are told apart; names are optional in ONNX."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for position, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}.{position}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)
