"""Observations recorded once per measurement: graphs, interfaces, inputs, overlap, and the check of a counter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.evidence import Observation
from certify.core.observations import ClassNames, Contracts, Interface, NearDuplicates, Overlap, Scored, TargetValues
from certify.core.run_observations import MaskedChannels, NodeCosts, PowerCheck, QuantizedOperators, SessionFacts
from certify.core.surroundings import WorkerSurroundings
from certify.core.windows import Window
from certify.data.constant_answers import constant_answers
from certify.data.dataset import Dataset, overlap
from certify.data.metrics import Metric
from certify.data.near_duplicates import near_duplicates
from certify.measure import runtimes
from certify.measure.client import Worker
from certify.measure.model_under_test import Subject, session_settings
from certify.measure.predictions import Predicted
from certify.measure.runtimes.base import NodeRun, Runtime
from certify.model_file.model_file import ModelFile, open_model
from certify.model_file.onnx_graph.fusion import Quantization

NAMED = 3
"""Number of node names recorded per provider."""


def graphs(subjects: Iterable[Subject], names: Mapping[str, str], threads: int, folder: Path) -> list[Observation]:
    """Record fused quantization, from the runtime's own graphs, and zero channels.

    Quantized models whose graph the runtime does not expose are omitted, which makes their guard unknown; ``names`` are
    the runtimes by arm.
    """
    fused: dict[str, QuantizedOperators] = {}
    zeros: dict[str, MaskedChannels] = {}
    for subject in subjects:
        with open_model(subject.path) as model:
            found = model.zero_channels()
            result = _quantization(model, subject, names[subject.arm], threads, folder)
        zeros[subject.arm] = MaskedChannels(found.channels, found.zero, found.share)
        if result is not None:
            fused[subject.arm] = QuantizedOperators(result.intended, result.fused, list(result.unfused))
    return [Observation.by_arm(QuantizedOperators, fused), Observation.by_arm(MaskedChannels, zeros)]


def _quantization(model: ModelFile, subject: Subject, runtime: str, threads: int, folder: Path) -> Quantization | None:
    """Inspect, in a separate worker, the graph that the runtime really runs."""
    meant = model.quantization(None)
    writes = runtimes.get(runtime).writes_graph
    # Without quantized operators, or if the graph runs as stored, a session would show nothing new.
    if meant.intended == 0 or model.runs_as_stored:
        return meant
    contract = subject.preprocess
    shape = contract.port_shape(1)
    with tempfile.TemporaryDirectory(prefix="optimised-", dir=folder) as place:
        target = Path(place, "optimised.onnx") if writes else None
        settings = session_settings(
            runtime, threads, contract.input_names, contract.output_name, target, shape, subject.file_weights
        )
        with Worker(subject.arm, subject.path, settings, file=subject.file) as worker:
            integer = worker.facts.get("integer_nodes")
        if target is not None:
            return model.quantization(target)
    return None if integer is None else model.quantization(None, integer)


def sessions(
    found: Mapping[str, SessionFacts], costs: Mapping[str, NodeCosts], names: Mapping[str, str]
) -> Observation:
    """Record how the sessions were set up, and on which devices the nodes of each model really ran.

    A session that lists several providers may not use all of them; the profile of its nodes shows which. ``providers``
    then holds the requested one, if it ran anything, and those of other devices; ``elsewhere`` names some nodes on the
    latter. Without a profile no providers are recorded, which makes the guard unknown.

    Args:
        found: actual settings by arm.
        costs: profiles by arm.
        names: runtimes by arm.
    """
    placed = {
        arm: _placed(session, costs.get(arm), runtimes.get(names[arm])).values() for arm, session in found.items()
    }
    observed = {arm: {key: value for key, value in facts.items() if value is not None} for arm, facts in placed.items()}
    return Observation(SessionFacts.NAME, observed)


def surroundings(found: Mapping[str, WorkerSurroundings]) -> Observation:
    """Record the surroundings of the workers of each arm."""
    return Observation.by_arm(WorkerSurroundings, found)


def _placed(session: SessionFacts, costs: NodeCosts | None, runtime: Runtime) -> SessionFacts:
    # With several providers, only the profile shows how the nodes were split between them.
    if len(session.providers or ()) == 1:
        return session
    if costs is None or costs.places is None:
        # Unknown, because a session lists the providers that it may use, not those that it used.
        return replace(session, providers=None)
    places = costs.places
    others = sorted(set(places) - runtime.own_providers)
    requested = [runtime.provider] if len(others) < len(places) else []
    elsewhere = [name for other in others for name in places[other]["names"]]
    return replace(session, providers=[*requested, *others], elsewhere=elsewhere)


def places(nodes: Iterable[NodeRun]) -> dict[str, Any]:
    """Count the nodes that each provider ran, and name some; nodes that only compute sizes and indices are excluded."""
    found: dict[str, Any] = {}
    for node in nodes:
        if not node.shapes_only:
            place = found.setdefault(node.provider, {"nodes": 0, "names": []})
            place["nodes"] += 1
            place["names"] = [*place["names"], node.name][:NAMED]
    return found


def interfaces(subjects: Iterable[Subject], widths: Mapping[str, int], batch: int) -> Observation:
    """Record by arm input shapes with the batch, output width, number of scored columns, and all outputs."""
    faces = {}
    for subject in subjects:
        contract, width = subject.preprocess, widths[subject.arm]
        scored = len(contract.class_map or range(width))
        shape, outputs = list(contract.port_shape(batch)), _graph_outputs(subject.path)
        faces[subject.arm] = Interface(shape, width, scored, outputs)
    return Observation.by_arm(Interface, faces)


def contracts(subjects: Iterable[Subject], declared: str | None) -> Observation:
    """Record the preprocessing contracts of both models, and the maker's reason if they differ."""
    baseline, candidate = (subject.preprocess.to_json() for subject in subjects)
    return Observation.of(Contracts(baseline, candidate, declared))


def _graph_outputs(path: Path) -> int:
    with open_model(path) as model:
        return model.graph_outputs()


def data(dataset: Dataset) -> list[Observation]:
    """Record duplicates and near duplicates between parts of the data (None for a missing part), and class names."""
    near = near_duplicates(dataset)
    return [
        Observation.of(Overlap(overlap(dataset))),
        *([Observation.by_arm(NearDuplicates, near)] if near else []),
        Observation.of(ClassNames(list(dataset.classes))),
    ]


def scored(dataset: Dataset, predicted: Mapping[str, Predicted]) -> Iterator[Observation]:
    """Record how many distinct test samples a single model got right; nothing if they were not scored."""
    # Reversed, so that the first of equal samples is kept, as in Evidence.samples.
    first = {digest: i for i, digest in reversed(list(enumerate(dataset.test.digests())))}
    different = sorted(first.values())
    for found in predicted.values():
        correct = int((found.top1 == dataset.test.labels)[different].sum())
        yield Observation.of(Scored(correct, len(different)))


def constants(dataset: Dataset, metric: Metric, predicted: Mapping[str, Predicted]) -> list[Observation]:
    """Record the scores of constant answers by a third-party metric, and the numeric targets."""
    if dataset.test.targets is not None:
        return [Observation.of(TargetValues(dataset.test.targets.values.tolist()))]
    if metric.code is None:
        return []
    answers = {arm: found.answers for arm, found in predicted.items()}
    return [Observation.of(constant_answers(metric, answers, dataset.test.labels, len(dataset.classes)))]


def power_check(windows: Iterable[Window]) -> list[Observation]:
    """Record counter joules and integrated power of the same windows; nothing unless all have both."""
    names = ("counter_j", "integrated_j")
    readings = [window.reading for window in windows]
    if not readings or not all(name in reading for reading in readings for name in names):
        return []
    return [Observation.of(PowerCheck(*(sum(reading[name] for reading in readings) for name in names)))]
