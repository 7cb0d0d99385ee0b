"""Output of a trial's recipe: files and losses, without the objects that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certify.core.estimate import Estimate
from compress.core import onnx_file


@dataclass(frozen=True)
class TrialOutput:
    """Output of a recipe.

    Attributes:
        model: ONNX file, in normal form.
        baseline: ONNX file of the original, in normal form.
        digest: hex SHA-256 of the model's file.
        size_bytes: size of the model with its external weights.
        macs: multiply-adds for one sample.
        loss: relative loss of accuracy on validation data, in percent.
        size_ratio: its bytes as a ratio of the original's.
        declined: passes that left the model unchanged, with the reason.
    """

    model: Path
    baseline: Path
    digest: str
    size_bytes: int
    macs: int
    loss: Estimate
    size_ratio: Estimate
    declined: Mapping[str, str]

    def contents(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return the files of the original and of the model, by name, model file first, to be measured elsewhere."""
        before, after = (
            {part.name: part.read_bytes() for part in onnx_file.parts(path)} for path in (self.baseline, self.model)
        )
        return before, after
