"""What a job finds out of the original, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from compress.job.lineage import BaselineRow, Row


@dataclass(frozen=True)
class JobOutputs:
    """What a job made, all in its workspace.

    Attributes:
        model: ONNX file of the compressed model, in normal form.
        baseline: ONNX file of the original, in normal form.
        checkpoint: files of the torch checkpoint by the name that they have in OUT; empty for an ONNX file.
        origin: where the baseline comes from, in one sentence.
        baseline_row: facts of the original.
        rows: one a pass.
        export: the lineage's object ``export``, or None.
    """

    model: Path
    baseline: Path
    checkpoint: Mapping[str, Path]
    origin: str
    baseline_row: BaselineRow
    rows: tuple[Row, ...]
    export: Mapping[str, Any] | None


@dataclass(frozen=True)
class Baseline:
    """The original as it is compressed: found out once, for all jobs on it.

    Attributes:
        module: with its weights; None for an ONNX file.
        origin: where it comes from, in one sentence.
        row: facts of it.
    """

    module: nn.Module | None
    origin: str
    row: BaselineRow
