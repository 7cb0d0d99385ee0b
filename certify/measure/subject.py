"""The two files that are measured: what they are, how they are fed, and how their workers are opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from certify.core.errors import MeasureError
from certify.core.evidence import ModelFacts
from certify.core.files import sha256_file
from certify.data.preprocess import Preprocess
from certify.measure.client import Worker
from certify.measure.machine import cores_for
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.external_data import SMALL_BYTES, external_files, inline_external
from certify.model_file.onnx_file.seal import file_digest
from certify.model_file.onnx_file.weights_file import whole_bytes
from certify.model_file.onnx_graph.counts import Counts, count
from certify.model_file.onnx_graph.fusion import Quantization, fused_quantization, quantization
from certify.model_file.onnx_graph.load import check_feedable, load_model, sample_shape
from certify.model_file.onnx_graph.zero_channels import ZeroChannels, zero_channels
from certify.model_file.pt2 import archive as exported
from certify.model_file.pt2 import facts as exported_facts
from certify.model_file.pt2 import weights as exported_weights


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
    """

    arm: str
    path: Path
    preprocess: Preprocess
    facts: ModelFacts
    weights: tuple[Path, ...]
    sha256: str
    inputs: Path

    def zero_channels(self) -> ZeroChannels:
        """Channels of zeros in its file, which is read again."""
        if file_kind(self.path) == exported.SUFFIX:
            return exported_weights.exported_zero_channels(exported.read_exported(self.path))
        return zero_channels(_light_model(self.path), self.path.parent)

    def graph_outputs(self) -> int:
        """Number of all outputs of its graph; a runtime computes those too that nobody reads."""
        if file_kind(self.path) == exported.SUFFIX:
            return len(exported_facts.output_names(exported.read_exported(self.path)))
        return len(onnx.load_model(str(self.path), load_external_data=False).graph.output)

    def quantization(self, optimised: onnx.ModelProto | None, integer: Sequence[Collection[str]]) -> Quantization:
        """Operators that are meant to run on integers, and those that do.

        Args:
            optimised: the graph that the runtime made of the file, where it wrote one.
            integer: otherwise the names of each operator that the runtime says it runs on integers.
        """
        if file_kind(self.path) == exported.SUFFIX:
            return exported_facts.exported_quantization(exported.read_exported(self.path))
        model = load_model(self.path, weights=False)
        return fused_quantization(model, integer) if optimised is None else quantization(model, optimised)


def file_kind(path: Path) -> str:
    """``.pt2`` for a program exported by torch, else ``.onnx``, under whatever name."""
    return exported.SUFFIX if path.suffix == exported.SUFFIX else ".onnx"


def subject(arm: str, path: Path, preprocess: Preprocess, batch: int, folder: Path) -> Subject:
    """Read the facts of a model and check that it can be fed.

    Raises:
        ModelError: the file can't be read, or takes something else than its preprocessing contract makes.
    """
    weights: list[Path] = []
    if file_kind(path) == exported.SUFFIX:
        facts = _exported_facts(path, preprocess, batch)
    else:
        model = load_model(path, weights=False)
        weights = external_files(model, path.parent)
        facts = _onnx_facts(path, model, preprocess, batch)
    digest = sha256_file(path, *weights)
    return Subject(arm, path, preprocess, facts, tuple(weights), digest, folder / f"{arm}-inputs.npy")


def _light_model(path: Path) -> onnx.ModelProto:
    """The model, but for large weights in the files beside it, which stay there."""
    model = load_model(path, weights=False)
    inline_external(model, path.parent, largest_weight=SMALL_BYTES)
    return model


def _onnx_facts(path: Path, model: onnx.ModelProto, preprocess: Preprocess, batch: int) -> ModelFacts:
    check_feedable(model, preprocess, batch)
    digests = file_digest(path), content_digest(model, path.parent)
    size = whole_bytes(path, model)
    inline_external(model, path.parent, largest_weight=SMALL_BYTES)
    return _facts(digests, size, count(model, sample_shape(preprocess)))


def _exported_facts(path: Path, preprocess: Preprocess, batch: int) -> ModelFacts:
    program = exported.read_exported(path)
    exported_facts.check_exported_feedable(program, preprocess, batch)
    digests = sha256_file(path), exported.content_digest(program)
    return _facts(digests, path.stat().st_size, exported_facts.count_exported(program))


def _facts(digests: tuple[str, str], size: int, counts: Counts) -> ModelFacts:
    return ModelFacts(
        file_digest=digests[0],
        content_digest=digests[1],
        bytes=size,
        parameters=counts.parameters,
        macs=counts.macs,
        counted_share=counts.counted_share,
        not_counted=counts.not_counted,
        bytes_moved=counts.bytes_moved,
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
        "threads": threads,
        "cores": list(cores_for(threads)),
        "input_names": list(input_names),
        "output_name": output_name,
        "optimised": None if optimised is None else str(optimised),
        "input_shape": None if input_shape is None else list(input_shape),
        "weights": [str(file.resolve()) for file in weights],
    }


def open_worker(
    model: Subject, runtime: str, threads: int, batch: int, arm: str | None = None, profile: bool = False
) -> Worker:
    """Start a worker on a model and give it its inputs.

    Args:
        model: what it runs.
        runtime: adapter.
        threads: intra-op threads.
        batch: samples in one inference.
        arm: name under which its windows are kept, the model's own unless given.
        profile: whether the session notes what every node takes.

    Raises:
        MeasureError: the file is not the one whose facts were read.
    """
    contract = model.preprocess
    shape = contract.port_shape(batch)
    settings = session_settings(
        runtime, threads, contract.input_names, contract.output_name, input_shape=shape, weights=model.weights
    )
    settings["profile"] = profile
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
    names = ("graph_optimization", "threads", "providers", "spinning", "precision", "pinned", "sha256")
    return {name: worker.facts[name] for name in names}
