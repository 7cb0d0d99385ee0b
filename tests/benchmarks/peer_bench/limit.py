"""The arithmetic limit of this machine: the best matrix product and convolution that a runtime reaches, by precision.

Chains of one operator, large enough that only arithmetic counts, run like the models: isolated, in turn, and refused on
a busy machine. What a model reaches of the limit of its precision says how far it is from the processor's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from peer_bench.job import Job
from peer_bench.making import Artifact
from peer_bench.scores import ORT
from peer_bench.times import Group, Plan, group
from peer_bench.verdicts import gops

CHAIN = 4
"""Operators in a row."""
SIDE = 768
"""Rows and columns of the matrices: the weights of a chain fit into the caches."""
CHANNELS, PIXELS, KERNEL = 128, 28, 3
SHAPES = {"gemm": (SIDE, SIDE), "conv": (CHANNELS, PIXELS, PIXELS)}
MACS = {"gemm": CHAIN * SIDE**3, "conv": CHAIN * CHANNELS * CHANNELS * KERNEL**2 * PIXELS**2}
PRECISIONS = ("fp32", "bf16", "int8")
FORMS = {"float": {ORT: "fp32", "openvino": "fp32", "openvino-bf16": "bf16"}, "int8": {ORT: "int8", "openvino": "int8"}}
"""Precision in which each form of a chain runs in each runtime."""


def chain(kind: str, form: str) -> onnx.ModelProto:
    """Return a chain of products, in floats or with Q/DQ pairs around each.

    Args:
        kind: ``gemm`` or ``conv``.
        form: ``float`` or ``int8``.
    """
    random = np.random.default_rng(0)
    size = (SIDE, SIDE) if kind == "gemm" else (CHANNELS, CHANNELS, KERNEL, KERNEL)
    nodes, weights, last = [], [], "input"
    if form == "int8":
        weights += [
            numpy_helper.from_array(np.float32(1 / 64), "scale"), numpy_helper.from_array(np.uint8(128), "middle"),
            numpy_helper.from_array(np.float32(1 / 4096), "weight_scale"), numpy_helper.from_array(np.int8(0), "none"),
        ]  # fmt: skip
        last = _rounded(nodes, last, "input")
    for place in range(CHAIN):
        name, found = f"weight_{place}", f"found_{place}"
        if form == "int8":
            weights.append(numpy_helper.from_array(random.integers(-127, 128, size, dtype=np.int8), f"{name}_integers"))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_integers", "weight_scale", "none"], [name]))
        else:
            weights.append(numpy_helper.from_array(random.standard_normal(size, dtype=np.float32) / 32, name))
        padded = {} if kind == "gemm" else {"pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("MatMul" if kind == "gemm" else "Conv", [last, name], [found], **padded))
        last = _rounded(nodes, found, found) if form == "int8" else found
    nodes.append(helper.make_node("Identity", [last], ["output"]))
    ports = [
        helper.make_tensor_value_info(port, TensorProto.FLOAT, ["n", *SHAPES[kind]]) for port in ("input", "output")
    ]
    graph = helper.make_graph(nodes, kind, ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _rounded(nodes: list[onnx.NodeProto], name: str, stem: str) -> str:
    nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "middle"], [f"{stem}_q"]))
    nodes.append(helper.make_node("DequantizeLinear", [f"{stem}_q", "scale", "middle"], [f"{stem}_dq"]))
    return f"{stem}_dq"


def measure(folder: Path, runtimes: list[str], threads: int, plan: Plan) -> dict[str, list[Group]]:
    """Time the chains of each kind in each runtime."""
    found: dict[str, list[Group]] = {}
    for kind, shape in SHAPES.items():
        place = folder / f"{kind}-{threads}"
        place.mkdir(parents=True)
        np.save(place / "test.npy", np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32))
        job = Job(kind, place, ("input",), "output", 1, "", False, False, MACS[kind])
        files = []
        for form in FORMS:
            onnx.save(chain(kind, form), place / f"{form}.onnx")
            files.append(Artifact(form, form, file=place / f"{form}.onnx"))
        found[kind] = [
            group(job, [one for one in files if runtime in FORMS[one.name]], runtime, threads, 1, plan)
            for runtime in runtimes
        ]
    return found


def best(found: Mapping[str, list[Group]]) -> dict[str, float]:
    """Return the highest rate in 10^9 operations per second by precision; a precision without times is absent."""
    rates: dict[str, float] = {}
    for kind, groups in found.items():
        for one in groups:
            for form, taken in one.times.items():
                precision = FORMS[form][one.runtime]
                rate = gops(MACS[kind], one.batch, taken.wall_ms.low)
                rates[precision] = max(rate, rates.get(precision, 0.0))
    return rates


def precision_of(artifact: str, runtime: str) -> str:
    """Return whose limit counts for a file in a runtime."""
    return FORMS["float"][runtime] if artifact == "float" else "int8"
