"""Facts that a job collects about the original, and the files it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from compress.core.pass_protocol import Pass
from compress.job.lineage import BaselineRow, Row


@dataclass(frozen=True)
class JobOutputs:
    """Outputs of a job, all in its workspace.

    Attributes:
        model: ONNX file of the compressed model, in normal form.
        baseline: ONNX file of the original, in normal form.
        checkpoint: files of the torch checkpoint by their names in OUT; empty for an ONNX file.
        origin: origin of the baseline, in one sentence.
        baseline_row: facts about the original.
        rows: one row per pass.
        export: the lineage's object ``export``, or None.
        logs: logs of federated passes, in order.
    """

    model: Path
    baseline: Path
    checkpoint: Mapping[str, Path]
    origin: str
    baseline_row: BaselineRow
    rows: tuple[Row, ...]
    export: Mapping[str, Any] | None
    logs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """The original as it is compressed: computed once, for all jobs on it.

    Attributes:
        module: module with its weights; None for an ONNX file.
        origin: origin, in one sentence.
        row: facts about it.
    """

    module: nn.Module | None
    origin: str
    row: BaselineRow


def logs_of(passes: Sequence[Pass], where: Callable[[str], Path]) -> tuple[bytes, ...]:
    """Return the contents of the logs that passes wrote to a workspace, in the order of the passes.

    Args:
        passes: passes of the recipe.
        where: function that returns the path of a file in the workspace.
    """
    paths = [where(f"{place}-{name}") for place, applied in enumerate(passes) for name in applied.tags.leaves]
    return tuple(path.read_bytes() for path in paths if path.is_file())
