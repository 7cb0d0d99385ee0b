"""Static quantization of an ONNX file to 8-bit integers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from certify.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, OnnxPass, PassRecord
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.ranges import Calibration

if TYPE_CHECKING:
    import onnx

    from compress.onnx_graph.graph import Graph
    from compress.quantization.post_training.quantizer import Quantizer


class QuantizeStatic(IntegerPass, OnnxPass):
    """Store weights and activations as 8-bit integers, with ranges found on calibration samples.

    Every quantized operator stands between QuantizeLinear and DequantizeLinear (QDQ), which the runtime fuses into
    integer kernels; weights have a scale of their own for each output channel. In convolutional networks residual
    additions and pooling are quantized too, so that nothing between two convolutions goes back to float; in networks
    with LayerNorm or attention only operators with weights are, and LayerNorm, Softmax, GELU and the products of
    attention stay float. The integer types follow the target: where the processor adds products into 16 bits (AVX2
    without VNNI), weights are held to 7 bits, and what would be clipped is simulated and recorded.

    Before rounding, outliers behind a LayerNorm are moved into the weights (SmoothQuant) and neighbouring layers can
    be equalised; after it, biases take back the mean error of the rounded weights. Where validation data shows a loss
    above the budget, the layers that cost most go back to float, as few as will do.

    Papers: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018 (arXiv 1712.05877); Krishnamoorthi 2018 (arXiv 1806.08342) for scales by channel;
    Migacz 2017 ("8-bit Inference with TensorRT") for entropy calibration; Nagel et al. 2019 (arXiv 1906.04721) for
    equalisation and bias correction; Xiao et al. 2022 (arXiv 2211.10438) for SmoothQuant; Pandey et al. 2023
    (arXiv 2302.05397) for the order of the layers.

    When not to use it: for runtimes without integer kernels, where the file shrinks and nothing gets faster; on
    language models whose inputs vary so much that ranges of a few samples mislead (try `quantize_dynamic`); with
    calibration samples that do not look like the data.
    """

    name: ClassVar[str] = "quantize_static"
    version: ClassVar[int] = 3

    calibration: Calibration = Field("minmax", description="How the range of an activation follows from the samples.")
    batch: int = Field(16, ge=1, le=1024, description="Calibration samples in one run of the model.")
    equalize: bool | None = Field(
        None,
        description="Whether neighbouring layers without a ReLU6 between them are equalised; by default where "
        "per_channel is off.",
    )
    smooth: float = Field(
        0.5, ge=0, lt=1,
        description="How much of an outlier behind a LayerNorm moves into weights (alpha), by a multiplication where "
        "a residual addition reads it too; 0 for none.",
    )  # fmt: skip
    correct_bias: bool = Field(True, description="Whether biases take back the mean error of rounded weights.")
    max_loss: float | None = Field(
        None, ge=0, le=100,
        description="Relative loss of validation accuracy, in %, above which layers stay float; by default the budget.",
    )  # fmt: skip
    max_float: float = Field(0.5, ge=0, le=1, description="Largest share of the layers that may stay float for that.")
    keep_nodes: tuple[str, ...] = Field((), description="Names of further nodes of the ONNX graph that stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime can't prepare, quantize, run or load the file.
        """
        from certify.graph.load import load_model
        from compress.onnx_graph import onnx_file
        from compress.onnx_graph.graph import Graph, count_types, session
        from compress.quantization.post_training.prepare import prepared
        from compress.quantization.post_training.quantizer import Quantizer

        target = self._target(context)
        folder = context.workspace or model.parent
        if any(node.op_type == "QuantizeLinear" for node in load_model(model).graph.node):
            return model, PassRecord.refused("its activations are quantized already, and rounding twice only loses")
        graph = Graph(prepared(model, folder))
        before = [node.name for node in graph.weighted()]
        kept = self._kept(graph, before)
        if not before:
            return model, PassRecord.refused("it has no float layer with weights")
        quantizer = Quantizer(self, model, graph, target, context)
        made, budget = self._within_budget(quantizer, kept, before, context)
        written = folder / f"{model.stem}.int8.onnx"
        with onnx_file.replacing(written) as beside:
            onnx_file.save(made, beside)
            session(beside)  # the runtime loads it
        after = Graph(made)
        remaining = [node.name for node in after.weighted()]
        done = {
            "target": target.name,
            "why": target.reason,
            "activation_type": target.activation_type,
            "weight_type": target.weight_type,
            "weight_bits": 7 if target.reduce_range else 8,
            "per_channel": self.per_channel,
            "calibration": self.calibration,
            **quantizer.notes,
            **budget,
            "quantized": len(before) - len(remaining),
            "kept_float": len(remaining),
            "operators": count_types(made.graph),
        }
        if target.saturates:
            done["saturation"] = asdict(quantizer.saturation(after))
        reasons = dict.fromkeys(kept, "the recipe keeps it float")
        reasons |= dict.fromkeys(budget.get("left_float", ()), "the loss on validation data was above the budget")
        why = "ONNX Runtime's quantizer leaves it float"
        left = tuple(Declined(name, reasons.get(name, why)) for name in remaining)
        return written, PassRecord(done, (*quantizer.declined, *left))

    def _kept(self, graph: Graph, weighted: list[str]) -> list[str]:
        """Names of the nodes that stay float because the recipe says so."""
        names = [node.name for node in graph.nodes]
        for name in self.keep_nodes:
            if name not in names:
                raise unknown_name("node in keep_nodes", name, names)
        ends = weighted[:1] * self.keep_first + weighted[-1:] * self.keep_last
        return list(dict.fromkeys((*self.keep_nodes, *ends)))

    def _within_budget(
        self, quantizer: Quantizer, kept: list[str], weighted: list[str], context: PassContext
    ) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """The quantized model, with as many of the worst layers in floats as the budget asks for.

        The second value goes into the record: the loss, and the layers that were left float for it.
        """
        from compress.quantization.post_training.sensitivity import fewest_kept

        made = quantizer.make(kept)
        budget = context.max_loss_percent if self.max_loss is None else self.max_loss
        if budget is None or not context.data.validation:
            return made, {}
        loss = quantizer.loss(made)
        most = int(self.max_float * len(weighted))
        if loss.shown <= budget or most == 0:
            return made, {"validation_loss_percent": loss.value, "within_budget": loss.shown <= budget}
        worst = [name for name in quantizer.worst_first(made) if name not in kept]
        count = fewest_kept(lambda n: quantizer.loss(quantizer.make([*kept, *worst[:n]])).shown, budget, most)
        made = quantizer.make([*kept, *worst[:count]])
        loss = quantizer.loss(made)
        notes = {"validation_loss_percent": loss.value, "within_budget": loss.shown <= budget}
        return made, {**notes, "left_float": worst[:count]}
