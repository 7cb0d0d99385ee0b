"""Training with rounding: quantization that the network learns to live with."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from certify.errors import ModelError
from certify.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.ranges import Calibration
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn

    from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Rounding
    from compress.quantization.aware_training.marked_export import MarkedGraph
    from compress.quantization.post_training.qdq import Plan

CALIBRATION_BATCH = 16
COMPARED = 4
"""Samples that the rounded network is compared with its file on before the training."""


class Qat(IntegerPass, RecoveryTraining):
    """Round weights and activations to 8-bit integers in training, and learn how large each step of a code is.

    Batch norms are folded into the convolutions before them, with the statistics that they have. What is rounded is
    what `quantize_static` would round, so the file runs in the same integer kernels: in convolutional networks every
    value between two convolutions, in transformers only what linear layers take, give and multiply with. Steps begin
    where the ranges on calibration samples put them, one for each value and one for each output channel of a weight;
    then they are trained with the weights, the original being the teacher. Zero points stay unless `learn_zeros` says
    otherwise. The exported file holds exactly the integers that the trained model computes with.

    Papers: Esser et al., "Learned Step Size Quantization", ICLR 2020 (arXiv 1902.08153); Bhalgat et al., "LSQ+",
    2020 (arXiv 2004.09576) for zero points; Jacob et al., CVPR 2018 (arXiv 1712.05877) and Krishnamoorthi 2018 (arXiv
    1806.08342) for batch norms and for what to round.

    When not to use it: where `quantize_static` loses nothing (it needs no training), without train samples, or before
    a pass that changes the structure (prune first, then train with rounding; `quantize_static` is not needed after).
    """

    name: ClassVar[str] = "qat"
    version: ClassVar[int] = 1
    final: ClassVar[bool] = True

    epochs: int = Field(4, ge=1, le=10_000, description="Passes over the train samples.")
    lr: float = Field(2e-4, gt=0, le=10, description="Largest learning rate.")
    calibration: Calibration = Field("mse", description="How the first range of an activation follows from samples.")
    learn_zeros: bool = Field(False, description="Whether zero points are learnt, where 0 is no end of the range.")
    keep_layers: tuple[str, ...] = Field((), description="Paths of further layers of the model that stay float.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model in which nothing can be rounded comes back unchanged, declined.

        Raises:
            UsageError: there are no train, validation or calibration samples, or ``keep_layers`` names no layer.
            ModelError: the model can't be exported, its file would compute something else, or the loss is not finite.
        """
        from compress.quantization.aware_training.fake_quant_model import FakeQuantModel

        given = copy.deepcopy(model).cpu().eval()
        if isinstance(given, FakeQuantModel):
            return given, PassRecord.refused("it is trained with rounding already")
        rounded, declined, loosened = self._rounded(given, context)
        if not rounded.rounding.layers:
            first = f" ({declined[0].what}: {declined[0].why})" if declined else ""
            return given, PassRecord.refused(f"no layer of it can be rounded{first}")
        steps = _steps(rounded)
        trained = self._train(rounded, context, {"label_smoothing": 0.0}, "Training with rounding", context.teacher)
        moved = [float((after / steps[name] - 1).abs().max()) for name, after in _steps(rounded).items()]
        done = {
            **trained.done,
            **_described(rounded.rounding),
            "attentions_opened": len(loosened),
            "largest_change_of_a_step": max(moved),
        }
        return rounded, PassRecord(done, (*trained.declined, *declined))

    def _rounded(
        self, model: nn.Module, context: PassContext
    ) -> tuple[FakeQuantModel, tuple[Declined, ...], list[str]]:
        """The network with its first steps, what stays float, and attentions that another module stands for.

        It is compared with its file before the training, so that none is spent on what can't be exported.
        """
        from compress.exchange.fake_quant_parity import compare_fake_quant
        from compress.quantization.aware_training.export import choose_rounding, filled, first_steps
        from compress.quantization.aware_training.fake_quant_model import FakeQuantModel

        network, rounding, loosened = self._folded(model, context)
        found = _graph_of(network, rounding, context)
        rounding, chosen, declined = choose_rounding(network, found, rounding, self._kept(network, found))
        rounded = FakeQuantModel(network, rounding).eval()
        if rounding.layers:
            first_steps(rounded, found, chosen, self._ranges(found, chosen, context))
            parity = compare_fake_quant(rounded, *filled(rounded, found), context.sample(COMPARED).numpy())
            if not parity.holds:
                raise ModelError(f"The rounded model's file disagrees with it before the training: {parity}.")
        return rounded, declined, loosened

    def _folded(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, Rounding, list[str]]:
        """The network that is rounded, what is to be said of it, and attentions that another module stands for."""
        from compress.pruning.heads import loosen
        from compress.quantization.aware_training.fake_quant_model import Rounding
        from compress.quantization.aware_training.folding import fold

        network = copy.deepcopy(model)
        sample = context.sample(1)
        loosened = loosen(network, sample)  # their projections become layers
        folded = fold(network, sample)
        target = self._target(context)
        rounding = Rounding(
            target=target.name,
            activation_type=target.activation_type,
            reduce_range=target.reduce_range,
            per_channel=self.per_channel,
            operators=self.operators,
            folded=tuple(folded.values()),
            learn_zeros=self.learn_zeros,
        )
        return network, rounding, loosened

    def _kept(self, network: nn.Module, found: MarkedGraph) -> tuple[str, ...]:
        """Paths of the layers that stay float because the recipe says so."""
        from compress.quantization.aware_training.marked_export import layer_paths

        paths = layer_paths(network, found)
        for path in self.keep_layers:
            if path not in paths:
                raise unknown_name("layer in keep_layers", path, paths)
        return (*self.keep_layers, *paths[:1] * self.keep_first, *paths[-1:] * self.keep_last)

    def _ranges(self, found: MarkedGraph, chosen: Plan, context: PassContext) -> dict[str, tuple[float, float]]:
        from compress.quantization.post_training.calibration import Feeds, ranges
        from compress.quantization.post_training.qdq import observed_names

        feeds = Feeds(context, found.graph.model, self.samples, CALIBRATION_BATCH, self.name)
        names = observed_names(found.graph, chosen)
        watched = feeds.watched(context.progress, "Calibrating")
        return ranges(found.graph, names, watched, self.calibration, self.percentile)


def _graph_of(network: nn.Module, rounding: Rounding, context: PassContext) -> MarkedGraph:
    """The float graph of a network, with places."""
    from compress.exchange.export import write_once
    from compress.quantization.aware_training.fake_quant_model import FakeQuantModel
    from compress.quantization.aware_training.marked_export import as_marked, read_marked

    with tempfile.TemporaryDirectory(dir=context.workspace, prefix=".qat.") as scratch:
        path = Path(scratch) / "float.onnx"
        marked = as_marked(FakeQuantModel(network, rounding).eval(), context.preprocess)
        write_once(marked, context.preprocess, path)
        return read_marked(path, Path(scratch))


def _described(rounding: Rounding) -> dict[str, Any]:
    return {
        "target": rounding.target,
        "activation_type": rounding.activation_type,
        "weight_bits": 7 if rounding.reduce_range else 8,
        "per_channel": rounding.per_channel,
        "folded_batch_norms": len(rounding.folded),
        "rounded_values": len(rounding.sites),
        "rounded_layers": len(rounding.layers),
    }


def _steps(model: FakeQuantModel) -> dict[str, Any]:
    """Steps of all codes by name."""
    from compress.quantization.aware_training.fake_quantize import FakeQuantize

    found = {name: part for name, part in model.named_modules() if isinstance(part, FakeQuantize)}
    return {name: part.step.detach().cpu().clone() for name, part in found.items()}
