"""The form in which a model will ship, and files of its blocks in that form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.core.evidence import DEFAULT_RUNTIME
from certify.data import Preprocess
from compress.core import onnx_file
from compress.core.pass_protocol import Pass
from compress.core.targets import Target
from compress.costs.items import FLOATS, INT4, Variant
from compress.exchange.exporter_output import quiet, reason
from compress.exchange.onnx_export import EXPORT_FAILURES, OPSET, write_once
from compress.exchange.operator_table import kept_operators
from compress.onnx_graph.graph import Feed, Graph
from compress.onnx_graph.scopes import nodes_inside
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.calibration import ranges
from compress.quantization.post_training.prepare import prepared
from compress.quantization.post_training.qdq import Operators, is_transformer, observed_names, plan, quantized
from compress.quantization.post_training.weight_only import with_int4_weights

Precision = Literal["float", "int8"]
INPUT, OUTPUT = "input", "output"
PERCENTILE = 99.99
EXAMPLE_BATCH = 2
"""Not 1: the tracer treats a dimension of 1 as a constant."""
KEEPS_FORMATS = "quantize_static"
"""Pass that keeps an earlier pass's choice of float blocks, unless it chooses formats itself."""
STATIC = ("quantize_static", "qat")
"""Passes after which the file has integer activations."""


@dataclass(frozen=True)
class Shipping:
    """The form in which a model will run.

    Attributes:
        precision: ``float``, or ``int8`` for 8-bit weights and activations.
        target: target whose integer types and kernels count.
        operators: operators to quantize.
        per_channel: whether each output channel of a weight has its own scale.
        mixed: whether each block may stay in floats, because the later passes keep such a choice.

    Example:
        >>> from compress.core.targets import TARGETS
        >>> Shipping("int8", TARGETS["cpu-vnni"]).to_json()["activation_type"]
        'uint8'
    """

    precision: Precision
    target: Target
    operators: Operators = "auto"
    per_channel: bool = True
    mixed: bool = False

    @classmethod
    def after(cls, following: Iterable[Pass], target: Target, precision: Precision | None = None) -> Shipping:
        """Return how a model ships once the later passes have been applied.

        Args:
            following: later passes, in order.
            target: target of the job.
            precision: precision to use in any case; None for what the passes produce.
        """
        static = next((p for p in following if isinstance(p, IntegerPass) and p.name in STATIC), None)
        if static is None or precision == "float":
            return cls(precision or "float", target)
        mixed = precision is None and static.name == KEEPS_FORMATS and not {"energy", "latency"} & static.goals.keys()
        return cls("int8", static.target_for(target), static.operators, static.per_channel, mixed)

    @property
    def rounds_values(self) -> bool:
        """Whether values between layers are integers, and not only weights."""
        return self.precision == "int8" and self.operators != "weights" and self.target.quantize_outputs

    def to_json(self) -> dict[str, Any]:
        """Return what costs depend on, for the key of a table."""
        if self.precision == "float":
            return {"precision": "float"}
        target = {name: value for name, value in asdict(self.target).items() if name not in ("name", "reason")}
        target["operators"] = sorted(self.target.operators)
        # The key of a table has the runtime that it was measured in, which need not be the target's.
        target["target_runtime"] = target.pop("runtime")
        return {"precision": "int8", "quantized": self.operators, "per_channel": self.per_channel, **target}


@dataclass(frozen=True)
class KeptNodes:
    """Nodes that do not become integers, by name.

    Attributes:
        floats: those that stay float.
        int4: those that stay float, with 4-bit weights where they are matrix products.
    """

    floats: Sequence[str] = ()
    int4: Sequence[str] = ()


INTEGERS = KeptNodes()


def formats_of(target: Target) -> tuple[Variant, ...]:
    """Return the formats that a block may have in a file of integers."""
    # Blockwise weights are an operator of ONNX Runtime's own domain.
    return (FLOATS, INT4) if target.runtime == DEFAULT_RUNTIME else (FLOATS,)


@dataclass(frozen=True)
class WholeModel:
    """A whole model, exported in floats.

    Attributes:
        file: the file, prepared for quantization.
        nodes: names that the nodes of some blocks have in the exported file, by the block's path.
    """

    file: onnx.ModelProto
    nodes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def names(self, blocks: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the nodes of some of the blocks."""
        return tuple(name for path in blocks for name in self.nodes.get(path, ()))


def whole_model(model: nn.Module, preprocess: Preprocess, folder: Path, blocks: Collection[str] = ()) -> WholeModel:
    """Export a whole model in floats, as a job does.

    Args:
        model: model in eval mode.
        preprocess: contract with which it is exported.
        folder: folder for temporary files.
        blocks: paths of the blocks whose nodes are named.

    Raises:
        ModelError: it cannot be exported.
    """
    path = folder / "whole.onnx"
    before = write_once(model, preprocess, path)
    noted = {f"{before}{block}": block for block in blocks}
    # Preparing loses the notes about modules, so names come from the file as exported.
    nodes = nodes_inside(onnx.load(path, load_external_data=False), noted) if blocks else None
    return WholeModel(prepared(path, folder), {noted[block]: names for block, names in (nodes or {}).items()})


def one_block(module: nn.Module, sample: npt.NDArray[np.float32], folder: Path) -> onnx.ModelProto:
    """Export a block of a model in floats, with a free batch.

    Args:
        module: maps one tensor to one tensor.
        sample: (1, ...) input.
        folder: folder for temporary files.

    Raises:
        ModelError: it cannot be exported.
    """
    path = folder / "block.onnx"
    # A batch of equal samples is enough: only shapes are traced.
    example = torch.from_numpy(np.repeat(sample, EXAMPLE_BATCH, axis=0))
    options: dict[str, Any] = {
        "opset_version": OPSET,
        "input_names": [INPUT],
        "output_names": [OUTPUT],
        "external_data": False,
        "optimize": True,
        "verbose": False,
    }
    try:
        with quiet(), kept_operators():
            torch.onnx.export(module, (example,), path, dynamo=True, dynamic_shapes=({0: "batch"},), **options)
    except EXPORT_FAILURES as error:
        raise ModelError(f"A block of the model cannot be exported to ONNX by itself ({reason(error)}).") from error
    return prepared(path, folder)


def as_shipped(
    model: onnx.ModelProto, shipping: Shipping, feeds: Sequence[Feed], kept: KeptNodes = INTEGERS
) -> onnx.ModelProto:
    """Convert a float model to the form that ships; ranges are computed from the feeds, and do not affect costs.

    Args:
        model: prepared float model.
        shipping: the form.
        feeds: inputs.
        kept: nodes that do not become integers.

    Raises:
        ModelError: it cannot be quantized or run.
    """
    if shipping.precision == "float":
        return model
    graph = Graph(model)
    chosen = plan(graph, shipping.target, shipping.operators, (*kept.floats, *kept.int4), scores=True)
    # Minimum and maximum suffice and ignore the percentile, because ranges do not affect a kernel's cost.
    found = ranges(graph, observed_names(graph, chosen), feeds, "minmax", PERCENTILE)
    integers = quantized(model, chosen, found, shipping.target, per_channel=shipping.per_channel)
    return with_int4_weights(integers, kept.int4)


def operators_of(whole: onnx.ModelProto, operators: Operators) -> Operators:
    """Resolve ``auto`` by the whole model, so that its blocks, which may lack the evidence, follow the same rule."""
    if operators != "auto":
        return operators
    return "weights" if is_transformer(Graph(whole)) else "all"


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write a file and return its path."""
    onnx_file.save(model, path)
    return path
