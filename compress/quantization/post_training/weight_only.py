"""Weight-only quantization: blockwise weights of a few bits in matrix products, with float activations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.free_memory import free_bytes
from compress.core.onnx_session import session
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Array, Graph, attributes, node_label, require_nodes, signal_to_noise_db
from compress.quantization.post_training.batch_size import choose_batch
from compress.quantization.post_training.blockwise import (
    Blocks,
    RoundingMethod,
    round_half_quadratic,
    round_nearest,
    round_with_hessian,
)
from compress.quantization.post_training.calibration import Feeds
from compress.quantization.post_training.hessians import hessians
from compress.quantization.post_training.matmul_nbits import finish, replace_product
from compress.quantization.post_training.prepare import prepared

HESSIAN_ELEMENTS = 1 << 26
"""Elements of the Hessians that are accumulated in one run over the samples (256 MiB)."""
INT4_BITS, INT4_BLOCK = 4, 32
ONLY_PRODUCTS = "the runtime supports blocks of a few bits only in matrix products"


@dataclass(frozen=True)
class WeightSettings:
    """Settings of weight-only quantization; the fields are those of the pass QuantizeWeights.

    Attributes:
        pass_name: name of the pass, for errors.
        bits: bits per weight.
        block: inputs that share a scale.
        rounding: ``rtn``, ``hqq`` or ``gptq``.
        symmetric: whether the zero point is the middle of the code range.
        int8_activations: whether the runtime may round activations in blocks.
        samples: calibration samples for gptq.
        batch: samples per run; None for as many as fit into memory.
        keep_nodes: names of nodes that stay float.
    """

    pass_name: str
    bits: int
    block: int
    rounding: RoundingMethod
    symmetric: bool
    int8_activations: bool
    samples: int
    batch: int | None
    keep_nodes: tuple[str, ...]


def quantize_weights(settings: WeightSettings, path: Path, context: PassContext) -> tuple[Path, PassRecord]:
    """Write a file with rounded weights; return the given file, declined, if it has no matrix product.

    Args:
        settings: settings of the pass.
        path: path of an ONNX file.
        context: calibration samples, and the folder of the new file.

    Raises:
        UsageError: ``keep_nodes`` names a node that does not exist, or gptq has no calibration samples.
        ModelError: ONNX Runtime cannot prepare, run or load the file.
    """
    folder = context.workspace or path.parent
    graph = Graph(prepared(path, folder))
    nodes, declined = _products(settings, graph)
    if not nodes:
        return path, PassRecord.refused(f"it has no matrix product with float weights to round: {ONLY_PRODUCTS}")
    noise = {}
    rounded = []
    with context.progress.task("Rounding weights", len(nodes)) as bar:
        for node, weight, hessian in _with_hessians(settings, graph, nodes, context):
            blocks = _rounded(settings, weight, hessian)
            noise[node.name] = signal_to_noise_db(weight, blocks.values)
            rounded.append((node, blocks))
            bar.advance(1)
    # Replace weights only now, because the Hessians of later products come from the float graph.
    for node, blocks in rounded:
        replace_product(graph, node, blocks, settings.bits, int8=settings.int8_activations)
    finish(graph.model)
    written = folder / f"{path.stem}.int{settings.bits}w.onnx"
    with onnx_file.replacing(written) as beside:
        onnx_file.save(graph.model, beside)
        session(beside)  # check that the runtime loads it
    worst = min(noise, key=lambda name: noise[name])
    done = {
        "bits": settings.bits,
        "block": settings.block,
        "rounding": settings.rounding,
        "int8_activations": settings.int8_activations,
        "quantized": len(nodes),
        "worst": worst,
        "worst_signal_to_noise_db": noise[worst],
    }
    return written, PassRecord(done, tuple(declined))


def plain_products(graph: Graph) -> list[onnx.NodeProto]:
    """Return the matrix products whose weights the runtime can read in blocks of a few bits."""
    return [
        node
        for node in graph.weighted()
        if node.op_type in ("MatMul", "Gemm")
        and len(graph.tensors[node.input[1]].dims) == 2
        and not attributes(node).get("transA", 0)
    ]


def with_int4_weights(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a model in which some plain matrix products have 4-bit weights, and may round activations to 8 bits.

    Weights are rounded to nearest, in blocks of ``INT4_BLOCK`` inputs. The given model is not modified.
    """
    if not names:
        return model
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    graph = Graph(rewritten)
    for node in plain_products(graph):
        if node.name in names:
            blocks = round_nearest(_weight(graph, node), INT4_BITS, INT4_BLOCK, symmetric=False)
            replace_product(graph, node, blocks, INT4_BITS, int8=True)
    finish(rewritten)
    return rewritten


def _products(settings: WeightSettings, graph: Graph) -> tuple[list[onnx.NodeProto], list[Declined]]:
    """Return the matrix products to round, and what is left unchanged."""
    require_nodes(graph, settings.keep_nodes)
    plain = {node.name for node in plain_products(graph)}
    found, declined = [], [Declined(name, "the recipe keeps it float") for name in settings.keep_nodes]
    others: dict[str, int] = {}
    for node in graph.weighted():
        if node.op_type not in ("MatMul", "Gemm"):
            others[node.op_type] = others.get(node.op_type, 0) + 1
        elif node.name in settings.keep_nodes:
            continue
        elif node.name not in plain:
            declined.append(Declined(node_label(node), "its operands are not plain matrices"))
        else:
            found.append(node)
    declined += [Declined(f"{count} {kind}", ONLY_PRODUCTS) for kind, count in others.items()]
    return found, declined


def _rounded(settings: WeightSettings, weight: Array, hessian: Array | None) -> Blocks:
    bits, block, symmetric = settings.bits, settings.block, settings.symmetric
    if hessian is not None:
        return round_with_hessian(weight, hessian, bits, block, symmetric=symmetric)
    if settings.rounding == "hqq":
        return round_half_quadratic(weight, bits, block, symmetric=symmetric)
    return round_nearest(weight, bits, block, symmetric=symmetric)


def _with_hessians(
    settings: WeightSettings, graph: Graph, nodes: Sequence[onnx.NodeProto], context: PassContext
) -> Iterator[tuple[onnx.NodeProto, Array, Array | None]]:
    """Yield each product with its weight (N, K) and, for gptq, its Hessian (K, K)."""
    if settings.rounding != "gptq":
        for node in nodes:
            yield node, _weight(graph, node), None
        return
    batch = settings.batch or choose_batch(graph, free_bytes()).samples
    feeds = Feeds(context, graph.model, settings.samples, batch, settings.pass_name)
    group: list[onnx.NodeProto] = []
    elements = 0
    for position, node in enumerate(nodes):
        group.append(node)
        elements += _weight(graph, node).shape[1] ** 2
        # A pass over the samples costs more than memory for several Hessians, so they are collected in groups.
        if elements >= HESSIAN_ELEMENTS or position == len(nodes) - 1:
            found = hessians(graph, group, feeds)
            for each in group:
                yield each, _weight(graph, each), found[each.name]
            group, elements = [], 0


def _weight(graph: Graph, node: onnx.NodeProto) -> Array:
    """Return the weight (N, K) of a matrix product, including the factor of a Gemm."""
    weight = graph.weight(node)
    if weight is None:
        raise ValueError(f"'{node.name}' has no constant weight")
    # Blocks run along the inputs, so each output is one row.
    turned = weight if attributes(node).get("transB", 0) else weight.T
    return np.asarray(turned * np.float32(attributes(node).get("alpha", 1.0)), dtype=np.float32)
