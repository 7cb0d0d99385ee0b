"""Models by name: torchvision's classifiers, and any factory that Python can import."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from certify.callables import FORM, import_callable
from certify.data import ImagePreprocess, Preprocess, TokenInput, TokenPreprocess
from certify.errors import ModelError, UsageError
from certify.progress import Progress, Silent
from certify.suggest import unknown_name
from compress.models import timm as timm_models
from compress.models import weights as weight_files
from compress.models.tokens import as_classifier, refed_tokens, token_input

TORCHVISION = "torchvision.models"
FOLDER = "hf:"
LIST_HINT = "List them with: leanmark models"
ALWAYS_FITS = 32
"""Pixels; data sets are enlarged to at least this, so only nets that need more have to say so."""

AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Heads that only help the training of the two nets that have them; never built, left out of weights."""


@dataclass(frozen=True)
class ModelSource:
    """How a fresh model of the same architecture is built again.

    Attributes:
        factory: ``package.module:callable``.
        kwargs: what it is called with beside the number of classes; JSON values.
        classes: outputs of the classifier.
    """

    factory: str
    kwargs: Mapping[str, Any]
    classes: int

    def instantiate(self, seed: int = 0) -> nn.Module:
        """Build the model with random weights; torch's global generator is left as it was.

        Raises:
            UsageError: the factory does not exist.
            ModelError: it gave no ``nn.Module``.
        """
        function = import_factory(self.factory)
        arguments = dict(self.kwargs)
        if _takes(function, "num_classes"):
            arguments["num_classes"] = self.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = function(**arguments)
        if not isinstance(model, nn.Module):
            raise ModelError(f"{self.factory} gave a {type(model).__name__}; a model factory returns an nn.Module.")
        return as_classifier(model)


@dataclass(frozen=True)
class BuiltModel:
    """A model and where it comes from.

    Attributes:
        model: in evaluation mode, on the CPU, float32.
        spec: the name that was asked for.
        source: builds the architecture again.
        pretrained: whether it came with weights.
        origin: in words, for the certificate.
        uses_class_map: whether it keeps its many outputs and the data's class map picks among them.
        new_head: whether the classifier was replaced, so that it has to be fine-tuned.
        input_size: (H, W) that its weights were trained for; without weights the least that the architecture takes
            where that is more than 32 pixels; None where any will do.
        resize: shorter side before the centre crop, if the weights state it.
        mean: of the input, if the weights state it (units of 0 to 1, RGB).
        std: of the input, likewise.
        interpolation: of the resizing, if the weights state it.
        digest: hex SHA-256 of the files that the spec names; None where the spec and the weights say all.
    """

    model: nn.Module = field(repr=False)
    spec: str
    source: ModelSource
    pretrained: bool
    origin: str
    uses_class_map: bool = False
    new_head: bool = False
    input_size: tuple[int, int] | None = None
    resize: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    digest: str | None = None

    @property
    def tokens(self) -> TokenInput | None:
        """What it says of its input where it takes text; None for pictures."""
        return token_input(self.model)

    @property
    def needs_training(self) -> bool:
        """Whether it can't classify the data as it is."""
        return self.new_head or not self.pretrained


def names(pattern: str | None = None) -> list[str]:
    """Every torchvision classification model; those of timm where the pattern begins with ``timm:``.

    Args:
        pattern: a part of the name, or a shell pattern (``*``, ``?``, ``[...]``); None for all.
    """
    of_timm = pattern is not None and pattern.startswith(timm_models.PREFIX)
    known = timm_models.names() if of_timm else sorted(torchvision.models.list_models(module=torchvision.models))
    if pattern is None:
        return known
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [name for name in known if fnmatch.fnmatch(name, pattern.lower())]


def build(
    spec: str,
    classes: int,
    weights: str | Path | None = None,
    class_map: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> BuiltModel:
    """Build a model whose outputs follow the data.

    Weights whose number of outputs is not ``classes`` keep them where ``class_map`` picks the data's classes among
    them; otherwise the classifier's last layer is new and has to be trained.

    Args:
        spec: a torchvision name, ``timm:NAME``, ``hf:PATH`` (see :mod:`compress.models.huggingface`), or
            ``package.module:factory`` (called with ``num_classes`` if it takes that).
        classes: of the data.
        weights: a safetensors file, a torch state dict that loads with ``weights_only``, or one of torchvision's
            names for the weights of this model (``DEFAULT``, ``IMAGENET1K_V2``); None for random ones.
        class_map: output column of an ImageNet classifier for each class of the data.
        seed: of random weights.
        progress: where a download says how far it is.

    Raises:
        UsageError: an unknown model or unknown weights; the nearest is named.
        ModelError: weights that can't be read or fetched, do not fit, or hold NaN.
    """
    if spec.startswith(FOLDER):
        from compress.models import huggingface  # built on this module

        if weights is not None:
            raise UsageError(f"{spec} holds its own weights; leave WEIGHTS out.")
        return huggingface.build(spec, classes, class_map, seed)
    name = spec.removeprefix(f"{TORCHVISION}:")
    if name in names():
        source = ModelSource(f"{TORCHVISION}:{name}", _torchvision_arguments(name), classes)
    elif spec.startswith(timm_models.PREFIX):
        source = ModelSource(timm_models.FACTORY, timm_models.arguments(spec), classes)
    elif FORM.fullmatch(spec):
        source = ModelSource(spec, {}, classes)
    else:
        raise unknown_name("model", spec, names(), LIST_HINT)
    if weights is None:
        model = source.instantiate(seed).eval()
        origin = f"random weights, seed {seed}"
        return BuiltModel(model, spec, source, pretrained=False, origin=origin, input_size=_least_size(source))
    return _with_weights(spec, source, weights, class_map, seed, progress or Silent())


def import_factory(factory: str) -> Callable[..., Any]:
    """Import ``package.module:callable``; see :func:`certify.callables.import_callable`."""
    return import_callable(factory, "model", names(), LIST_HINT)


class Refed(nn.Module):
    """A model that is fed with pictures made ready for another: they are scaled, and resized, as its own would be.

    Args:
        model: to be fed.
        scale: factor of each channel, (C,).
        shift: added to each channel, (C,).
        size: (H, W) that it takes, or None for any.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self, model: nn.Module, scale: torch.Tensor, shift: torch.Tensor, size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits of the model: (n, outputs)."""
        pictures = pictures * self.scale + self.shift
        if self.size is not None and pictures.shape[2:] != self.size:
            pictures = F.interpolate(pictures, self.size, mode="bilinear", antialias=True)
        logits: torch.Tensor = self.model(pictures)
        return logits


def fed_as(built: BuiltModel, preprocess: Preprocess) -> nn.Module:
    """The model, in evaluation mode, taking samples that were made ready by the contract of another.

    Raises:
        ModelError: one takes pictures and the other tokens, or other tokens.
    """
    if isinstance(preprocess, TokenPreprocess):
        return refed_tokens(built.model, preprocess).eval()
    if built.tokens is not None or not isinstance(preprocess, ImagePreprocess):
        raise ModelError(f"{built.spec} takes tokens and the preprocessing contract makes pictures; give another.")
    std, mean = (torch.tensor(values) for values in (preprocess.std, preprocess.mean))
    own_std, own_mean = torch.tensor(built.std or preprocess.std), torch.tensor(built.mean or preprocess.mean)
    return Refed(built.model, std / own_std, (mean - own_mean) / own_std, built.input_size).eval()


def head_of(model: nn.Module, outputs: int) -> str:
    """Path of the classifier's last layer: the last linear layer or convolution, which must have ``outputs`` outputs.

    Raises:
        ModelError: the model does not end in such a layer.
    """
    last = ""
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            last = path
    width = _width(model.get_submodule(last)) if last else None
    if width != outputs:
        found = f"its last layer '{last}' has {width} outputs" if last else "it has no linear layer or convolution"
        raise ModelError(f"The model should end in a layer of {outputs} outputs, one a class, and {found}.")
    return last


def _with_weights(
    spec: str,
    source: ModelSource,
    weights: str | Path,
    class_map: Sequence[int] | None,
    seed: int,
    progress: Progress,
) -> BuiltModel:
    name = source.factory.removeprefix(f"{TORCHVISION}:")
    of_torchvision = source.factory.startswith(f"{TORCHVISION}:")
    loaded = weight_files.load(weights, name if of_torchvision else None, progress)
    if loaded.transforms is not None and name in AUXILIARY_HEADS:
        source = ModelSource(source.factory, {**source.kwargs, "transform_input": True}, source.classes)
    state = {k: v for k, v in loaded.state.items() if not k.startswith(AUXILIARY_HEADS.get(name, ("\0",)))}

    model = source.instantiate(seed).eval()
    head = _head_if_any(model, source.classes)
    outputs = len(state[f"{head}.weight"]) if f"{head}.weight" in state else source.classes
    mapped = outputs != source.classes and class_map is not None and max(class_map) < outputs
    if mapped:
        source = ModelSource(source.factory, source.kwargs, outputs)
        model = source.instantiate(seed).eval()
    new_head = outputs != source.classes
    weight_files.fit(model, state, loaded.name, leave_out=(f"{head}.weight", f"{head}.bias") if new_head else ())
    of_timm = source.factory == timm_models.FACTORY
    stated = timm_models.preprocessing(source.kwargs["model_name"]) if of_timm else _stated(loaded.transforms)
    stated.setdefault("input_size", _least_size(source))
    return BuiltModel(model, spec, source, True, loaded.origin, mapped, new_head, **stated)


def _head_if_any(model: nn.Module, outputs: int) -> str:
    try:
        return head_of(model, outputs)
    except ModelError:
        return ""


def _width(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _takes(function: Callable[..., Any], argument: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _torchvision_arguments(name: str) -> dict[str, Any]:
    return {"aux_logits": False, "init_weights": True} if name in AUXILIARY_HEADS else {}


def _least_size(source: ModelSource) -> tuple[int, int] | None:
    if source.factory == timm_models.FACTORY:
        return timm_models.least_size(source.kwargs["model_name"])
    if not source.factory.startswith(f"{TORCHVISION}:"):
        return None
    stated = torchvision.models.get_model_weights(source.factory.partition(":")[2])
    height, width = min(weights.meta["min_size"] for weights in stated)
    return (height, width) if max(height, width) > ALWAYS_FITS else None


def _stated(transforms: Any) -> dict[str, Any]:
    """What the evaluation transforms of torchvision's weights say about the input."""
    if transforms is None:
        return {}
    return {
        "input_size": (transforms.crop_size[0], transforms.crop_size[0]),
        "resize": transforms.resize_size[0],
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
        "interpolation": transforms.interpolation.value,
    }
