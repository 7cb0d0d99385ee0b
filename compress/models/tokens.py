"""Text models, wrapped so that they take one tensor of samples and return logits, like all others."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import Preprocess, TokenInput, TokenPreprocess
from certify.data.tokens import INPUTS


class TokenClassifier(nn.Module):
    """A text classifier that is fed with one tensor.

    Args:
        model: takes some of :data:`certify.data.tokens.INPUTS` by name and returns logits (n, classes), or an object
            with ``logits``.
        takes: description of its input.
    """

    def __init__(self, model: nn.Module, takes: TokenInput) -> None:
        super().__init__()
        self.model, self.takes = model, takes

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of samples (n, inputs, length), or (n, length) for a model with one input."""
        return self.separately(*((samples,) if len(self.takes.names) == 1 else samples.unbind(1)))

    def separately(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the same from one tensor (n, length) per input."""
        return _logits(self.model(**dict(zip(self.takes.names, inputs, strict=True))))


class SentenceClassifier(nn.Module):
    """A linear classifier on the mean of an encoder's tokens, or on the first token.

    Reimers and Gurevych 2019, "Sentence-BERT" (arXiv 1908.10084), section 3.

    Args:
        encoder: returns ``last_hidden_state`` (n, length, width).
        pooling: ``mean`` or ``first``.
        classes: number of outputs.
    """

    main_input_name = "input_ids"

    def __init__(self, encoder: nn.Module, pooling: str, classes: int) -> None:
        super().__init__()
        config: Any = encoder.config
        self.config = config
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # type: ignore[assignment]  # its output is not used
        self.encoder, self.pooling = encoder, pooling
        self.classifier = nn.Linear(config.hidden_size, classes)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits (n, classes)."""
        logits: torch.Tensor = self.classifier(self.embed(input_ids, attention_mask, token_type_ids))
        return logits

    def embed(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the pooled sentence, (n, width)."""
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **segments)
        tokens: torch.Tensor = hidden.last_hidden_state
        if self.pooling == "first":
            return tokens[:, 0]
        counted = attention_mask[:, :, None].to(tokens.dtype)
        # As in sentence-transformers, so that a text of nothing but padding does not divide by 0.
        return (tokens * counted).sum(1) / counted.sum(1).clamp(min=1e-9)


class ImageClassifier(nn.Module):
    """An image classifier that returns logits where the wrapped model returns an object with ``logits``.

    Args:
        model: takes images (n, C, H, W).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        return _logits(self.model(images))


class Separately(nn.Module):
    """A text classifier that is fed with one tensor per input, like the exported file."""

    def __init__(self, classifier: TokenClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        return self.classifier.separately(*inputs)


class TokenAdapter(nn.Module):
    """A text classifier that is fed with samples of more inputs than it takes.

    Args:
        classifier: classifier to feed.
        positions: positions of the inputs that it takes.
    """

    def __init__(self, classifier: TokenClassifier, positions: tuple[int, ...]) -> None:
        super().__init__()
        self.classifier, self.positions = classifier, positions

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        return self.classifier.separately(*(samples[:, position] for position in self.positions))


def as_classifier(model: nn.Module) -> nn.Module:
    """Wrap a model in the style of Hugging Face; return any other model unchanged.

    Raises:
        ModelError: a text model does not state the size of its vocabulary.
    """
    main = getattr(model, "main_input_name", None)
    if main == "input_ids":
        return TokenClassifier(model, _input_of(model))
    return ImageClassifier(model) if main == "pixel_values" else model


def token_input(model: nn.Module) -> TokenInput | None:
    """Return the input description of a wrapped text model; None for all others."""
    return model.takes if isinstance(model, TokenClassifier) else None


def as_exported(model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Return the model with the inputs that the contract names.

    Raises:
        ModelError: it takes other inputs.
    """
    if not isinstance(preprocess, TokenPreprocess):
        return model
    if not isinstance(model, TokenClassifier) or model.takes.names != preprocess.kinds:
        raise _other_inputs(model, preprocess)
    return Separately(model)


def adapt_tokens(model: nn.Module, preprocess: TokenPreprocess) -> nn.Module:
    """Wrap a model so that it accepts samples preprocessed for another model, dropping inputs that it does not take.

    Raises:
        ModelError: it takes inputs that the other does not, or other tokens.
    """
    if not isinstance(model, TokenClassifier) or not set(model.takes.names) <= set(preprocess.kinds):
        raise _other_inputs(model, preprocess)
    takes = model.takes
    if takes.vocabulary != preprocess.vocabulary or preprocess.tokenizer not in (None, takes.tokenizer):
        raise ModelError(
            f"The model was made for a different tokenizer ({takes.vocabulary} tokens; the preprocessing contract has "
            f"{preprocess.vocabulary}); use a model with the same tokenizer."
        )
    return TokenAdapter(model, tuple(preprocess.kinds.index(name) for name in takes.names))


def _other_inputs(model: nn.Module, preprocess: TokenPreprocess) -> ModelError:
    names = ", ".join(model.takes.names) if isinstance(model, TokenClassifier) else "one input and no tokens"
    return ModelError(
        f"The model takes {names}, but the preprocessing contract makes {', '.join(preprocess.kinds)}; adapt the "
        "contract."
    )


def _logits(output: Any) -> torch.Tensor:
    logits: torch.Tensor = output if isinstance(output, torch.Tensor) else output.logits
    return logits


def _input_of(model: nn.Module) -> TokenInput:
    config: Any = getattr(model, "config", None)
    vocabulary = getattr(config, "vocab_size", None)
    if not isinstance(vocabulary, int):
        raise ModelError(f"{type(model).__name__} takes tokens, but its config has no vocab_size; add it.")
    parameters = inspect.signature(model.forward).parameters
    segments = getattr(config, "type_vocab_size", 0)
    # A model without segment embeddings may have the parameter, but ignores it.
    names = tuple(name for name in INPUTS if name in parameters and (name != INPUTS[2] or segments))
    return TokenInput(names, vocabulary, getattr(config, "pad_token_id", None) or 0, _longest(config))


def _longest(config: Any) -> int | None:
    """Return the maximum number of tokens; positions of RoBERTa begin after the padding token."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    behind = "roberta" in getattr(config, "model_type", "") or getattr(config, "model_type", "") == "camembert"
    return positions - (config.pad_token_id + 1) if behind else positions
