"""Weights of matrix products in blocks of 4 or 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from certify.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, OnnxPass, PassRecord
from compress.quantization.post_training.blockwise import Rounding

if TYPE_CHECKING:
    import onnx

    from compress.onnx_graph.graph import Array, Graph
    from compress.quantization.post_training.blockwise import Blocks

HESSIAN_ELEMENTS = 1 << 26
"""Elements of the Hessians that are summed up in one run over the samples (256 MiB)."""
ONLY_PRODUCTS = "the runtime has blocks of few bits for matrix products alone"


class QuantizeWeights(OnnxPass):
    """Store the weights of matrix products in blocks of 4 or 8 bits (MatMulNBits); activations stay float.

    Each block of neighbouring inputs has a scale and a zero point of its own. `gptq` rounds one input after the other
    and lets those to come make up for the error, weighed by the inputs that calibration samples show. Without samples,
    `rtn` rounds to nearest, and `hqq` fits the scales so that most weights come closer and few stay far.

    Papers: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR
    2023 (arXiv 2210.17323); Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023;
    Dettmers and Zettlemoyer 2023 (arXiv 2212.09720) for 4 bits in small blocks.

    When not to use it: on convolutional networks, whose convolutions stay as they are; where the time goes into
    arithmetic and not into reading weights (large batches, small models), since the weights are unpacked every time:
    `quantize_static` and `quantize_dynamic` are then far faster.
    """

    name: ClassVar[str] = "quantize_weights"
    version: ClassVar[int] = 1

    bits: Literal[4, 8] = Field(4, description="Bits of a weight.")
    block: Literal[16, 32, 64, 128, 256] = Field(32, description="Inputs that share a scale.")
    rounding: Rounding = Field("gptq", description="How weights are rounded.")
    symmetric: bool = Field(False, description="Whether the zero point is the middle of the codes.")
    int8_activations: bool = Field(
        False, description="Whether the runtime may round activations to 8 bits block by block, which is faster."
    )
    samples: int = Field(128, ge=1, le=100_000, description="Calibration samples that gptq looks at.")
    batch: int = Field(16, ge=1, le=1024, description="Calibration samples in one run of the model.")
    keep_nodes: tuple[str, ...] = Field((), description="Names of nodes of the ONNX graph that stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or gptq has no calibration samples.
            ModelError: ONNX Runtime can't prepare, run or load the file.
        """
        from compress.onnx_graph import onnx_file
        from compress.onnx_graph.graph import Graph, session, signal_to_noise_db
        from compress.quantization.post_training.matmul_nbits import finish, replace_product
        from compress.quantization.post_training.prepare import prepared

        folder = context.workspace or model.parent
        graph = Graph(prepared(model, folder))
        nodes, declined = self._products(graph)
        if not nodes:
            return model, PassRecord.refused(f"it has no matrix product with float weights to round: {ONLY_PRODUCTS}")
        noise = {}
        rounded = []
        with context.progress.task("Rounding weights", len(nodes)) as bar:
            for node, weight, hessian in self._with_hessians(graph, nodes, context):
                blocks = self._rounded(weight, hessian)
                noise[node.name] = signal_to_noise_db(weight, blocks.values)
                rounded.append((node, blocks))
                bar.advance(1)
        for node, blocks in rounded:
            replace_product(graph, node, blocks, self.bits, int8=self.int8_activations)
        finish(graph.model)
        written = folder / f"{model.stem}.int{self.bits}w.onnx"
        with onnx_file.replacing(written) as beside:
            onnx_file.save(graph.model, beside)
            session(beside)  # the runtime loads it
        worst = min(noise, key=lambda name: noise[name])
        done = {
            "bits": self.bits,
            "block": self.block,
            "rounding": self.rounding,
            "int8_activations": self.int8_activations,
            "quantized": len(nodes),
            "worst": worst,
            "worst_signal_to_noise_db": noise[worst],
        }
        return written, PassRecord(done, tuple(declined))

    def _products(self, graph: Graph) -> tuple[list[onnx.NodeProto], list[Declined]]:
        """Matrix products that are rounded, and what is left alone."""
        from compress.onnx_graph.graph import attributes

        names = [node.name for node in graph.nodes]
        for name in self.keep_nodes:
            if name not in names:
                raise unknown_name("node in keep_nodes", name, names)
        found, declined = [], [Declined(name, "the recipe keeps it float") for name in self.keep_nodes]
        others: dict[str, int] = {}
        for node in graph.weighted():
            if node.op_type not in ("MatMul", "Gemm"):
                others[node.op_type] = others.get(node.op_type, 0) + 1
            elif node.name in self.keep_nodes:
                continue
            elif len(graph.tensors[node.input[1]].dims) != 2 or attributes(node).get("transA", 0):
                declined.append(Declined(node.name, "its operands are no plain matrices"))
            else:
                found.append(node)
        declined += [Declined(f"{count} {kind}", ONLY_PRODUCTS) for kind, count in others.items()]
        return found, declined

    def _rounded(self, weight: Array, hessian: Array | None) -> Blocks:
        from compress.quantization.post_training.blockwise import (
            round_half_quadratic,
            round_nearest,
            round_with_hessian,
        )

        if hessian is not None:
            return round_with_hessian(weight, hessian, self.bits, self.block, symmetric=self.symmetric)
        if self.rounding == "hqq":
            return round_half_quadratic(weight, self.bits, self.block, symmetric=self.symmetric)
        return round_nearest(weight, self.bits, self.block, symmetric=self.symmetric)

    def _with_hessians(
        self, graph: Graph, nodes: Sequence[onnx.NodeProto], context: PassContext
    ) -> Iterator[tuple[onnx.NodeProto, Array, Array | None]]:
        """Each product with its weight (N, K) and, for gptq, its Hessian (K, K)."""
        from compress.quantization.post_training.calibration import Feeds
        from compress.quantization.post_training.hessians import hessians

        if self.rounding != "gptq":
            for node in nodes:
                yield node, _weight(graph, node), None
            return
        feeds = Feeds(context, graph.model, self.samples, self.batch, self.name)
        group: list[onnx.NodeProto] = []
        elements = 0
        for position, node in enumerate(nodes):
            group.append(node)
            elements += _weight(graph, node).shape[1] ** 2
            if elements >= HESSIAN_ELEMENTS or position == len(nodes) - 1:
                found = hessians(graph, group, feeds)
                for each in group:
                    yield each, _weight(graph, each), found[each.name]
                group, elements = [], 0


def _weight(graph: Graph, node: onnx.NodeProto) -> Array:
    """Weight (N, K) of a matrix product, with the factor of a Gemm in it."""
    import numpy as np

    from compress.onnx_graph.graph import attributes

    weight = graph.weight(node)
    if weight is None:
        raise ValueError(f"'{node.name}' has no constant weight")
    turned = weight if attributes(node).get("transB", 0) else weight.T
    return np.asarray(turned * np.float32(attributes(node).get("alpha", 1.0)), dtype=np.float32)
