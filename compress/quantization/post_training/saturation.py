"""Simulation of the clipping on processors that add products of bytes in 16 bits, on calibration samples.

``vpmaddubsw`` multiplies unsigned activations with signed weights and adds neighbouring products with saturation:
255 * 127 * 2 = 64,770 does not fit into 32,767 (Intel 64 and IA-32 Architectures Software Developer's Manual, volume
2B, PMADDUBSW). The kernel decides which products are neighbours; here they are those of neighbouring input channels,
as in ONNX Runtime's kernels, whose convolutions keep channels innermost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from compress.onnx_graph.graph import COMPUTE, Array, Feed, Graph, attributes, probe
from compress.quantization.post_training.integer_weights import IntegerWeights, integer_weights

LIMIT = 2**15 - 1
ROWS = 32
"""Number of places of each activation that are sampled."""
COLUMNS = 32
"""Number of output channels of each operator that are sampled, evenly spaced."""


@dataclass(frozen=True)
class Saturation:
    """Amount of clipping.

    Attributes:
        share: share of the sampled sums of two products that are clipped.
        worst: operator with the largest share of its own; empty if nothing is clipped.
        worst_share: that share.
        operators: number of operators in which anything is clipped.
    """

    share: float
    worst: str
    worst_share: float
    operators: int


def simulate(integers: Graph, feeds: Iterable[Feed], seed: int) -> Saturation:
    """Add the products of quantized operators as 16-bit hardware would, on sampled places and channels.

    Depthwise convolutions are skipped: their kernels widen each product first.

    Args:
        integers: model quantized to unsigned activations and signed weights.
        feeds: calibration samples; one batch is enough.
        seed: seed of the sampled places.
    """
    weights = integer_weights(integers)
    nodes = [node for node in integers.nodes if node.op_type in COMPUTE and node.name in weights]
    nodes = [node for node in nodes if _codes_of(integers, node) is not None]
    nodes = [node for node in nodes if int(attributes(node).get("group", 1)) == 1]
    codes = {node.name: _codes_of(integers, node) or "" for node in nodes}
    clipped = dict.fromkeys(codes, 0)
    examined = dict.fromkeys(codes, 0)
    random = np.random.default_rng(seed)
    read = list(dict.fromkeys(codes.values()))
    for found in probe(integers.model, read, feeds) if read else ():
        for node in nodes:
            rows = _rows(node, found[codes[node.name]], weights[node.name].codes.shape, random)
            sums = _pair_sums(rows, _columns(node, weights[node.name]))
            clipped[node.name] += int((np.abs(sums) > LIMIT).sum())
            examined[node.name] += sums.size
    shares = {name: clipped[name] / examined[name] for name in codes if examined[name]}
    worst = max(shares, key=lambda name: shares[name], default="")
    some = sum(clipped.values())
    return Saturation(
        share=some / max(1, sum(examined.values())),
        worst=worst if some else "",
        worst_share=shares.get(worst, 0.0),
        operators=sum(count > 0 for count in clipped.values()),
    )


def _codes_of(graph: Graph, node: onnx.NodeProto) -> str | None:
    """Return the name of the integer activations that an operator reads through DequantizeLinear."""
    source = graph.producers.get(node.input[0])
    if source is None or source.op_type != "DequantizeLinear" or source.input[0] in graph.tensors:
        return None
    return str(source.input[0])


def _columns(node: onnx.NodeProto, weight: IntegerWeights) -> Array:
    """Return weights (K, N) of some output channels, with the input channels of one tap next to each other."""
    # Widened before multiplying, because the overflow is counted and must not happen here.
    codes = weight.codes.astype(np.int32)
    if node.op_type == "Conv":
        wide = np.moveaxis(codes, 1, -1).reshape(len(codes), -1).T
    elif node.op_type == "ConvTranspose" or codes.ndim == 1:  # (input channels, ...), or a product with a vector
        wide = codes.reshape(len(codes), -1)
    else:
        wide = codes.T if attributes(node).get("transB", 0) else codes.reshape(-1, codes.shape[-1])
    chosen = np.unique(np.linspace(0, wide.shape[1] - 1, COLUMNS).astype(int))
    return np.asarray(wide[:, chosen])


def _rows(node: onnx.NodeProto, codes: Array, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Return activations (places, K) as the operator reads them, without borders."""
    if node.op_type != "Conv":
        last = np.moveaxis(codes, 1, -1) if node.op_type == "ConvTranspose" else codes
        flat = last.reshape(-1, last.shape[-1])
        return flat[random.integers(0, len(flat), ROWS)].astype(np.int32)
    taps = shape[2:]
    dilations = attributes(node).get("dilations", [1] * len(taps))
    spans = [(tap - 1) * dilation + 1 for tap, dilation in zip(taps, dilations, strict=True)]
    # A map smaller than the kernel is padded, because all positions in it touch a border.
    pads = [(0, 0), (0, 0), *((max(0, span - size),) * 2 for span, size in zip(spans, codes.shape[2:], strict=True))]
    padded = np.pad(codes, pads)
    rows = []
    for _ in range(ROWS):
        begins = [int(random.integers(0, size - span + 1)) for span, size in zip(spans, padded.shape[2:], strict=True)]
        window = [slice(b, b + s, d) for b, s, d in zip(begins, spans, dilations, strict=True)]
        sample, place = padded[int(random.integers(0, len(padded)))], (slice(None), *window)
        patch = sample[place]
        rows.append(np.moveaxis(patch, 0, -1).ravel())
    return np.stack(rows).astype(np.int32)


def _pair_sums(rows: Array, columns: Array) -> Array:
    """Return the sums of neighbouring products: (places, pairs, channels)."""
    # The last of an odd number of products has no neighbour and cannot overflow.
    length = min(len(columns), rows.shape[1]) // 2 * 2
    products = rows[:, :length, None] * columns[None, :length]
    sums: Array = products[:, 0::2] + products[:, 1::2]
    return sums
