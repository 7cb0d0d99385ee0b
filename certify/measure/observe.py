"""What is recorded once for the guards: graphs, interfaces, inputs, overlap, and the check of a counter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from certify.data.dataset import Dataset, overlap
from certify.estimate import EvidenceLevel
from certify.evidence import Observation, Window
from certify.graph.structure import quantization, zero_channels
from certify.measure.client import Worker
from certify.measure.inputs import InputStatistics
from certify.measure.meters.base import Meter
from certify.measure.subject import Subject, session_settings

MAX_SAVED_BYTES = 1_900_000_000
"""A runtime writes its optimised graph as one protobuf message, which can't pass 2 GB."""


def graphs(subjects: Iterable[Subject], runtime: str, threads: int, folder: Path) -> list[Observation]:
    """Fused quantization, read from the graphs that the runtime makes, and channels of zeros.

    Models that are too large to be written back are left out, so that their guard does not know.
    """
    fused: dict[str, Any] = {}
    zeros: dict[str, Any] = {}
    for subject in subjects:
        model = subject.load()
        found = zero_channels(model)
        zeros[subject.arm] = {"channels": found.channels, "zero": found.zero, "share": found.share}
        if subject.facts.bytes <= MAX_SAVED_BYTES:
            result = quantization(model, _optimised(subject, runtime, threads, folder))
            fused[subject.arm] = {**asdict(result), "unfused": list(result.unfused)}
    return [Observation("quantization", fused), Observation("zero_channels", zeros)]


def _optimised(subject: Subject, runtime: str, threads: int, folder: Path) -> onnx.ModelProto:
    """The graph that the runtime really runs, written by a worker of its own."""
    target = folder / f"{subject.arm}-optimised.onnx"
    contract = subject.preprocess
    settings = session_settings(runtime, threads, contract.input_name, contract.output_name, target)
    with Worker(subject.arm, subject.path, settings):
        pass
    model = onnx.load_model(str(target), load_external_data=False)
    target.unlink()
    return model


def inputs(statistics: InputStatistics) -> Observation:
    """What the windows' inputs look like."""
    return Observation("inputs", asdict(statistics))


def interfaces(subjects: Iterable[Subject], widths: Mapping[str, int], batch: int) -> Observation:
    """Input shape with the batch, number of outputs, and number of outputs that are scored, by arm."""
    return Observation(
        "interfaces",
        {
            subject.arm: {
                "input": list(subject.preprocess.input_shape(batch)),
                "outputs": widths[subject.arm],
                "scored": len(subject.preprocess.class_map or range(widths[subject.arm])),
            }
            for subject in subjects
        },
    )


def parts_overlap(dataset: Dataset) -> Observation:
    """Samples that stand in two parts of the data; None where a part is not there."""
    return Observation("overlap", dict(overlap(dataset)))


def power_check(meter: Meter | None, windows: Iterable[Window]) -> list[Observation]:
    """Joules of a counter beside power that was integrated in the same windows; nothing where not all have both."""
    if meter is None or meter.level is not EvidenceLevel.COUNTER:
        return []
    both = [(window.energy_j, window.reading.get("integrated_j")) for window in windows]
    counter = [energy for energy, _ in both if energy is not None]
    integrated = [energy for _, energy in both if energy is not None]
    if not both or len(counter) < len(both) or len(integrated) < len(both):
        return []
    return [Observation("power_check", {"counter_j": sum(counter), "integrated_j": sum(integrated)})]
