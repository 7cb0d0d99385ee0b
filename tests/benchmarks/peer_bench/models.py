"""The models of the benchmark, exported by the loaders of the neighbouring benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cifar
import efficientnet_lite
import fast_kernels
import minilm
import numpy as np

from certify.data import Dataset, Preprocess
from certify.model_file.model_file import open_model
from compress.exchange.onnx_export import export
from peer_bench.job import Job

TRAINED = ("resnet20", "resnet56", "efficientnet_lite0", "minilm")
RANDOM = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "vit_b_16")
NAMES = (*TRAINED, *RANDOM)
TRANSFORMERS = ("minilm", "vit_b_16")
CALIBRATION, RANDOM_CALIBRATION = 256, 32
"""Most calibration samples; of networks with random weights only times are wanted, so fewer are enough."""


def missing(name: str) -> str | None:
    """Return why a model is left out, in one sentence, or None."""
    if name in ("resnet20", "resnet56"):
        found = (cifar.DATA / f"{name}.safetensors").is_file()
        return None if found else f"Left out: {cifar.DATA} is absent (see LEANMARK_BENCH_DATA)."
    if name == "minilm":
        return minilm.missing()
    if name in RANDOM and (efficientnet_lite.DATA / "imagenet_val" / "labels.csv").is_file():
        return None
    return efficientnet_lite.missing()


def prepare(name: str, folder: Path) -> Job:
    """Export a model and write the arrays that all makers and runtimes get."""
    folder.mkdir(parents=True)
    contract, dataset = _exported(name, folder)
    few = RANDOM_CALIBRATION if name in RANDOM else CALIBRATION
    for part, (split, most) in {"calibration": (dataset.calibration, few), "test": (dataset.test, None)}.items():
        rows = range(min(len(split), most or len(split)))
        np.save(folder / f"{part}.npy", contract.batch(split, rows))
        np.save(folder / f"{part}_y.npy", np.asarray(split.labels)[: len(rows)])
    job = Job(
        name, folder, tuple(contract.input_names), contract.output_name, len(dataset.classes),
        "transformer" if name in TRANSFORMERS else "int8", name in TRANSFORMERS, name in TRAINED,
    )  # fmt: skip
    with open_model(job.float_file) as model:
        job = replace(job, macs=model.counts(contract).macs)
    job.write()
    return job


def _exported(name: str, folder: Path) -> tuple[Preprocess, Dataset]:
    if name != "minilm":
        _, contract, dataset = fast_kernels.original(name, folder)
        return contract, dataset
    built, dataset = minilm.fitted(folder)
    contract = built.tokens.contract(dataset)
    export(built.model, contract, folder / "float.onnx", classes=len(dataset.classes))
    return contract, dataset
