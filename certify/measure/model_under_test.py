"""The two files that are measured: what they are, how they are fed, and how their workers are opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.core.errors import MeasureError
from certify.core.evidence import ModelFacts
from certify.core.files import sha256_file
from certify.core.run_observations import SessionFacts
from certify.data.preprocess import Preprocess
from certify.measure.client import Worker
from certify.measure.inputs import input_part
from certify.measure.machine import cores_for
from certify.measure.runtimes import RUNTIMES
from certify.measure.surroundings import neutral, plug_in_folders
from certify.model_file.model_file import ModelFile, kind_of, open_model


@dataclass(frozen=True)
class Subject:
    """One of the two models.

    Attributes:
        arm: ``baseline`` or ``candidate``.
        path: its file, ONNX or exported by torch (``.pt2``).
        preprocess: how it is fed and read.
        facts: what its file says.
        weights: files beside it that hold its weights.
        sha256: hex digest of all bytes of it and of them, a seal included.
        inputs: array file of the samples that its windows go through.
        identities: digests by which its measurements are counted.
        file: what its workers are given in its place, under a name that does not tell the arm.
        file_weights: likewise, in the place of ``weights``.
    """

    arm: str
    path: Path
    preprocess: Preprocess
    facts: ModelFacts
    weights: tuple[Path, ...]
    sha256: str
    inputs: Path
    identities: tuple[str, str]
    file: Path
    file_weights: tuple[Path, ...]


def subject(arm: str, path: Path, preprocess: Preprocess, batch: int, folder: Path) -> Subject:
    """Read the facts of a model and check that it can be fed.

    Raises:
        ModelError: the file can't be read, or takes something else than its preprocessing contract makes.
    """
    with open_model(path) as model:
        model.check_feedable(preprocess, batch)
        facts = _facts(model, preprocess)
        weights = model.weights_files()
        identities = model.identities()
    digest = sha256_file(path, *weights)
    file = neutral(path, weights, kind_of(path).suffix, folder)
    beside = tuple(file.parent / one.resolve().relative_to(path.resolve().parent) for one in weights)
    inputs = file.parent / "inputs.npy"
    return Subject(arm, path, preprocess, facts, weights, digest, inputs, identities, file, beside)


def _facts(model: ModelFile, preprocess: Preprocess) -> ModelFacts:
    counts = model.counts(preprocess)
    return ModelFacts(
        file_digest=model.file_digest(),
        content_digest=model.content_digest(),
        bytes=model.size_bytes(),
        parameters=counts.parameters,
        macs=counts.macs,
        counted_share=counts.counted_share,
        not_counted=counts.not_counted,
        bytes_moved=counts.bytes_moved,
        varying_share=counts.varying_share,
        varying=counts.varying,
        published=model.published(),
    )


def session_settings(
    runtime: str,
    threads: int,
    input_names: Sequence[str],
    output_name: str,
    optimised: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    weights: Sequence[Path] = (),
) -> dict[str, Any]:
    """Arguments of a worker's ``open`` command beside the model."""
    return {
        "runtime": runtime,
        "folders": [] if runtime in RUNTIMES.own else plug_in_folders(RUNTIMES.place(runtime)),
        "threads": threads,
        "cores": list(cores_for(threads)),
        "input_names": list(input_names),
        "output_name": output_name,
        "optimised": None if optimised is None else str(optimised),
        "input_shape": None if input_shape is None else list(input_shape),
        "weights": [str(file.resolve()) for file in weights],
    }


def open_worker(
    model: Subject, runtime: str, threads: int, batch: int, arm: str | None = None, profile: bool = False, turn: int = 0
) -> Worker:
    """Start a worker on a model and give it its inputs.

    Args:
        model: what it runs.
        runtime: adapter.
        threads: intra-op threads.
        batch: samples in one inference.
        arm: name under which its windows are kept, the model's own unless given.
        profile: whether the session notes what every node takes.
        turn: number of the worker among those of its model in a run; each goes through the next part of the inputs.

    Raises:
        MeasureError: the file is not the one whose facts were read.
    """
    contract = model.preprocess
    shape = contract.port_shape(batch)
    settings = session_settings(
        runtime, threads, contract.input_names, contract.output_name, input_shape=shape, weights=model.file_weights
    )
    settings["profile"] = profile
    worker = Worker(arm or model.arm, model.path, settings, file=model.file)
    try:
        if worker.facts["sha256"] != model.sha256:
            raise MeasureError(f"{model.path} was changed while it was being measured; measure it again.")
        worker.inputs(model.inputs, batch, *input_part(model.inputs, batch, turn))
    except BaseException:
        worker.close()
        raise
    return worker


def session_facts(worker: Worker) -> SessionFacts:
    """What a worker's session was really set up with, for the guards."""
    names = ("graph_optimization", "threads", "providers", "spinning", "precision", "pinned", "sha256")
    return SessionFacts(**{name: worker.facts[name] for name in names})
