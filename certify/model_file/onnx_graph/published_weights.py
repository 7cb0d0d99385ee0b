"""Published networks, recognised by digests of their weights.

Exporters fold the normalisation after a layer into its weights, which scales each output channel. So each channel is
divided by its largest element before it is rounded and digested. Rounding errors of folding move a few numbers across
rounding boundaries, so digests are of short pieces, most of which must match.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from certify.core.yaml_document import parse_document
from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.operators import attribute, compute_of

TABLE = Path(__file__).with_name("published_weights.yaml")
GIVEN = "as given by the maker"
STEP = 0.01
"""Rounding step of elements, relative to the largest element of their channel."""
PIECE = 1024
"""Number of elements digested together; folding moves one in 250,000 across a rounding boundary."""
DIGEST_BYTES = 2
SAME_PIECES = 0.8
"""Fraction of a tensor's pieces that must match."""
SAME_WEIGHTS = 0.95
"""Fraction of the published weights that a file must contain, and of its own weights that must be published ones."""

Matrix = npt.NDArray[Any]


class Print(NamedTuple):
    """Fingerprint of a weight: digests of its pieces, and its shape as a matrix with output channels first."""

    shape: tuple[int, int]
    pieces: bytes

    def same(self, other: Print) -> bool:
        """Return whether both are of the same weight, up to scales of its channels."""
        if self.shape != other.shape or len(self.pieces) != len(other.pieces):
            return False
        pairs = [np.frombuffer(fingerprint.pieces, np.uint16) for fingerprint in (self, other)]
        return float(np.mean(pairs[0] == pairs[1])) >= SAME_PIECES


def print_of(matrix: Matrix) -> Print:
    """Return the fingerprint of a weight, (output channels, all other dimensions)."""
    real = matrix.astype(np.float64)
    # Divided by the signed element, so that a negative scale of a folded normalisation cancels too.
    largest = np.take_along_axis(real, np.abs(real).argmax(axis=1)[:, None], axis=1)
    scaled = np.divide(real, largest, out=np.zeros_like(real), where=largest != 0)
    steps = np.rint(scaled / STEP).astype("<i2").reshape(-1)
    pieces = (steps[i : i + PIECE].tobytes() for i in range(0, len(steps), PIECE))
    digests = b"".join(hashlib.sha256(piece).digest()[:DIGEST_BYTES] for piece in pieces)
    return Print((matrix.shape[0], matrix.shape[1]), digests)


@functools.cache
def published() -> Mapping[str, tuple[Print, ...]]:
    """Return the known networks, by name."""
    rows = parse_document(TABLE.read_bytes(), TABLE.name).values
    return {str(name): tuple(_read(row) for row in prints) for name, prints in rows.items()}


def _read(row: Any) -> Print:
    return Print((int(row[0]), int(row[1])), base64.b64decode(row[2]))


def published_name(model: onnx.ModelProto, folder: Path | None = None) -> str | None:
    """Return the published network whose weights a model has, up to names and folded scales; None if unknown.

    Args:
        model: model with internal or external weights.
        folder: folder of its external data.
    """
    # Only shapes in the table are fingerprinted, because digesting a large model takes long.
    known = {fingerprint.shape for prints in published().values() for fingerprint in prints}
    own = [(matrix.size, matrix.shape, matrix) for matrix in _weights(model, folder)]
    total = sum(size for size, _, _ in own)
    prints = [print_of(matrix) for _, shape, matrix in own if shape in known]
    for name, table in published().items():
        same = [
            fingerprint.shape[0] * fingerprint.shape[1]
            for fingerprint in table
            if any(fingerprint.same(candidate) for candidate in prints)
        ]
        # A share of the larger of both, so that a few published layers or a large addition do not count as the network.
        if sum(same) >= SAME_WEIGHTS * max(
            total, sum(fingerprint.shape[0] * fingerprint.shape[1] for fingerprint in table)
        ):
            return name
    return None


def _weights(model: onnx.ModelProto, folder: Path | None) -> Iterator[Matrix]:
    """Yield the weights of all multiplying operators as matrices, each once."""
    flat = inlined(model).graph
    tensors = {tensor.name: tensor for tensor in flat.initializer}
    constants = [node for node in flat.node if node.op_type == "Constant" and node.attribute]
    tensors |= {node.output[0]: node.attribute[0].t for node in constants}
    seen: set[str] = set()
    for node in flat.node:
        compute = compute_of(node)
        name = "" if compute is None else node.input[compute.weight]
        tensor = tensors.get(name)
        if compute is None or tensor is None or name in seen or len(tensor.dims) < 2:
            continue
        seen.add(name)
        array = array_of(tensor, folder)
        # Some operators store the weight transposed; fingerprints have output channels first.
        across = compute.kind == "conv_transpose" or (compute.kind == "gemm" and not attribute(node, "transB", 0))
        array = np.moveaxis(array, -1, 0) if compute.kind == "matmul" else np.swapaxes(array, 0, int(across))
        yield array.reshape(array.shape[0], -1)
