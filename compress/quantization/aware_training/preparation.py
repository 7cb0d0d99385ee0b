"""Conversion of a float network to one with fake quantizers, with initial steps from calibration ranges."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from certify.core.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined
from compress.core.targets import Target
from compress.quantization.aware_training.export import choose_rounding, first_steps
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Rounding
from compress.quantization.aware_training.fake_quantize import FakeQuantize
from compress.quantization.aware_training.folding import fold
from compress.quantization.aware_training.marked_export import MarkedGraph, as_marked, layer_paths, read_marked
from compress.quantization.post_training.calibration import Feeds, ranges
from compress.quantization.post_training.qdq import Operators, QuantizationPlan, observed_names
from compress.quantization.post_training.ranges import Calibration

CALIBRATION_BATCH = 16


@dataclass(frozen=True)
class FakeQuantSettings:
    """Settings of quantization-aware training: what is rounded, and how initial steps are found.

    Attributes:
        pass_name: name of the pass, for errors.
        target: types and kernels.
        operators: operators to quantize.
        per_channel: whether each output channel of a weight has its own step.
        samples: number of calibration samples.
        calibration: method that computes an initial range from them.
        percentile: share of the values inside a range, for ``percentile``.
        learn_zeros: whether zero points are learnt.
        keep_layers: paths of layers that stay float.
        keep_first: whether the first layer stays float.
        keep_last: whether the last layer stays float.
    """

    pass_name: str
    target: Target
    operators: Operators
    per_channel: bool
    samples: int
    calibration: Calibration
    percentile: float
    learn_zeros: bool
    keep_layers: tuple[str, ...]
    keep_first: bool
    keep_last: bool


def fake_quantized(
    settings: FakeQuantSettings,
    network: nn.Module,
    context: PassContext,
    write: Callable[[nn.Module, Path], object],
) -> tuple[FakeQuantModel, MarkedGraph, tuple[Declined, ...]]:
    """Return a network with fake quantizers, its float graph, and what stays float.

    Args:
        settings: settings of the pass.
        network: network in eval mode on the CPU; it becomes a part of the result, with its batch norms folded.
        context: context of the pass.
        write: exports a module to an ONNX file.

    Raises:
        UsageError: there are no calibration samples, or ``keep_layers`` names no layer.
        ModelError: the network cannot be exported.
    """
    target = settings.target
    rounding = Rounding(
        target=target.name,
        activation_type=target.activation_type,
        reduce_range=target.reduce_range,
        per_channel=settings.per_channel,
        operators=settings.operators,
        folded=tuple(fold(network, context.sample(1)).values()),
        learn_zeros=settings.learn_zeros,
    )
    with tempfile.TemporaryDirectory(dir=context.workspace, prefix=".qat.") as scratch:
        path = Path(scratch) / "float.onnx"
        write(as_marked(FakeQuantModel(network, rounding).eval(), context.preprocess), path)
        found = read_marked(path, Path(scratch))
    rounding, chosen, declined = choose_rounding(network, found, rounding, _kept(settings, network, found))
    model = FakeQuantModel(network, rounding).eval()
    if rounding.layers:
        first_steps(model, found, chosen, _ranges(settings, found, chosen, context))
    return model, found, declined


def step_sizes(model: FakeQuantModel) -> dict[str, torch.Tensor]:
    """Return the current steps of all codes by name."""
    found = {name: part for name, part in model.named_modules() if isinstance(part, FakeQuantize)}
    return {name: part.step.detach().cpu().clone() for name, part in found.items()}


def _kept(settings: FakeQuantSettings, network: nn.Module, found: MarkedGraph) -> tuple[str, ...]:
    """Return the paths of the layers that the recipe keeps in floats."""
    paths = layer_paths(network, found)
    for path in settings.keep_layers:
        if path not in paths:
            raise unknown_name("layer in keep_layers", path, paths)
    return (*settings.keep_layers, *paths[:1] * settings.keep_first, *paths[-1:] * settings.keep_last)


def _ranges(
    settings: FakeQuantSettings, found: MarkedGraph, chosen: QuantizationPlan, context: PassContext
) -> dict[str, tuple[float, float]]:
    feeds = Feeds(context, found.graph.model, settings.samples, CALIBRATION_BATCH, settings.pass_name)
    names = observed_names(found.graph, chosen)
    with contextlib.closing(feeds.watched(context.progress, "Calibrating")) as watched:
        return ranges(found.graph, names, watched, settings.calibration, settings.percentile)
