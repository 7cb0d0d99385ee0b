"""Weights and activations as 16-bit floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certify.errors import ModelError
from certify.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, OnnxPass, PassRecord

if TYPE_CHECKING:
    import onnx

    from compress.onnx_graph.graph import Graph

LARGEST_HALF = 65504.0
"""Largest finite number of IEEE 754 binary16."""


class Half(OnnxPass):
    """Store and compute in 16-bit floats; inputs and outputs of the model stay as they are.

    Before anything is converted, the ranges of all values are looked at on calibration samples: an operator that
    reads or gives a value beyond 65,504 would overflow in fp16 and stays in 32 bits. bf16 has the range of 32 bits
    and less precision.

    Papers: Micikevicius et al., "Mixed Precision Training", ICLR 2018 (arXiv 1710.03740), for fp16; Kalamkar et al.
    2019 (arXiv 1905.12322) for bf16.

    When not to use it: on CPUs, where ONNX Runtime has few kernels for fp16 and converts back and forth (the file
    halves, nothing gets faster), and none for bf16 (the pass then declines); on GPUs where `quantize_static` loses
    nothing.
    """

    name: ClassVar[str] = "half"
    version: ClassVar[int] = 1

    kind: Literal["fp16", "bf16"] = Field("fp16", description="Which 16-bit floats.")
    samples: int = Field(64, ge=1, le=100_000, description="Calibration samples whose values are looked at.")
    batch: int = Field(16, ge=1, le=1024, description="Calibration samples in one run of the model.")
    margin: float = Field(2.0, ge=1, le=1000, description="How much larger than seen values may become.")
    keep_nodes: tuple[str, ...] = Field((), description="Names of nodes of the ONNX graph that stay in 32 bits.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime can't prepare, convert or run the file, or a value is not finite.
        """
        from compress.onnx_graph import onnx_file
        from compress.onnx_graph.graph import Graph
        from compress.quantization.post_training.calibration import Feeds
        from compress.quantization.post_training.float16 import converted
        from compress.quantization.post_training.prepare import prepared

        folder = context.workspace or model.parent
        graph = Graph(prepared(model, folder))
        names = [node.name for node in graph.nodes]
        for name in self.keep_nodes:
            if name not in names:
                raise unknown_name("node in keep_nodes", name, names)
        if not graph.weighted():
            return model, PassRecord.refused("it has no float layer with weights")
        feeds = Feeds(context, graph.model, self.samples, self.batch, self.name)
        overflowing = self._overflowing(graph, feeds) if self.kind == "fp16" else {}
        kept = list(dict.fromkeys((*self.keep_nodes, *overflowing)))
        if len(kept) >= len(names):
            return model, PassRecord.refused("every operator would overflow")
        made = converted(graph.model, self.kind, kept)
        found = self._compare(graph, made, next(iter(feeds)), context.preprocess.output_name)
        if isinstance(found, str):
            return model, PassRecord.refused(found)
        written = folder / f"{model.stem}.{self.kind}.onnx"
        onnx_file.save(made, written)
        done = {
            "kind": self.kind,
            "calibration_samples": feeds.samples,
            "converted": len(names) - len(kept),
            "kept_in_32_bits": len(kept),
            "signal_to_noise_db": found,
        }
        reasons = {name: f"{value:.3g} is seen there, beyond what fp16 holds" for name, value in overflowing.items()}
        reasons |= dict.fromkeys(self.keep_nodes, "the recipe keeps it in 32 bits")
        return written, PassRecord(done, tuple(Declined(name, reasons[name]) for name in kept))

    def _overflowing(self, graph: Graph, feeds: Any) -> dict[str, float]:
        """Operators that read or give a value beyond the range of fp16, with the largest such value."""
        import numpy as np

        from compress.quantization.post_training.calibration import observe

        values = dict.fromkeys(name for node in graph.nodes for name in (*node.input, *node.output))
        seen = observe(graph, [name for name in values if graph.is_float(name)], feeds)
        largest = {name: self.margin * max(abs(each.low), abs(each.high)) for name, each in seen.items()}
        for name in values:
            constant = graph.constant(name)
            if constant is not None and constant.dtype == np.float32 and constant.size:
                largest[name] = float(np.abs(constant).max())
        found = {}
        for node in graph.nodes:
            most = max((largest.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
            if most > LARGEST_HALF:
                found[node.name] = most
        return found

    def _compare(self, graph: Graph, made: onnx.ModelProto, feed: Mapping[str, Any], output: str) -> float | str:
        """Signal over noise of the converted model's output in decibels, or why it can't be used."""
        import numpy as np

        from compress.onnx_graph.graph import probe, signal_to_noise_db

        (wanted,) = probe(graph.model, [output], [feed])
        try:
            (found,) = probe(made, [output], [feed])
        except ModelError as error:
            return f"the runtime of this machine does not run it in {self.kind} ({error})"
        if not np.isfinite(found[output]).all():
            return f"its output is not finite in {self.kind}"
        return signal_to_noise_db(wanted[output], found[output])
