"""A built model, and how to rebuild its architecture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from certify.core.callables import FOREIGN_FAILURES
from certify.core.errors import LeanmarkError, ModelError
from certify.data import TokenInput
from certify.data.contract import Interpolation
from compress.models.factories import import_factory
from compress.models.plain_copy import plain
from compress.models.probe import describe_with_place
from compress.models.tokens import as_classifier, token_input


@dataclass(frozen=True)
class ModelSource:
    """How to build a new model of the same architecture.

    Attributes:
        factory: ``package.module:callable``.
        kwargs: its arguments besides the number of classes; JSON values.
        classes: outputs of the classifier.
    """

    factory: str
    kwargs: Mapping[str, Any]
    classes: int

    def instantiate(self, seed: int = 0, *, folded: bool = True) -> nn.Module:
        """Build the model with random weights, in evaluation mode, without changing torch's global generator.

        Args:
            seed: seed of the weights.
            folded: see :func:`compress.models.plain_copy.plain`.

        Raises:
            UsageError: the factory does not exist.
            ModelError: it needs other arguments, fails, or does not return a plain ``nn.Module``.
        """
        function = import_factory(self.factory)
        arguments = dict(self.kwargs)
        if _takes(function, "num_classes"):
            arguments.setdefault("num_classes", self.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._call(function, arguments)
        if not isinstance(model, nn.Module):
            raise ModelError(f"{self.factory} returned a {type(model).__name__}; it must return an nn.Module.")
        return as_classifier(plain(model, folded=folded))

    def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            raise ModelError(
                f"{self.factory} cannot be called with {', '.join(arguments) or 'no arguments'} ({error}); its "
                f"parameters are {inspect.signature(function)}. Give its arguments with --model-args "
                "NAME=VALUE,NAME=VALUE (in Python: model_args)."
            ) from error
        try:
            return function(**arguments)
        except LeanmarkError:
            raise
        except FOREIGN_FAILURES as error:
            raise ModelError(f"{self.factory} failed to build a model ({describe_with_place(error)}).") from error


@dataclass(frozen=True)
class BuiltModel:
    """A model and its origin.

    Attributes:
        model: module in evaluation mode, on the CPU, in float32.
        spec: requested name.
        source: how to rebuild the architecture.
        pretrained: whether it came with weights.
        origin: origin in words, for the certificate.
        uses_class_map: whether it keeps all its outputs, among which the data's class map selects.
        new_head: whether the classifier is new and needs fine-tuning.
        partly_given: whether a few weights, such as embeddings, are loaded although it does not count as pretrained.
        input_size: (H, W) that its weights were trained for; without weights the minimum of the architecture if that is
            more than 32 pixels; None if any size will do.
        resize: shorter side before the centre crop, or ``exact`` for direct resizing to ``input_size``, if stated with
            the weights.
        mean: mean of the input, if stated with the weights (units of 0 to 1, RGB).
        std: standard deviation of the input, likewise.
        interpolation: interpolation of the resizing, if stated with the weights.
        stated_by: source of the statements about the input of these weights, in words; None without one.
        digest: hex SHA-256 of the files that the spec names; None if spec and weights are sufficient.
    """

    model: nn.Module = field(repr=False)
    spec: str
    source: ModelSource
    pretrained: bool
    origin: str
    uses_class_map: bool = False
    new_head: bool = False
    partly_given: bool = False
    input_size: tuple[int, int] | None = None
    resize: int | Literal["exact"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    stated_by: str | None = None
    digest: str | None = None

    @property
    def tokens(self) -> TokenInput | None:
        """Its token input, for a text model; None for images."""
        return token_input(self.model)

    @property
    def needs_training(self) -> bool:
        """Whether it cannot classify the data without training."""
        return self.new_head or not self.pretrained


def _takes(function: Callable[..., Any], argument: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
