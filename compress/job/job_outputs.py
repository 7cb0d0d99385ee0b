"""Facts that a job collects about the original, and the files it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
        logs: records that passes left for statements of their own, by the name that they have in OUT.
    """

    model: Path
    baseline: Path
    checkpoint: Mapping[str, Path]
    origin: str
    baseline_row: BaselineRow
    rows: tuple[Row, ...]
    export: Mapping[str, Any] | None
    logs: Mapping[str, Path] = field(default_factory=dict)


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


def logs_of(passes: Sequence[Pass], where: Callable[[str], Path]) -> dict[str, Path]:
    """Records that passes left in a workspace, by the name that they have in OUT.

    The second of a name gets the place of its pass, so that each keeps its own.

    Args:
        passes: of the recipe.
        where: a file of the workspace lies.
    """
    found: dict[str, Path] = {}
    for place, applied in enumerate(passes):
        for name in applied.tags.leaves:
            path = where(f"{place}-{name}")
            if path.is_file():
                stem, dot, ending = name.partition(".")
                found[f"{stem}-{place}{dot}{ending}" if name in found else name] = path
    return found
