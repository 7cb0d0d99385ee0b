"""Static quantization of an ONNX file to 8-bit integers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from certify.errors import ModelError
from certify.files import replacing
from certify.suggest import unknown_name
from compress.passes.base import Declined, OnnxPass, PassContext, PassRecord
from compress.passes.global_pool import means_as_pools
from compress.targets import IntegerType, Target, choose

if TYPE_CHECKING:
    import onnx

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights, whose cost is what quantization is for."""


class QuantizeStatic(OnnxPass):
    """Store weights and activations as 8-bit integers, with ranges found on calibration samples.

    Every quantized operator stands between QuantizeLinear and DequantizeLinear (QDQ), which the runtime fuses into
    integer kernels; weights have a scale of their own for each output channel. Residual additions and pooling are
    quantized too, so that nothing between two convolutions goes back to float. The integer types follow the
    target: where the processor adds products into 16 bits (AVX2 without VNNI), weights are held to 7 bits.

    Papers: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018 (arXiv 1712.05877); Krishnamoorthi 2018 (arXiv 1806.08342) for scales by channel;
    Migacz 2017 ("8-bit Inference with TensorRT") for entropy calibration.

    When not to use it: on transformers without keeping LayerNorm, Softmax and GELU in float, on models whose
    activations have rare huge values (try `calibration: percentile`), or for runtimes without integer kernels,
    where the file shrinks and nothing gets faster.
    """

    name: ClassVar[str] = "quantize_static"
    version: ClassVar[int] = 1

    target: Literal["cpu-vnni", "cpu-avx2", "cpu-arm"] | None = Field(
        None, description="Processor that the types are chosen for; by default the one of this machine."
    )
    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        "minmax", description="How the range of an activation follows from the samples."
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="Share of an activation's values inside its range, for percentile; in %."
    )
    samples: int = Field(256, ge=1, le=100_000, description="Calibration samples that are looked at.")
    batch: int = Field(16, ge=1, le=1024, description="Calibration samples in one run of the model.")
    per_channel: bool = Field(True, description="Whether each output channel of a weight has a scale of its own.")
    activation_type: IntegerType | None = Field(
        None, description="Integer type of activations; by default the target's."
    )
    reduce_range: bool | None = Field(
        None, description="Whether weights are held to 7 bits; by default where the target saturates."
    )
    keep_first: bool = Field(False, description="Whether the first layer with weights stays float.")
    keep_last: bool = Field(False, description="Whether the last layer with weights stays float.")
    keep_nodes: tuple[str, ...] = Field((), description="Names of further nodes of the ONNX graph that stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime can't prepare, quantize or load the file.
        """
        import onnx

        target = self._target(context)
        folder = context.workspace or model.parent
        written = folder / f"{model.stem}.int8.onnx"
        with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize.") as scratch:
            prepared = Path(scratch) / "prepared.onnx"
            _prepare(model, prepared)
            loaded = onnx.load(prepared)
            if means_as_pools(loaded):
                onnx.save(loaded, prepared)
            graph = loaded.graph
            kept = self._kept(graph)
            before = _float_compute(graph)
            if not before:
                return model, PassRecord.refused("it has no float layer with weights")
            with replacing(written) as beside:
                self._quantize(prepared, beside, target, kept, context)
                after = _load_checked(beside).graph
        remaining = _float_compute(after)
        done = {
            "target": target.name,
            "why": target.reason,
            "activation_type": target.activation_type,
            "weight_type": target.weight_type,
            "weight_bits": 7 if target.reduce_range else 8,
            "per_channel": self.per_channel,
            "calibration": self.calibration,
            "calibration_samples": min(self.samples, len(context.data.part("calibration", self.name))),
            "quantized": len(before) - len(remaining),
            "kept_float": len(remaining),
            "operators": _count_types(after),
        }
        declined = tuple(
            Declined(name, "the recipe keeps it float" if name in kept else "ONNX Runtime's quantizer leaves it float")
            for name in remaining
        )
        return written, PassRecord(done, declined)

    def _target(self, context: PassContext) -> Target:
        target = context.target if self.target is None else choose(self.target)
        return replace(
            target,
            activation_type=self.activation_type or target.activation_type,
            reduce_range=target.reduce_range if self.reduce_range is None else self.reduce_range,
        )

    def _kept(self, graph: onnx.GraphProto) -> list[str]:
        """Names of the nodes that stay float."""
        names = [node.name for node in graph.node]
        for name in self.keep_nodes:
            if name not in names:
                raise unknown_name("node in keep_nodes", name, names)
        compute = _float_compute(graph)
        ends = compute[:1] * self.keep_first + compute[-1:] * self.keep_last
        return list(dict.fromkeys((*self.keep_nodes, *ends)))

    def _quantize(self, source: Path, written: Path, target: Target, kept: list[str], context: PassContext) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
            "entropy": CalibrationMethod.Entropy,
        }
        types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
        with context.progress.task("Calibrating", self._batches(context)) as bar:
            reader = _reader(self, context, bar.advance)
            try:
                quantize_static(
                    source,
                    written,
                    reader,
                    quant_format=QuantFormat.QDQ,
                    per_channel=self.per_channel,
                    reduce_range=target.reduce_range,
                    activation_type=types[target.activation_type],
                    weight_type=types[target.weight_type],
                    nodes_to_exclude=kept,
                    calibrate_method=methods[self.calibration],
                    # one batch at a time, so that memory does not grow with the number of samples
                    extra_options={"CalibStridedMinMax": 1, "CalibPercentile": self.percentile},
                )
            except _failures() as error:
                raise ModelError(f"ONNX Runtime could not quantize {source.name}: {error}") from error

    def _batches(self, context: PassContext) -> int:
        samples = min(self.samples, len(context.data.part("calibration", self.name)))
        return -(-samples // self.batch)


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime and its quantizer raise on a model that they can't work with."""
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    return (
        states.Fail, states.InvalidArgument, states.InvalidGraph, states.NotImplemented, states.RuntimeException,
        onnx.checker.ValidationError, ValueError, RuntimeError,
    )  # fmt: skip


def _prepare(source: Path, written: Path) -> None:
    """Fold batch norms and constants and infer shapes, which quantization needs."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from certify.graph.load import load_model

    load_model(source)  # a damaged file is refused here, with a clear sentence
    try:
        quant_pre_process(str(source), str(written), skip_symbolic_shape=True)
    except _failures() as error:
        raise ModelError(f"ONNX Runtime could not prepare {source.name} for quantization: {error}") from error


def _load_checked(path: Path) -> onnx.ModelProto:
    """Read the quantized file back, having made sure that the runtime loads it."""
    import onnx
    import onnxruntime

    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except _failures() as error:
        raise ModelError(f"The quantized file does not load in ONNX Runtime: {error}") from error
    return onnx.load(path)


def _float_compute(graph: onnx.GraphProto) -> list[str]:
    """Names of the operators with constant weights that do not come through DequantizeLinear, in graph order."""
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update(node.output)
    return [
        node.name
        for node in graph.node
        if node.op_type in COMPUTE and len(node.input) > 1 and node.input[1] in constants
    ]


def _count_types(graph: onnx.GraphProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def _reader(config: QuantizeStatic, context: PassContext, advance: Any) -> Any:
    """ONNX Runtime's reader over calibration samples, preprocessed by the contract; a seeded choice of them."""
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader

    split = context.data.part("calibration", config.name)
    order = np.random.default_rng(context.seed).permutation(len(split))[: config.samples]
    batches = [order[begin : begin + config.batch] for begin in range(0, len(order), config.batch)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting: Sequence[Any] = batches

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.waiting = batches[start_index:end_index]

        def get_next(self) -> dict[str, Any] | None:
            if not self.waiting:
                return None
            chosen, self.waiting = self.waiting[0], self.waiting[1:]
            advance(1)
            return {context.preprocess.input_name: context.preprocess.batch(split, chosen)}

    return Reader()
