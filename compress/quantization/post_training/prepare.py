"""Preparation of an ONNX file for quantization."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.onnx_session import PROVIDERS, failures, reason
from compress.onnx_graph.graph import attributes, opset
from compress.onnx_graph.spatial_means import means_as_pools

OPSETS = (13, 26)
"""DequantizeLinear takes a scale per channel from the first on; ONNX Runtime 1.32 has no kernels for QuantizeLinear
beyond the second."""
RESIZED_ALIKE = 10
"""Last operator set in which Upsample and Resize have one coordinate rule; onnx cannot convert them to a later one."""
KEPT_ASIDE = "leanmark.resize"
ERRORS_ONLY = 3
"""Severity from which ONNX Runtime writes to the terminal."""


def prepared(source: Path, folder: Path) -> onnx.ModelProto:
    """Fold batch norms and constants, infer shapes, and write spatial means as pools.

    ONNX Runtime's own ``quant_pre_process`` also reads and writes the weights for each of its steps.

    Args:
        source: the ONNX file; not modified.
        folder: folder for temporary files.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime cannot prepare it.
    """
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    loaded = load_model(source)  # rejects a damaged file, or one with weights outside of its folder
    # Protobuf cannot serialise more than 2 GB, so large weights must be in a file of their own.
    large = onnx_file.weight_bytes(loaded) > onnx_file.INLINE_BYTES
    with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize.") as scratch:
        written, convertible = Path(scratch) / "prepared.onnx", source
        if not OPSETS[0] <= opset(loaded) <= OPSETS[1]:
            convertible = Path(scratch) / "converted.onnx"
            onnx_file.save(_converted(loaded, source.name, large=large), convertible)
        del loaded
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.optimized_model_filepath = str(written)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        if large:
            beside = f"{written.name}{onnx_file.SUFFIX}"
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", beside)
        try:
            onnxruntime.InferenceSession(str(convertible), options, providers=list(PROVIDERS))
        except failures() as error:
            raise ModelError(f"ONNX Runtime could not prepare {source.name} ({reason(error)}).") from error
        model = onnx.load(written)
    add_pre_process_metadata(model)
    onnx_file.infer_shapes(model)
    _name_all(model.graph)
    # Shapes again, since the new operators have none and the quantizer skips values without a type.
    if means_as_pools(model):
        onnx_file.infer_shapes(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.value_info if value.name not in constants]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)  # without constants, whose shapes may change
    return model


def _converted(model: onnx.ModelProto, name: str, *, large: bool) -> onnx.ModelProto:
    """Convert a model to the nearest operator set that the passes support; the given one is modified."""
    version, wanted = opset(model), min(max(opset(model), OPSETS[0]), OPSETS[1])
    advice = f"{name} has operator set {version}; export it with one from {OPSETS[0]} to {OPSETS[1]}"
    if large:
        raise ModelError(f"{advice}, as more than {onnx_file.INLINE_BYTES:,} bytes of weights cannot be converted.")
    resizing = [n for n in model.graph.node if version <= RESIZED_ALIKE and n.op_type in ("Resize", "Upsample")]
    for node in resizing:
        # The converter refuses these operators in its own domain, but accepts them in other domains.
        node.domain = KEPT_ASIDE
    model.opset_import.add(domain=KEPT_ASIDE, version=1)
    try:
        converted = onnx.version_converter.convert_version(model, wanted)
    except failures() as error:
        raise ModelError(f"{advice}, as it cannot be converted to {wanted} ({reason(error)}).") from error
    for node in converted.graph.node:
        if node.domain == KEPT_ASIDE:
            _write_resize(converted.graph, node)
    kept = [entry for entry in converted.opset_import if entry.domain != KEPT_ASIDE]
    del converted.opset_import[:]
    converted.opset_import.extend(kept)
    return converted


def _write_resize(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Write an Upsample, or a Resize of operator set 10, as an equivalent later Resize, in place."""
    settings = attributes(node)
    scales = node.input[1] if len(node.input) > 1 else f"{node.output[0]}.scales"
    if "scales" in settings:  # up to operator set 8
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(settings["scales"], dtype=np.float32), scales))
    # What Upsample and Resize 10 did: output place i reads floor(i / scale).
    rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    resize = onnx.helper.make_node(
        "Resize", [node.input[0], "", scales], node.output, node.name, mode=settings.get("mode", b"nearest"), **rule
    )
    node.CopyFrom(resize)


def _name_all(graph: onnx.GraphProto) -> None:
    """Give every node a unique name, since names are optional in ONNX but identify layers here."""
    names = {node.name for node in graph.node}
    seen: set[str] = set()
    for position, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}.{position}"
            while name in names:
                name += "_"
            node.name = name
            names.add(name)
        seen.add(node.name)
