"""A built model, and how a fresh one of the same architecture is built again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import TokenInput
from certify.data.contract import Interpolation
from compress.core.foreign_code import MODEL_FAILURES
from compress.models.factories import import_factory
from compress.models.plain import plain
from compress.models.probe import describe_with_place
from compress.models.tokens import as_classifier, token_input


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

    def instantiate(self, seed: int = 0, *, folded: bool = True) -> nn.Module:
        """Build the model with random weights, in evaluation mode; torch's global generator is left as it was.

        Args:
            seed: of the weights.
            folded: see :func:`compress.models.plain.plain`.

        Raises:
            UsageError: the factory does not exist.
            ModelError: it needs other arguments, fails, or gives something else than a plain ``nn.Module``.
        """
        function = import_factory(self.factory)
        arguments = dict(self.kwargs)
        if _takes(function, "num_classes"):
            arguments.setdefault("num_classes", self.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._call(function, arguments)
        if not isinstance(model, nn.Module):
            raise ModelError(f"{self.factory} gave a {type(model).__name__}; a model factory returns an nn.Module.")
        return as_classifier(plain(model, folded=folded))

    def _call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            raise ModelError(
                f"{self.factory} was called with {', '.join(arguments) or 'no arguments'}, and that does not fit "
                f"({error}); its parameters are {inspect.signature(function)}. State what it needs with --model-args "
                "NAME=VALUE,NAME=VALUE, in Python model_args."
            ) from error
        try:
            return function(**arguments)
        except MODEL_FAILURES as error:
            raise ModelError(f"{self.factory} gives no model ({describe_with_place(error)}).") from error


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
        resize: shorter side before the centre crop, or ``exact`` for straight to ``input_size``, if the weights state
            it.
        mean: of the input, if the weights state it (units of 0 to 1, RGB).
        std: of the input, likewise.
        interpolation: of the resizing, if the weights state it.
        stated_by: who says what the input of these very weights is, in words; None where nobody does.
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
    resize: int | Literal["exact"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    stated_by: str | None = None
    digest: str | None = None

    @property
    def tokens(self) -> TokenInput | None:
        """What it says of its input where it takes text; None for images."""
        return token_input(self.model)

    @property
    def needs_training(self) -> bool:
        """Whether it can't classify the data as it is."""
        return self.new_head or not self.pretrained


def _takes(function: Callable[..., Any], argument: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
