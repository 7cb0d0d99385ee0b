"""Models by name: torchvision's and timm's classifiers, Hugging Face's folders, and imported factories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certify.core.callables import FORM
from certify.core.errors import ModelError, UsageError
from certify.core.files import sha256_file
from certify.core.progress import Progress, Silent
from compress.core.model_stats import state_digest
from compress.models import hub, huggingface, image_input, timm, torchvision
from compress.models import weights as weight_files
from compress.models.built_model import BuiltModel, ModelSource
from compress.models.factories import names, unknown_model
from compress.models.plain_copy import fold_weights
from compress.models.weight_keys import first_few, matched


def build(
    spec: str,
    classes: int,
    weights: str | Path | None = None,
    class_map: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> BuiltModel:
    """Build a model whose outputs fit the data.

    Outputs whose number differs from that of ``classes`` are kept if ``class_map`` selects the data's classes among
    them; otherwise the classifier's last layer is new and has to be trained. Weights of a factory that do not depend on
    the seed count as loaded: if all are, the model is not trained again; if most are, it is fine-tuned like one with a
    new classifier.

    Args:
        spec: a torchvision name, ``timm:NAME``, ``hf:PATH``, ``hf:ORG/NAME`` or ``ORG/NAME`` (see
            :mod:`compress.models.huggingface`), or ``package.module:factory`` (called with ``num_classes`` if it has
            that parameter).
        classes: number of classes of the data.
        weights: a safetensors file, a torch state dict that loads with ``weights_only``, or one of torchvision's
            names for the weights of this model (``DEFAULT``, ``IMAGENET1K_V2``); None for random ones.
        class_map: output column of an ImageNet classifier for each class of the data.
        seed: seed of random weights.
        progress: where to report downloads.
        arguments: further arguments of the factory, as JSON values.

    Raises:
        UsageError: model or weights are unknown; the nearest name is given.
        ModelError: weights cannot be read or fetched, do not fit, or contain NaN.
    """
    reporter = progress or Silent()
    if huggingface.takes(spec):
        for value, what in ((weights, "weights"), (arguments, "model arguments")):
            if value:
                raise UsageError(f"{spec} contains its own weights and configuration; leave out the {what}.")
        folder = huggingface.find(spec, reporter)
        config = timm.published(folder)
        if config is None:
            return huggingface.build(spec, folder, classes, class_map, seed)
        source = source_of(f"{timm.PREFIX}{config['architecture']}", classes, config.get("model_args"))
        built = _with_weights(spec, source, folder / hub.WEIGHTS, class_map, seed, reporter)
        stated = image_input.of_timm(config["pretrained_cfg"])
        return replace(built, **stated, stated_by="the folder's config.json", digest=sha256_file(folder / hub.WEIGHTS))
    source = source_of(spec, classes, arguments)
    if weights is None:
        model = source.instantiate(seed)
        if not is_architecture(spec):
            return _of_factory(spec, source, model, seed)
        origin = f"random weights, seed {seed}"
        return BuiltModel(model, spec, source, pretrained=False, origin=origin, input_size=_least_size(source))
    return _with_weights(spec, source, weights, class_map, seed, reporter)


def source_of(spec: str, classes: int, arguments: Mapping[str, Any] | None = None) -> ModelSource:
    """Return how to build the model of a name; nothing is imported for ``package.module:factory``.

    Raises:
        UsageError: there is no such name; the error gives the right spelling or the nearest name.
    """
    name, extra = spec.removeprefix(f"{torchvision.FACTORY}:"), arguments or {}
    if name in names():
        return ModelSource(f"{torchvision.FACTORY}:{name}", {**torchvision.arguments(name), **extra}, classes)
    if spec.startswith(timm.PREFIX):
        return ModelSource(timm.FACTORY, {**timm.arguments(spec), **extra}, classes)
    if FORM.fullmatch(spec) and Path(spec.partition(":")[0]).suffix != ".py":
        return ModelSource(spec, dict(extra), classes)
    raise unknown_model(spec)


def is_architecture(spec: str) -> bool:
    """Return whether a name is an architecture of torchvision or timm, without anything of the user's own.

    Raises:
        UsageError: it is not a model; the error gives the right spelling or the nearest name.

    Example:
        >>> is_architecture("resnet18"), is_architecture("nets:make")
        (True, False)
    """
    return not huggingface.takes(spec) and source_of(spec, 0).factory.startswith((torchvision.FACTORY, timm.FACTORY))


def head_of(model: nn.Module, outputs: int) -> str:
    """Return the path of the last linear layer or convolution, which must have ``outputs`` outputs.

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
        raise ModelError(f"The model must end in a layer of {outputs} outputs, one per class, but {found}.")
    return last


def _with_weights(
    spec: str,
    source: ModelSource,
    weights: str | Path,
    class_map: Sequence[int] | None,
    seed: int,
    progress: Progress,
) -> BuiltModel:
    name = source.factory.removeprefix(f"{torchvision.FACTORY}:")
    of_torchvision = source.factory.startswith(f"{torchvision.FACTORY}:")
    loaded = weight_files.load(weights, name if of_torchvision else None, progress)
    if loaded.transforms is not None and name in torchvision.AUXILIARY_HEADS:
        # torchvision's Inception weights expect another normalisation, which these models apply by themselves.
        source = ModelSource(source.factory, {**source.kwargs, "transform_input": True}, source.classes)
    model = source.instantiate(seed, folded=False)
    state, taken = matched(loaded.state, model.state_dict().keys(), loaded.name)
    origin = f"{loaded.origin}, {taken}" if taken else loaded.origin
    state = {k: v for k, v in state.items() if not k.startswith(torchvision.AUXILIARY_HEADS.get(name, ("\0",)))}
    head = _head_if_any(model, source.classes)
    outputs = len(state[f"{head}.weight"]) if f"{head}.weight" in state else source.classes
    mapped = outputs != source.classes and class_map is not None and max(class_map) < outputs
    if mapped:
        source = ModelSource(source.factory, source.kwargs, outputs)
        model = source.instantiate(seed, folded=False)
    new_head = outputs != source.classes
    weight_files.fit(model, state, loaded.name, leave_out=(f"{head}.weight", f"{head}.bias") if new_head else ())
    fold_weights(model)
    stated: dict[str, Any] = {"input_size": _least_size(source)}
    if source.factory == timm.FACTORY:
        stated = timm.preprocessing(source.kwargs["model_name"])
    elif loaded.transforms is not None:
        stated = image_input.of_torchvision(loaded.transforms) | {"stated_by": f"the transforms of {loaded.name}"}
    return BuiltModel(model, spec, source, True, origin, mapped, new_head, **stated)


def _of_factory(spec: str, source: ModelSource, model: nn.Module, seed: int) -> BuiltModel:
    """Distinguish the weights that a factory loads from those that it draws, which depend on the seed.

    A model is pretrained if most of its weight tensors are loaded; the rest is then a new classifier.
    """
    own, other = model.state_dict(), source.instantiate(seed + 1).state_dict()
    drawn = [key for key, value in own.items() if key not in other or not torch.equal(value, other[key])]
    if not drawn:
        origin = "with the weights that its factory loads"
        return BuiltModel(model, spec, source, True, origin, digest=state_digest(model))
    weights = [key for key, value in model.named_parameters() if value.ndim > 1 and not _is_constant(value)]
    loaded = [key for key in weights if key not in drawn]
    if not loaded:
        return BuiltModel(model, spec, source, pretrained=False, origin=f"random weights, seed {seed}")
    places = list(dict.fromkeys(key.rpartition(".")[0] or key for key in drawn))
    pretrained, digest = 2 * len(loaded) > len(weights), state_digest(model)
    origin = f"with weights that its factory loads and random ones in {first_few(places)}, seed {seed}"
    return BuiltModel(
        model, spec, source, pretrained, origin, new_head=pretrained, partly_given=not pretrained, digest=digest
    )


def _is_constant(tensor: torch.Tensor) -> bool:
    """Return whether all values are equal, as initialised by most layers that do not draw them."""
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())


def _head_if_any(model: nn.Module, outputs: int) -> str:
    try:
        return head_of(model, outputs)
    except ModelError:
        return ""


def _width(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _least_size(source: ModelSource) -> tuple[int, int] | None:
    if source.factory == timm.FACTORY:
        return timm.least_size(source.kwargs["model_name"])
    of_torchvision = source.factory.startswith(f"{torchvision.FACTORY}:")
    return torchvision.least_size(source.factory.partition(":")[2]) if of_torchvision else None
