"""The two files of a finished job: the original and what it became, as ``leanmark compress`` left them in a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from certify.data import load
from certify.data.contract_slot import contract_of
from certify.model_file.model_file import open_model
from peer_bench.job import Job
from peer_bench.making import Artifact, size_of

ORIGINAL, COMPRESSED, LINEAGE = "baseline.onnx", "model.onnx", "lineage.json"


def parse(text: str) -> tuple[Path, str]:
    """Return the folder and the data of FOLDER=DATA.

    Example:
        >>> parse("build/resnet50=mnist5k")[1]
        'mnist5k'

    Raises:
        ValueError: it has another form, or the folder lacks a file.
    """
    folder, found, spec = text.partition("=")
    if not (found and spec):
        raise ValueError(f"{text} is not FOLDER=DATA, such as build/resnet50=mnist5k")
    if lacking := [name for name in (ORIGINAL, COMPRESSED, LINEAGE) if not Path(folder, name).is_file()]:
        raise ValueError(f"{folder} has no {', '.join(lacking)}; run leanmark compress first")
    return Path(folder), spec


def prepare(done: Path, spec: str, folder: Path) -> tuple[Job, Artifact]:
    """Write the test samples as both files take them; return the original as a job, and the compressed file.

    Args:
        done: folder of the job.
        spec: data whose test part both answer.
        folder: folder for the arrays, which is created.
    """
    folder.mkdir(parents=True)
    dataset = load(spec)
    contract = contract_of(done / COMPRESSED, None)
    rows = range(len(dataset.test))
    np.save(folder / "test.npy", contract.batch(dataset.test, rows))
    np.save(folder / "test_y.npy", np.asarray(dataset.test.labels))
    original = done / ORIGINAL
    (folder / "float.onnx").symlink_to(original.resolve())
    recipe = json.loads((done / LINEAGE).read_text())["recipe"]
    settings = f"recipe {recipe['name']}: {', '.join(recipe['passes'])}"
    job = Job(
        done.resolve().name, folder, tuple(contract.input_names), contract.output_name, len(dataset.classes),
        recipe["name"], False, True,
    )  # fmt: skip
    made = done / COMPRESSED
    with open_model(original) as before, open_model(made) as after:
        macs = [model.counts(contract).macs for model in (before, after)]
    artifact = Artifact("leanmark", "leanmark", settings, own=True, file=made, bytes=size_of(made), macs=macs[1])
    return replace(job, macs=macs[0]), artifact
