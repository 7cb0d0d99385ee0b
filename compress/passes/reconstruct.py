"""Pruning of an ONNX file without training: units removed, and the layers refitted to the original's activations."""

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
    """Remove units inside of an ONNX graph and refit the layers that are left; neither torch nor labels are needed.

    A unit is what one layer makes and others read: a channel between two convolutions, with its depthwise convolution
    and its gate where they stand between; a hidden number of an MLP. Units go in the order in which the layer that
    reads them misses them least once the others make up for them (Optimal Brain Surgeon), and from where that costs
    least for each multiply-add. That removing them is masking them is tried before anything goes. Channels of residual
    streams, attention heads and whatever else is no such pair stay, each with the reason.

    Then the layers are refitted one by one: inputs from the pruned graph, all earlier layers of which are refitted
    already; targets from the original, at the sum less the shortcut where one is added; with the bias, and with the
    rows that stay of the layers that make the units. Samples are of the train part, without their labels, otherwise of
    calibration; they run once through both graphs, and of each layer only the Gram matrix is kept. Where the outputs do
    not come nearer to the original's, the weights stay as they were cut, and the record says so.

    Papers: Frantar, Kurtic and Alistarh's Optimal Brain Surgeon for structures, as in ZipLM, NeurIPS 2023 (arXiv
    2302.04089); OSSCAR, ICML 2024 (arXiv 2403.12983); GRAIL (arXiv 2602.23795); CORP (arXiv 2602.05243).

    When not to use it: where the torch module is at hand and can be trained afterwards (`structured_prune` with
    `distill`); below about two thirds of the multiply-adds; after a pass that rounds weights, or with fewer than some
    hundred samples.

    Example:
        >>> Reconstruct(macs=0.8).scope
        'global'
    """

    name: ClassVar[str] = "reconstruct"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"samples": 64}, tried_on="depthwise")

    macs: float = Field(default=0.7, gt=0, lt=1, description="Target multiply-adds as a fraction of the file's.")
    scope: Scope = Field(
        default="global", description="Whether units go where they cost least, or each layer loses the same share."
    )
    round_to: int | None = Field(
        default=None, ge=1, le=128,
        description="Units of a layer are a multiple of this; by default what the target's kernels take at a time, "
        "but at most an eighth of the median layer's units.",
    )  # fmt: skip
    max_ratio: float = Field(default=0.9, gt=0, lt=1, description="Largest share of its units that a layer may lose.")
    samples: int = Field(
        default=1000,
        ge=16,
        le=1_000_000,
        description="Train samples, without their labels, that layers are refitted on.",
    )
    batch: int | None = Field(
        default=None, ge=1, le=1024,
        description="Samples in one run of the model; by default as many as fit into memory, up to 64.",
    )  # fmt: skip
    keep_nodes: tuple[str, ...] = Field(
        default=(), description="Nodes of the ONNX graph whose units stay, as glob patterns (*/head/*)."
    )

    @field_validator("keep_nodes", mode="before")
    @classmethod
    def _as_tuple(cls, given: Any) -> Any:
        return tuple(given) if isinstance(given, list) else given  # what a recipe holds is a list

    @property
    def asked(self) -> Mapping[str, float]:
        """See :attr:`Pass.asked`."""
        return {"macs": self.macs}

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`. A file that can't be pruned to the target comes back unchanged, declined.

        Raises:
            UsageError: the data have test samples only.
            ModelError: ONNX Runtime can't prepare or run the file.
        """
        return pruning.reconstruct_file(pruning.FileSettings(asked_by=self.name, **dict(self)), model, context)
