"""Measurement of a model in one or several workloads without grading it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import ARMS
from certify.core.evidence_file import write_evidence
from certify.core.files import write_bytes, write_text
from certify.core.progress import Progress
from certify.data import Dataset, Preprocess, load
from certify.data.contract_slot import normalise
from certify.measure.experiment import ALONE, measure
from certify.measure.plan import Plan
from certify.present.label import render
from certify.workflows.profile_result import Profiled, WorkloadProfile

FILES = TABLE, DRAWING, IMAGE = "profile.json", "profile.svg", "profile.png"
IMAGE_WIDTH_PX = 1000


def profile_workloads(
    sources: Sequence[Path],
    contracts: Sequence[Preprocess],
    data: str | Dataset,
    plans: Sequence[Plan],
    out: Path | None,
    progress: Progress,
) -> Profiled:
    """Measure the last of the files in each workload, alone or against the other.

    Args:
        sources: the model alone, or the model to compare with followed by the model.
        contracts: preprocessing contract of each.
        data: data specification, or a data set.
        plans: one per workload.
        out: output folder; None writes nothing. Evidence is written as soon as a workload is done.
        progress: progress display.
    """
    found: list[WorkloadProfile] = []
    edition = load_edition()
    dataset = load(data, seed=plans[0].seed, progress=progress)
    # The splits of these data do not show what a third party's model was trained on.
    dataset = replace(dataset, train=None, calibration=None, validation=None)
    names = [source.name for source in sources]
    origin = ALONE if len(names) == 1 else f"{names[0]}, as given"
    with tempfile.TemporaryDirectory(prefix="leanmark-profile-") as folder:
        models = []
        for arm, source, contract in zip(ARMS[-len(sources) :], sources, contracts, strict=True):
            path = Path(folder, f"{arm}{source.suffix}")
            # Both files get the same format, because otherwise differences in format would be compared too.
            normalise(source, path, contract)
            models.append((path, contract))
        for plan in plans:
            # The answers depend on the runtime and not on the batch, so each runtime is scored once.
            score = plan.runtime not in {earlier.runtime for earlier in plans[: len(found)]}
            evidence = measure(
                models, dataset, plan, edition.plan, baseline_origin=origin, score=score, progress=progress
            )
            found.append(WorkloadProfile(derive(evidence, edition), evidence))
            if out is not None:
                name = f"evidence-{found[-1].runtime}-batch{plan.batch}.jsonl"
                write_evidence(found[-1].evidence, out / name)
    profiled = Profiled(names[-1], names[0] if len(names) > 1 else None, tuple(found))
    if out is not None:
        write_text(out / TABLE, json.dumps(profiled.to_json(), indent=2, allow_nan=False) + "\n")
        write_image(profiled, out / DRAWING)
        write_image(profiled, out / IMAGE)
    return profiled


def write_image(profiled: Profiled, path: Path) -> None:
    """Write the plot as SVG, or as PNG if the path ends in ``.png``."""
    drawing = profiled.plot()
    if path.suffix.lower() == ".png":
        write_bytes(path, render(drawing, IMAGE_WIDTH_PX))
    else:
        write_text(path, drawing)
