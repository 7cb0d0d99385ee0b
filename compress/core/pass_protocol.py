"""What a pass is: a frozen config that can be applied to a model, and the record of what it did."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from compress.core.context import PassContext

if TYPE_CHECKING:
    from torch import nn

    from compress.models.built import ModelSource

Stage = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Declined:
    """Something that a pass left alone, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class PassRecord:
    """What a pass did to a model.

    Attributes:
        done: what was done, by name; plain JSON values.
        declined: what was left alone. A pass that declines ``the whole model`` returns it unchanged.
    """

    done: Mapping[str, Any] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()

    @classmethod
    def refused(cls, why: str, parts: Iterable[Declined] = ()) -> PassRecord:
        """The record of a pass that could not do anything with the model, and why not with parts of it."""
        return cls({}, (Declined("the whole model", why), *parts))

    @property
    def changed(self) -> bool:
        """False where the whole model was declined."""
        return bool(self.done)

    def to_json(self) -> dict[str, Any]:
        """The two fields of a lineage row."""
        return {"done": dict(self.done), "declined": [{"what": d.what, "why": d.why} for d in self.declined]}


@dataclass(frozen=True)
class PassTags:
    """What the common checks of :mod:`compress.testing` have to know about a pass.

    Attributes:
        quick: parameters that make it quick on a network of a few thousand weights.
        tried_on: network of :mod:`compress.testing.networks` that it has something to do with: ``residual``
            (convolutions with batch norms), ``blocks`` (a sequence of residual blocks), ``idle_taps`` (kernels
            larger than the feature map), ``attention`` (an embedding table, attention and layer norms) or
            ``depthwise`` (blocks of MobileNetV3).
        deterministic: whether it gives the same model twice under one seed; a pass that times candidates does not.
        noisy: whether it hides private data by noise from the system's entropy; it must then give two models under one
            seed, since noise that comes again can be subtracted.
        leaves: names of record files that it leaves in the workspace, without the place in the recipe before them
            (``0-federation.jsonl``); the job brings them beside the lineage.
    """

    quick: Mapping[str, Any] = field(default_factory=dict)
    tried_on: Literal["residual", "blocks", "idle_taps", "attention", "depthwise"] = "residual"
    deterministic: bool = True
    noisy: bool = False
    leaves: tuple[str, ...] = ()


class Pass(BaseModel, abc.ABC):
    """A frozen, versioned config with the one function that applies it.

    The fields of a subclass are its parameters, each with a description and its bounds. The docstring names the
    paper and says when not to use the pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: ClassVar[str]
    """As the table of passes and the recipes name it."""
    version: ClassVar[int]
    """Raised whenever the same config would give another model."""
    stage: ClassVar[Stage]
    """What it works on: an ``nn.Module``, or an ONNX file."""
    tags: ClassVar[PassTags] = PassTags()
    """What the common checks have to know about it."""

    @abc.abstractmethod
    def apply(self, model: Any, context: PassContext) -> tuple[Any, PassRecord]:
        """Give a changed copy of the model, which itself is left as it is.

        Args:
            model: an ``nn.Module`` (stage ``torch``) or the path of an ONNX file (stage ``onnx``).
            context: everything else that the pass may use.

        Returns:
            The new model, of the same kind, and what was done and declined.
        """

    @property
    def brings_data(self) -> bool:
        """Whether it learns from data of its own, which must not hold the job's test samples."""
        return False

    @property
    def asked(self) -> Mapping[str, float]:
        """What it is asked to leave of the original, as shares.

        They are of ``macs``, ``parameters``, ``energy``, ``latency`` or ``bytes``.

        Only what the parameters say by themselves; bytes are those that the bits of a weight ask for.
        """
        return {}

    def config(self) -> dict[str, Any]:
        """Every parameter, defaults included, as JSON values."""
        return self.model_dump(mode="json")


class TorchPass(Pass):
    """A pass over an ``nn.Module``."""

    stage: ClassVar[Stage] = "torch"
    final: ClassVar[bool] = False
    """Whether no other pass can work on the module that comes back."""

    @property
    def trains(self) -> bool:
        """Whether it trains the model, so that a pass before it need not make up for what it removes."""
        return False

    @abc.abstractmethod
    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`; the module that comes back is in eval mode."""

    def source(self, given: ModelSource | None, context: PassContext) -> ModelSource | None:
        """How a fresh model of the architecture that comes back is built: as the given one, for most passes."""
        return given


class OnnxPass(Pass):
    """A pass over an ONNX file; it writes a new one into the context's workspace."""

    stage: ClassVar[Stage] = "onnx"

    @abc.abstractmethod
    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`."""
