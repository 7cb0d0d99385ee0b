"""The models under test: their facts and inputs, and how their workers are opened."""

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
    """One of the measured models.

    Attributes:
        arm: ``baseline`` or ``candidate``.
        path: its file, ONNX or exported by torch (``.pt2``).
        preprocess: its preprocessing contract.
        facts: facts of its file.
        weights: sidecar files with its weights.
        sha256: hex digest of all bytes of the file and its sidecar files, including a seal.
        inputs: array file with the samples of its windows.
        identities: digests by which its measurements are counted.
        file: copy that its workers run, with a name that does not reveal the arm.
        file_weights: sidecar files of ``file``.
    """

    arm: str
    path: Path
    preprocess: Preprocess
    facts: ModelFacts
    weights: tuple[Path, ...]
    sha256: str
    inputs: Path
    identities: tuple[str, ...]
    file: Path
    file_weights: tuple[Path, ...]


def subject(arm: str, path: Path, preprocess: Preprocess, batch: int, folder: Path) -> Subject:
    """Read the facts of a model and check that it can be fed.

    Raises:
        ModelError: the file cannot be read, or its inputs do not match its preprocessing contract.
    """
    with open_model(path) as model:
        model.check_feedable(preprocess, batch)
        facts = _facts(model, preprocess)
        weights = model.weights_files()
        identities = model.identities()
    # All bytes, with a seal: it identifies the file for the worker, not the model for readers.
    digest = sha256_file(path, *weights)
    file = neutral(path, weights, kind_of(path).suffix, folder)
    # Relative to the model, as its external data name their files.
    beside = tuple(file.parent / source.resolve().relative_to(path.resolve().parent) for source in weights)
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
    """Return the arguments of a worker's ``open`` command besides the model."""
    return {
        "runtime": runtime,
        # A worker does not inherit this process's path, so a third-party runtime is imported from its own folder.
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
        model: model to run.
        runtime: name of the runtime.
        threads: intra-op threads.
        batch: number of samples per inference.
        arm: name under which its windows are recorded; default: the model's arm.
        profile: whether the session records the time of every node.
        turn: index of the worker among those of its model in a run; each takes the next part of the inputs.

    Raises:
        MeasureError: the file has changed since its facts were read.
    """
    contract = model.preprocess
    shape = contract.port_shape(batch)
    settings = session_settings(
        runtime, threads, contract.input_names, contract.output_name, input_shape=shape, weights=model.file_weights
    )
    settings["profile"] = profile
    worker = Worker(arm or model.arm, model.path, settings, file=model.file)
    try:
        # The joules belong to the digest in the evidence only if the worker loaded that file.
        if worker.facts["sha256"] != model.sha256:
            raise MeasureError(f"{model.path} was changed during the measurement; measure it again.")
        worker.inputs(model.inputs, batch, *input_part(model.inputs, batch, turn))
    except BaseException:
        worker.close()
        raise
    return worker


def session_facts(worker: Worker) -> SessionFacts:
    """Return the actual settings of a worker's session, for the guards."""
    names = ("graph_optimization", "threads", "providers", "spinning", "precision", "pinned", "sha256")
    return SessionFacts(**{name: worker.facts[name] for name in names})
