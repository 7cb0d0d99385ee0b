"""Quantization-aware training: train the network with the rounding that it ships with."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from certify.core.errors import ModelError
from certify.data import ArrayPreprocess
from compress import exchange, pruning
from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import Declined, PassRecord, PassTags
from compress.quantization import aware_training
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.ranges import Calibration
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn

    from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Rounding

COMPARED = 4
"""Number of samples for comparing the rounded network with its file before training."""


class Qat(IntegerPass, RecoveryTraining):
    """Round weights and activations to 8-bit integers during training, and learn the step sizes.

    Batch norms are first folded into the preceding convolutions with their current statistics. The pass rounds what
    `quantize_static` would round, so the file runs in the same integer kernels: in convolutional networks every value
    between two convolutions, in transformers only the inputs, outputs and weights of linear layers. There is one step
    size per value and one per output channel of a weight. They start from the ranges on calibration samples and are
    trained with the weights, with the original as the teacher. Zero points are fixed unless `learn_zeros` is set. The
    exported file holds exactly the integers that the trained model computes with.

    Papers: Esser et al., "Learned Step Size Quantization", ICLR 2020 (arXiv 1902.08153); Bhalgat et al., "LSQ+",
    2020 (arXiv 2004.09576) for zero points; Jacob et al., CVPR 2018 (arXiv 1712.05877) and Krishnamoorthi 2018 (arXiv
    1806.08342) for batch norms and for what to round.

    When not to use it: where `quantize_static` does not lose accuracy (it needs no training), without train samples, or
    before a pass that changes the structure (prune first, then run this pass; `quantize_static` is not needed then).

    Example:
        >>> Qat(epochs=2).calibration
        'mse'
    """

    name: ClassVar[str] = "qat"
    version: ClassVar[int] = 4
    final: ClassVar[bool] = True
    tags: ClassVar[PassTags] = PassTags(quick={"epochs": 1, "samples": 16, "calibration": "minmax"})

    epochs: int = Field(default=4, ge=1, le=10_000, description="Passes over the train samples.")
    lr: float = Field(default=2e-4, gt=0, le=10, description="Largest learning rate.")
    calibration: Calibration = Field(
        default="mse", description="How the initial range of an activation is computed from samples."
    )
    learn_zeros: bool = Field(
        default=False, description="Whether zero points are learnt, where 0 is not an end of the range."
    )
    keep_layers: tuple[str, ...] = Field(default=(), description="Paths of additional layers that stay float.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model in which nothing can be rounded is returned unchanged, declined.

        Raises:
            UsageError: train, validation or calibration samples are missing, or ``keep_layers`` names no layer.
            ModelError: the model cannot be exported, its file computes something else, or the loss is not finite.
        """
        original = eval_copy(model)
        if isinstance(original, aware_training.FakeQuantModel):
            return original, PassRecord.refused("it is already trained with rounding")
        if isinstance(context.preprocess, ArrayPreprocess) and len(context.preprocess.inputs) > 1:
            return original, PassRecord.refused("the model takes several arrays; use quantize_static instead")
        network = copy.deepcopy(original)
        opened = pruning.loosen(network, context.sample(1))  # projections of attention become layers
        rounded, declined = self._rounded(network, context)
        if not rounded.rounding.layers:
            first = f" ({declined[0].what}: {declined[0].why})" if declined else ""
            return original, PassRecord.refused(f"none of its layers can be rounded{first}")
        # Read the steps before and after, to record how far training moved them from calibration.
        steps = aware_training.step_sizes(rounded)
        trained = self._train(rounded, context, {"label_smoothing": 0.0}, "Training with rounding", context.teacher)
        moved = aware_training.step_sizes(rounded)
        done = {
            **trained.done,
            **_described(rounded.rounding),
            "attentions_opened": len(opened),
            "largest_change_of_a_step": max(float((moved[name] / steps[name] - 1).abs().max()) for name in steps),
        }
        return rounded, PassRecord(done, (*trained.declined, *declined))

    def _rounded(self, network: nn.Module, context: PassContext) -> tuple[FakeQuantModel, tuple[Declined, ...]]:
        """Return the network with its initial steps, and what stays float.

        The network is compared with its file first, so that no training is spent on a model that cannot be exported.
        """
        own = ("pass_name", "target")
        names = (field.name for field in fields(aware_training.FakeQuantSettings) if field.name not in own)
        shared = {name: getattr(self, name) for name in names}
        settings = aware_training.FakeQuantSettings(
            pass_name=self.name, target=self.target_for(context.target), **shared
        )
        rounded, found, declined = aware_training.fake_quantized(
            settings, network, context, lambda marked, path: exchange.write_once(marked, context.preprocess, path)
        )
        if rounded.rounding.layers:
            samples = context.samples(COMPARED)
            parity = exchange.compare_fake_quant(rounded, *aware_training.filled(rounded, found), samples)
            if not parity.holds:
                raise ModelError(f"The rounded model's file disagrees with it before the training: {parity}.")
        return rounded, declined


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
