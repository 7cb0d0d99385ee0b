"""Pruning of an ONNX file without training: remove units and refit the layers to the original's activations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from compress import pruning
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.pruning.onnx_units.allocation import Scope


class Reconstruct(OnnxPass):
    """Remove units from an ONNX graph and refit the remaining layers, without torch or labels.

    A unit is a value that one layer produces and others read: a channel between two convolutions, with any depthwise
    convolution and gate between them, or a hidden unit of an MLP. Within a layer, units are removed in the order that
    increases the error of the reading layer least once the remaining units compensate (Optimal Brain Surgeon); across
    layers, where the error per saved multiply-add is smallest: the error of the reading layer, or with the scope
    `outputs` that of the outputs, measured with one layer at a time pruned to three errors. Before anything is removed,
    the pass checks that removing units is equivalent to masking them. Channels of residual streams, attention heads and
    anything else that does not match stay, each with the reason.

    The layers are then refitted in two ways, and the one that brings the outputs closer is kept. Either only the layers
    that read removed units are refitted, each on the original's inputs; or all, one by one: the inputs come from the
    pruned graph, in which all earlier layers are refitted already, and the targets from the original, less the shortcut
    where one is added; the refit includes the bias and the remaining rows of the layers that produce the units. How far
    the weights of a layer may move is chosen on samples that took no part in its fit; before a ReLU or a clip, a layer
    is fitted to what lies behind it. Samples come from the train part, without labels, otherwise from calibration; only
    the Gram matrices of a layer are kept, and the positions on which one layer is fitted, in temporary files if these
    are large. If units and refit are chosen on samples of the part that they are fitted to, these join the fit at the
    end. Where the outputs get closer in neither way, the weights stay as cut, and the record says so.

    Papers: Frantar, Kurtic and Alistarh's Optimal Brain Surgeon for structures, as in ZipLM, NeurIPS 2023 (arXiv
    2302.04089); OSSCAR, ICML 2024 (arXiv 2403.12983); GRAIL (arXiv 2602.23795); CORP (arXiv 2602.05243).

    When not to use it: where the torch module is available and can be trained afterwards (`structured_prune` with
    `distill`); below about two thirds of the multiply-adds; after a pass that rounds weights; with fewer than a few
    hundred samples.

    Example:
        >>> Reconstruct(macs=0.8).scope
        'global'
    """

    name: ClassVar[str] = "reconstruct"
    version: ClassVar[int] = 3
    tags: ClassVar[PassTags] = PassTags(quick={"samples": 64}, tried_on="depthwise")

    macs: float = Field(default=0.7, gt=0, lt=1, description="Target MACs as a fraction of the file's.")
    scope: Scope = Field(
        default="global",
        description="Whether units are removed where they cost the reading layer least (global), where they cost the "
        "outputs least, measured with one layer at a time pruned (outputs), or at one ratio in each layer (local).",
    )
    round_to: int | None = Field(
        default=None, ge=1, le=128,
        description="Round the units of a layer to a multiple of this. Default: the vector width of the target's "
        "kernels, at most an eighth of the median layer's units.",
    )  # fmt: skip
    max_ratio: float = Field(default=0.9, gt=0, lt=1, description="Largest share of its units that a layer may lose.")
    samples: int = Field(
        default=1000,
        ge=16,
        le=1_000_000,
        description="Train samples, without labels, for refitting layers.",
    )
    batch: int | None = Field(
        default=None, ge=1, le=1024,
        description="Samples per run of the model. Default: as many as fit into memory, at most 64.",
    )  # fmt: skip
    keep_nodes: tuple[str, ...] = Field(
        default=(), description="ONNX nodes whose units are never removed, as glob patterns (*/head/*)."
    )

    @field_validator("keep_nodes", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value  # recipes hold lists

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        return {"macs": self.macs}

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`. A file that cannot reach the target is returned unchanged, declined.

        Raises:
            UsageError: the data has only test samples.
            ModelError: ONNX Runtime cannot prepare or run the file.
        """
        return pruning.reconstruct_file(pruning.FileSettings(pass_name=self.name, **dict(self)), model, context)
