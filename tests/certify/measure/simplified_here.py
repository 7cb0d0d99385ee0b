"""Simplification of a baseline within the process of a test, and the findings that do not pass for what it observed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import recognisers as made

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import judge_guards
from certify.core.evidence import Evidence, Observation
from certify.core.progress import Silent
from certify.data.contract_slot import normalise
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure.plan import Plan
from certify.measure.simplify import simplify

Maker = Callable[..., Evidence]
Simplify = Callable[..., tuple[Observation, Path]]
DATA = made.textures(0)


def session(model: onnx.ModelProto | Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    """A session of one thread, like a worker's; the idle threads of others would busy-wait."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if optimised is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model.SerializeToString(), options)


def run_here(bench: Any, model: onnx.ModelProto, output: str, samples: Path) -> np.ndarray:
    running = session(model)
    name = running.get_inputs()[0].name
    array = np.load(samples)
    parts = [array[i : i + bench.batch] for i in range(0, len(array), bench.batch)]
    outputs = np.concatenate([running.run([output], {name: part})[0] for part in parts])
    return outputs.reshape(len(outputs), -1)


def load_here(bench: Any, model: onnx.ModelProto) -> onnx.ModelProto:
    session(model, bench.folder / "loaded.onnx")
    return onnx.load(str(bench.folder / "loaded.onnx"))


def simplify_file(
    model: onnx.ModelProto, folder: Path, edition: Edition, data: Dataset = DATA,
    contract: Preprocess = made.CONTRACT, **plan: Any,
) -> tuple[Observation, Path]:  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(folder / "given.onnx"))
    path = folder / "baseline.onnx"
    normalise(folder / "given.onnx", path, contract)
    return simplify(path, contract, data, Plan(**plan), edition.plan, Silent()), path


def outcomes(observed: Observation, make_evidence: Maker, edition: Edition) -> dict[str, str]:
    evidence = make_evidence(observations={observed.name: observed.values})
    return {one.name: one.outcome for one in judge_guards(evidence, edition) if one.outcome != "pass"}
