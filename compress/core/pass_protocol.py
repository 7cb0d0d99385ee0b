"""The pass protocol: a frozen config that can be applied to a model, and the record of what it did."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from compress.core.context import PassContext
from compress.core.further_data import FurtherData

if TYPE_CHECKING:
    from torch import nn

    from certify.data import Dataset
    from compress.models.built_model import ModelSource

Stage = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Declined:
    """Something that a pass left unchanged, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class PassRecord:
    """Record of what a pass did to a model.

    Attributes:
        done: what was done, by name; plain JSON values.
        declined: what was left unchanged. A pass that declines ``the whole model`` returns it unchanged.
    """

    done: Mapping[str, Any] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()

    @classmethod
    def refused(cls, why: str, parts: Iterable[Declined] = ()) -> PassRecord:
        """Return the record of a pass that left the whole model unchanged, and reasons for its parts."""
        return cls({}, (Declined("the whole model", why), *parts))

    @property
    def changed(self) -> bool:
        """False if the whole model was declined."""
        return bool(self.done)

    def to_json(self) -> dict[str, Any]:
        """Return the two fields of a lineage row."""
        return {"done": dict(self.done), "declined": [{"what": d.what, "why": d.why} for d in self.declined]}


@dataclass(frozen=True)
class PassTags:
    """Properties of a pass for the common checks of :mod:`compress.testing`.

    Attributes:
        quick: parameters that make it quick on a network of a few thousand weights.
        tried_on: network of :mod:`compress.testing.networks` to which it applies: ``residual`` (convolutions with batch
            norms), ``blocks`` (a sequence of residual blocks), ``idle_taps`` (kernels larger than the feature map),
            ``attention`` (an embedding table, attention and layer norms) or ``depthwise`` (MobileNetV3 blocks).
        deterministic: whether one seed gives the same model twice; not for a pass that times candidates.
        noisy: whether it protects private data by noise from the system's entropy; it must then give two different
            models under one seed, since repeated noise could be subtracted.
        measures: whether it measures the model in the runtime of the job, if the job measures at all.
        leaves: names of record files that it writes to the workspace, without the prefix of its place in the recipe
            (``0-federation.jsonl``); the job copies them next to the lineage.
    """

    quick: Mapping[str, Any] = field(default_factory=dict)
    tried_on: Literal["residual", "blocks", "idle_taps", "attention", "depthwise"] = "residual"
    deterministic: bool = True
    noisy: bool = False
    measures: bool = False
    leaves: tuple[str, ...] = ()


class Pass(BaseModel, abc.ABC):
    """A frozen, versioned config with the function that applies it.

    The fields of a subclass are its parameters, each with a description and bounds. The docstring names the paper and
    says when not to use the pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: ClassVar[str]
    """Name in the table of passes and in recipes."""
    version: ClassVar[int]
    """Incremented whenever the same config would produce another model."""
    stage: ClassVar[Stage]
    """Kind of model: an ``nn.Module``, or an ONNX file."""
    tags: ClassVar[PassTags] = PassTags()
    """Properties for the common checks."""

    @abc.abstractmethod
    def apply(self, model: Any, context: PassContext) -> tuple[Any, PassRecord]:
        """Return a changed copy of the model, which itself is not modified.

        Args:
            model: an ``nn.Module`` (stage ``torch``) or the path of an ONNX file (stage ``onnx``).
            context: everything else that the pass may use.

        Returns:
            The new model, of the same kind, and the record of what was done and declined.
        """

    def require_data(self, dataset: Dataset) -> None:
        """Reject data that the pass cannot work with, before a job begins; only identifiers are read.

        Raises:
            UsageError: the parameters do not fit the data.
        """
        return

    @property
    def further_data(self) -> FurtherData | None:
        """Data of its own that it trains on, with the parts of the job's data that they must be apart from."""
        return None

    @property
    def goals(self) -> Mapping[str, float]:
        """Targets as shares of the original's ``macs``, ``parameters``, ``energy``, ``latency`` or ``bytes``.

        Only targets that follow from the parameters alone; bytes follow from the bits per weight.
        """
        return {}

    def config(self) -> dict[str, Any]:
        """Return every parameter, including defaults, as JSON values."""
        return self.model_dump(mode="json")


class TorchPass(Pass):
    """A pass on an ``nn.Module``."""

    stage: ClassVar[Stage] = "torch"
    final: ClassVar[bool] = False
    """Whether no other torch pass can work on the resulting module."""

    @property
    def trains(self) -> bool:
        """Whether it trains the model, so that an earlier pass need not compensate for what it removes."""
        return False

    @abc.abstractmethod
    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`; the returned module is in eval mode."""

    def source(self, current: ModelSource | None, context: PassContext) -> ModelSource | None:
        """Return how to rebuild the resulting architecture; for most passes, the same as the current one."""
        return current


class OnnxPass(Pass):
    """A pass on an ONNX file; it writes a new file into the context's workspace."""

    stage: ClassVar[Stage] = "onnx"

    @abc.abstractmethod
    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`."""
