"""Accuracy and agreement of a file in a runtime, from an isolated worker."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import LeanmarkError
from certify.core.statistics.gaps import Bounded
from certify.measure import runtimes
from certify.measure.client import Worker
from certify.measure.model_under_test import session_settings
from peer_bench.job import Array, Job
from peer_bench.making import ERROR, Artifact
from peer_bench.verdicts import Flags, share

ORT = "onnxruntime-cpu"
RUNTIMES = (ORT, "openvino", "openvino-bf16")
EXPECTED_S = 120.0


@dataclass(frozen=True)
class Score:
    """What a file answers on the held-out samples.

    Attributes:
        accuracy: share of right top classes.
        agreement: share of top classes equal to the float file's in ONNX Runtime.
        cosine: mean cosine of the outputs with the float file's.
        least_cosine: least one.
        right: which samples are right, (n,).
        same: which agree, (n,).
    """

    accuracy: Bounded
    agreement: Bounded
    cosine: float
    least_cosine: float
    right: Flags
    same: Flags


def usable() -> dict[str, str | None]:
    """Return for each runtime why it cannot be used here, or None."""
    return {name: runtimes.get(name).unavailable() for name in RUNTIMES}


def runs(artifact: Artifact, runtime: str) -> bool:
    """Return whether a runtime reads a file: only OpenVINO reads its own form."""
    return artifact.file is not None and (runtime != ORT or artifact.file.suffix == ".onnx")


def settings(job: Job, file: Path, runtime: str, threads: int, batch: int) -> dict[str, Any]:
    """Return how a worker opens a file."""
    weights = file.with_suffix(".bin")
    return session_settings(
        runtime, threads, job.inputs, job.output, input_shape=job.shape(batch),
        weights=[weights] if weights.is_file() else [],
    )  # fmt: skip


def outputs(job: Job, artifact: Artifact, runtime: str, threads: int) -> Array | str:
    """Return the outputs for all test samples, (n, classes), or why there are none."""
    if artifact.file is None:
        return artifact.why_not
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "outputs.npy")
        try:
            with Worker(artifact.title, artifact.file, settings(job, artifact.file, runtime, threads, 1)) as worker:
                worker.predict(job.folder / "test.npy", kept, 1, EXPECTED_S)
        except LeanmarkError as error:
            return in_short(error, artifact.file)
        return np.load(kept)


def in_short(error: Exception, file: Path) -> str:
    """Return the beginning of an error without the place of the file, which is temporary."""
    told = str(error).replace(f"{file}: ", "").replace(str(file), file.name)
    return told if len(told) <= ERROR else f"{told[:ERROR]} ..."


def score(found: Array, wanted: Array, labels: Array) -> Score:
    """Compare outputs, (n, classes), with the float file's and with the labels, (n,)."""
    top, flat = found.argmax(1), (found.reshape(len(found), -1), wanted.reshape(len(wanted), -1))
    lengths = np.linalg.norm(flat[0], axis=1) * np.linalg.norm(flat[1], axis=1)
    cosine = (flat[0] * flat[1]).sum(1) / np.maximum(lengths, 1e-12)
    right, same = top == labels, top == wanted.argmax(1)
    return Score(share(right), share(same), float(cosine.mean()), float(cosine.min()), right, same)
