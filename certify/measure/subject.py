"""The two files that are measured: what they are, how they are fed, and how their workers are opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from certify.certificate.content import content_digest
from certify.certificate.seal import file_digest, unsealed_bytes
from certify.data.preprocess import Preprocess
from certify.errors import MeasureError
from certify.evidence import ModelFacts
from certify.files import sha256_file
from certify.graph.counts import count
from certify.graph.load import check_feedable, load_model, sample_shape
from certify.measure.client import Worker
from certify.measure.machine import cores_for


@dataclass(frozen=True)
class Subject:
    """One of the two models.

    Attributes:
        arm: ``baseline`` or ``candidate``.
        path: its ONNX file.
        preprocess: how it is fed and read.
        facts: what its file says.
        sha256: hex digest of all its bytes, a seal included.
        inputs: array file of the samples that its windows go through.
    """

    arm: str
    path: Path
    preprocess: Preprocess
    facts: ModelFacts
    sha256: str
    inputs: Path

    def load(self) -> onnx.ModelProto:
        """The graph, read again."""
        return load_model(self.path)


def subject(arm: str, path: Path, preprocess: Preprocess, batch: int, folder: Path) -> Subject:
    """Read the facts of a model and check that it can be fed.

    Raises:
        ModelError: the file can't be read, or takes something else than its preprocessing contract makes.
    """
    model = load_model(path)
    check_feedable(model, preprocess, batch)
    counts = count(model, sample_shape(preprocess))
    facts = ModelFacts(
        file_digest=file_digest(path),
        content_digest=content_digest(model, path.parent),
        bytes=unsealed_bytes(path),
        parameters=counts.parameters,
        macs=counts.macs,
        counted_share=counts.counted_share,
        not_counted=counts.not_counted,
    )
    return Subject(arm, path, preprocess, facts, sha256_file(path), folder / f"{arm}-inputs.npy")


def session_settings(
    runtime: str, threads: int, input_name: str, output_name: str, optimised: Path | None = None
) -> dict[str, Any]:
    """Arguments of a worker's ``open`` command beside the model."""
    return {
        "runtime": runtime,
        "threads": threads,
        "cores": list(cores_for(threads)),
        "input_name": input_name,
        "output_name": output_name,
        "optimised": None if optimised is None else str(optimised),
    }


def open_worker(model: Subject, runtime: str, threads: int, batch: int, arm: str | None = None) -> Worker:
    """Start a worker on a model and give it its inputs.

    Args:
        model: what it runs.
        runtime: adapter.
        threads: intra-op threads.
        batch: samples in one inference.
        arm: name under which its windows are kept, the model's own unless given.

    Raises:
        MeasureError: the file is not the one whose facts were read.
    """
    contract = model.preprocess
    settings = session_settings(runtime, threads, contract.input_name, contract.output_name)
    worker = Worker(arm or model.arm, model.path, settings)
    try:
        if worker.facts["sha256"] != model.sha256:
            raise MeasureError(f"{model.path} was changed while it was being measured; measure it again.")
        worker.inputs(model.inputs, batch)
    except BaseException:
        worker.close()
        raise
    return worker


def session_facts(worker: Worker) -> Mapping[str, Any]:
    """What a worker's session was really set up with, for the guards."""
    names = ("graph_optimization", "threads", "providers", "spinning", "pinned", "sha256")
    return {name: worker.facts[name] for name in names}
