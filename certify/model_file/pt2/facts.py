"""Facts of an exported program's graph: ports, multiply-adds, parameters, quantized operators.

They are counted as for ONNX graphs (certify.model_file.onnx_graph), from the shapes stored by the exporter.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.counts import Counts
from certify.model_file.onnx_graph.fusion import Quantization
from certify.model_file.onnx_graph.load import InputContract, Port, check_port, named_port
from certify.model_file.pt2.archive import CONSTANTS, WEIGHTS, Exported

Shape = tuple[int | None, ...]

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 12: "bool",
    13: "bfloat16", 28: "uint16", 34: "uint32", 35: "uint64",
}  # fmt: skip
"""NumPy names of torch's ScalarType (torch/_export/serde/schema.py)."""
NO_WEIGHTS = frozenset({"int64", "bool"})
"""Types of shapes, indices, counters and conditions."""

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution", "_convolution"})
TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
PRODUCTS = {"linear": (0, 1), "mm": (0, 1), "bmm": (0, 1), "matmul": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
"""Matrix products: positions of the data and of the weight."""
UNCOUNTED = frozenset(
    {"scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu", "einsum", "bilinear", "dot", "mv", "addmv"}
)
"""Multiplying operators whose multiply-adds are not counted."""


@dataclass(frozen=True)
class Operator:
    """A node of the graph.

    Attributes:
        name: name of its first output.
        kind: name of the operator without namespace and overload.
        inputs: names of its input tensors, by position; None for other inputs.
        outputs: names of its output tensors.
        transposed: whether it is a transposed convolution.
    """

    name: str
    kind: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    transposed: bool


def input_port(exported: Exported, name: str) -> Port:
    """Return the program's only input, which must have that name.

    Raises:
        ModelError: the program has more than one input, or its input has a different name.
    """
    with reading(exported):
        ports = _inputs(exported)
    port = named_port(ports, name, "input")
    if len(ports) > 1:
        raise ModelError(
            f"An exported program must have exactly one input, but {exported.path} has {len(ports)}; give the model as "
            "ONNX."
        )
    return port


def output_names(exported: Exported) -> tuple[str, ...]:
    """Return the names of the program's output tensors, in order."""
    with reading(exported):
        return tuple(
            spec["user_output"]["arg"]["as_tensor"]["name"]
            for spec in exported.signature["output_specs"]
            if "as_tensor" in spec.get("user_output", {}).get("arg", {})
        )


def check_exported_feedable(exported: Exported, contract: InputContract, batch: int) -> None:
    """Check that the input matches the preprocessing contract; see ``certify.model_file.onnx_graph.load``."""
    with reading(exported):
        outputs = tuple(_port(exported, name) for name in output_names(exported))
    named_port(outputs, contract.output_name, "output")
    if len(contract.input_names) > 1:
        raise ModelError(
            f"The preprocessing contract names {len(contract.input_names)} inputs, but exported programs must have "
            "exactly one; give the model as ONNX."
        )
    check_port(input_port(exported, contract.input_names[0]), contract, batch)


def count_exported(exported: Exported) -> Counts:
    """Count multiply-adds and parameters of one sample; see :func:`certify.model_file.onnx_graph.counts.count`."""
    with reading(exported):
        macs = counted = 0
        missed = []
        for node in operators(exported):
            found = _macs(exported, node)
            if found is not None:
                macs, counted = macs + found, counted + 1
            elif _multiplies(node) or node.kind in UNCOUNTED:
                missed.append(node.kind)
        first = next((port.shape[0] for port in _inputs(exported) if port.shape), 1)
        batch = first if isinstance(first, int) and first > 0 else 1
        share = counted / (counted + len(missed)) if counted or missed else 1.0
        return Counts(macs // batch, _parameters(exported), share, tuple(sorted(set(missed))), bytes_moved=None)


def exported_quantization(exported: Exported) -> Quantization:
    """Return operators with dequantized weights, none fused: torch runs operators one by one, in float."""
    unfused = []
    with reading(exported):
        producers = {name: node for node in operators(exported) for name in node.outputs}
        for node in operators(exported):
            position = positions_of(node)
            maker = None if position is None else producers.get(node.inputs[position[1]] or "")
            if maker is not None and maker.kind.startswith("dequantize"):
                unfused.append(node.name)
    return Quantization(len(unfused), 0, tuple(unfused))


@contextlib.contextmanager
def reading(exported: Exported) -> Iterator[None]:
    """Convert errors about unexpected content into a ModelError with the file's path.

    Raises:
        ModelError: instead of any error caused by a missing or invalid part inside the ``with`` block.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ModelError(
            f"{exported.path} is damaged or not an exported program ({reason}); export it again."
        ) from error


def operators(exported: Exported) -> Iterator[Operator]:
    """Yield all nodes that call a torch operator, in order."""
    for node in exported.graph["nodes"]:
        parts = node["target"].split(".")
        kind = parts[3] if parts[:2] == ["torch", "ops"] else parts[-1]
        arguments = [item["arg"] for item in node["inputs"]]
        flags = {item["name"]: item["arg"].get("as_bool") for item in node["inputs"]}
        outputs = tuple(name for output in node["outputs"] for name in _tensor_names(output))
        yield Operator(
            name=outputs[0] if outputs else kind,
            kind=kind,
            inputs=tuple(argument.get("as_tensor", {}).get("name") for argument in arguments),
            outputs=outputs,
            transposed=kind in TRANSPOSED or flags.get("transposed") is True,
        )


def _tensor_names(argument: Mapping[str, Any]) -> list[str]:
    if "as_tensor" in argument:
        return [argument["as_tensor"]["name"]]
    return [item["name"] for item in argument.get("as_tensors", [])]


def _port(exported: Exported, name: str) -> Port:
    meta = exported.graph["tensor_values"][name]
    return Port(name, _sizes(meta), DTYPES.get(meta["dtype"], "unknown"))


def _sizes(meta: Mapping[str, Any]) -> Shape:
    return tuple(size.get("as_int") for size in meta["sizes"])


def shape_of(exported: Exported, name: str | None) -> tuple[int, ...] | None:
    """Return the shape of a value, with a dynamic batch of 1; None if it is not a tensor or another size is dynamic."""
    meta = exported.graph["tensor_values"].get(name)
    sizes = None if meta is None else _sizes(meta)
    if not sizes:
        return None
    first, rest = sizes[0] or 1, [size for size in sizes[1:] if size is not None]
    return None if len(rest) < len(sizes) - 1 else (first, *rest)


def _inputs(exported: Exported) -> tuple[Port, ...]:
    return tuple(
        _port(exported, spec["user_input"]["arg"]["as_tensor"]["name"])
        for spec in exported.signature["input_specs"]
        if "as_tensor" in spec.get("user_input", {}).get("arg", {})
    )


def _multiplies(node: Operator) -> bool:
    return node.kind in CONVOLUTIONS or node.kind in TRANSPOSED or node.kind in PRODUCTS


def positions_of(node: Operator) -> tuple[int, int] | None:
    """Return the positions of data and weight among the inputs of a multiplying operator."""
    if node.kind in CONVOLUTIONS or node.kind in TRANSPOSED:
        return 0, 1
    return PRODUCTS.get(node.kind)


def _macs(exported: Exported, node: Operator) -> int | None:
    positions = positions_of(node)
    if positions is None:
        return None
    data, weight = (shape_of(exported, node.inputs[position]) for position in positions)
    out = shape_of(exported, node.outputs[0])
    if data is None or weight is None or out is None:
        return None
    if node.kind in PRODUCTS:
        return math.prod(out) * data[-1]
    # A transposed convolution multiplies each input by the whole kernel.
    return math.prod(data if node.transposed else out) * math.prod(weight[1:])


def sources(exported: Exported) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (name in the graph, archive member, table entry) of every stored tensor used by the graph."""
    for spec in exported.signature["input_specs"]:
        for kind, key in (("parameter", "parameter_name"), ("buffer", "buffer_name")):
            if kind in spec:
                name = spec[kind][key]
                table, folder = (
                    (exported.weights, WEIGHTS) if name in exported.weights else (exported.constants, CONSTANTS)
                )
                entry = table[name]
                yield spec[kind]["arg"]["name"], folder + entry["path_name"], entry
        if "tensor_constant" in spec:
            entry = exported.constants[spec["tensor_constant"]["tensor_constant_name"]]
            yield spec["tensor_constant"]["arg"]["name"], CONSTANTS + entry["path_name"], entry


def _parameters(exported: Exported) -> int:
    """Count the elements of all stored tensors used as numbers by operators, each once."""
    used = {name for node in operators(exported) for name in node.inputs}
    quantizers = {
        name
        for node in operators(exported)
        if node.kind.startswith(("quantize", "dequantize"))
        for name in node.inputs[1:]
    }
    total = 0
    for name, _, entry in sources(exported):
        meta = entry["tensor_meta"]
        # Scales and zero points of quantizers are not parameters of the model.
        if name in used - quantizers and DTYPES.get(meta["dtype"]) not in NO_WEIGHTS:
            total += math.prod(size["as_int"] for size in meta["sizes"])
    return total
