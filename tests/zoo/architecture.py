"""One architecture through the maker: pruned, exported, quantized, run, and compared at each step."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import SIZES, TRANSFORMERS
from table import MACS
from torch import nn

from certify.core.errors import LeanmarkError
from certify.data import Preprocess, default_preprocess
from certify.data.own_data import from_mapping
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.model_stats import count_macs, count_parameters
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.exchange.parity import Samples, agreement, run_onnx
from compress.models import catalog
from compress.models.built_model import BuiltModel
from compress.passes import PassContext, PassData, PassRecord
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.heads import loosen
from compress.pruning.masking import NotComparable, lively, masked

Row = dict[str, Any]

CLASSES = 10
SIZE = 64
"""Pixels, or more where an architecture needs more. Below, the values of the last maps have no neighbours."""
TOKENS, VOCABULARY = 64, 1000
SAMPLES = 8
BYTES = 4
"""Of a weight."""
SETTINGS: tuple[Row, ...] = ({}, {"round_to": 1}, {"round_to": 1, "embedding": True})
"""Of pruning, the kindest to the runtime first: narrow networks have too few channels for multiples of the kernels'."""
MACS_APART = 0.02
"""Largest share by which multiply-adds counted in the file may differ from those counted in torch."""


@dataclass
class Journey:
    """What has been found about an architecture, reported whenever there is more.

    Attributes:
        row: plain JSON values.
        tell: takes the row.
    """

    row: Row
    tell: Callable[[Row], None]

    @contextmanager
    def stage(self, name: str) -> Iterator[Row]:
        """Say what is being done; what the body puts into the row of the stage is kept."""
        found: Row = {}
        self.row["at"] = name
        self.tell(self.row)
        began = time.process_time()
        yield found
        self.row[name] = {**found, "cpu_seconds": round(time.process_time() - began, 1)}
        self.tell(self.row)


def go(name: str, folder: Path, tell: Callable[[Row], None]) -> None:
    """Take one architecture with random weights all the way.

    Args:
        name: as compress.models.catalog takes it, or of :data:`architectures.TRANSFORMERS`.
        folder: for files on the way.
        tell: takes the row, whenever there is more in it.
    """
    journey = Journey({"model": name}, tell)
    try:
        _go(journey, name, folder)
    except (LeanmarkError, MemoryError) as error:
        journey.row["failed"] = f"{type(error).__name__}: {error}"
    else:
        del journey.row["at"]
    tell(journey.row)


def _go(journey: Journey, name: str, folder: Path) -> None:
    with journey.stage("build") as found:
        built = _build(name, folder)
        size = (TOKENS,) if built.tokens else max((SIZE, SIZE), built.input_size or SIZES.get(name, (0, 0)))
        context, samples = _context(built, size, folder)
        original = built.model
        lively(original, torch.from_numpy(samples))
        macs = count_macs(original, context.sample(1))
        found |= {"input": list(size), "parameters": count_parameters(original), "macs": macs}
    with journey.stage("prune") as found:
        pruned, record, settings = _pruned(original, context)
        if record.changed:
            found |= {"macs_share": record.done["macs_share"], "layers_left": len(record.declined), **settings}
        else:
            found["declined"] = record.declined[0].why
    path = folder / "model.onnx"
    with journey.stage("export") as found:
        exported = export(pruned, context.preprocess, path, classes=CLASSES, samples=samples)
        found |= {"exporter": exported.exporter, "difference": exported.parity.max_relative_difference}
        found["declined"] = exported.declined
    with journey.stage("count") as found:
        found |= _counted(path, count_macs(pruned, context.sample(1)), macs)
    if record.changed:
        with journey.stage("mask") as found:
            found |= _masked(original, pruned, path, samples)
    large = BYTES * count_parameters(original) > onnx_file.INLINE_BYTES
    del original, pruned, built
    _quantize(journey, path, context, samples)
    if large:
        _whole(journey, name, folder, context, samples)


def _pruned(original: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord, Row]:
    """By the first settings that reach the target, and those; where none do, the original, and what was said first."""
    refused = []
    for settings in SETTINGS:
        config = StructuredPrune.model_validate({"macs": MACS, "reconstruct": False, **settings})
        pruned, record = config.apply(original, context)
        if record.changed:
            return pruned, record, settings
        refused.append(record)
    return original, refused[0], {}


def _build(name: str, folder: Path) -> BuiltModel:
    zoo, _, own = name.partition(":")
    if zoo != "transformers":
        return catalog.build(name, CLASSES)
    import transformers

    kind, settings = TRANSFORMERS[own]
    getattr(transformers, kind)(**settings, num_labels=CLASSES).save_pretrained(folder)
    return catalog.build(f"hf:{folder}", CLASSES)


def _context(built: BuiltModel, size: tuple[int, ...], folder: Path) -> tuple[PassContext, Samples]:
    """Samples to calibrate with, and others to compare on."""
    make = _texts if built.tokens else _images
    labels = np.arange(SAMPLES) % CLASSES
    parts = {part: {**make(SAMPLES, size, seed), "y": labels} for seed, part in ((1, "calibration"), (2, "test"))}
    dataset = replace(from_mapping({**parts, "classes": map(str, range(CLASSES))}, "zoo", "zoo", 0), input_size=size)
    preprocess: Preprocess = built.tokens.contract(dataset) if built.tokens else default_preprocess(dataset)
    context = PassContext(PassData.without_test(dataset), preprocess, choose(None), workspace=folder)
    return context, preprocess.batch(dataset.test, range(SAMPLES))


def _texts(number: int, size: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Random tokens, of which a text has from half as many as fit to all."""
    random = np.random.default_rng(seed)
    mask = np.arange(size[0]) < random.integers(size[0] // 2, size[0] + 1, (number, 1))
    return {"input_ids": random.integers(0, VOCABULARY, (number, *size)), "attention_mask": mask.astype(np.int64)}


def _images(number: int, size: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Coarse patches under fine noise, uint8 (n, h, w, 3): noise alone looks the same everywhere."""
    random = np.random.default_rng(seed)
    rows, columns = (np.arange(length) * 8 // length for length in size)
    coarse = random.integers(40, 216, (number, 8, 8, 3))[:, rows][:, :, columns]
    return {"x": (coarse + random.integers(-40, 40, coarse.shape)).astype(np.uint8)}


def _counted(path: Path, in_torch: int, of_original: int) -> Row:
    """Multiply-adds of the file as a share of the original's, where both counters mean the same."""
    counts = count(load_model(path))
    agree = abs(counts.macs - in_torch) <= MACS_APART * in_torch
    found: Row = {"macs": counts.macs, "macs_share": counts.macs / of_original, "agree": agree}
    return {**found, "not_counted": list(counts.not_counted)}


def _masked(original: nn.Module, pruned: nn.Module, path: Path, samples: Samples) -> Row:
    """How far the file is from the original with what was removed masked, and that from the original itself."""
    fed = torch.from_numpy(samples)
    reference = copy.deepcopy(original)
    if set(reference.state_dict()) != set(pruned.state_dict()):
        loosen(reference, fed[:1])  # attention whose heads can go has to take the place of what was there
    try:
        cut = masked(reference, pruned)
    except NotComparable as error:
        return {"why": str(error)}
    with torch.inference_mode():
        whole, part, same = (model(fed).numpy() for model in (original, cut, reference))
    apart = [agreement(part, run_onnx(path, samples)), agreement(whole, same)]
    return {
        "difference": max(each.max_relative_difference for each in apart),
        "moved": agreement(whole, part).max_relative_difference,
        "spread": _spread(part),
    }


def _spread(outputs: np.ndarray) -> float:
    """Largest range of an output over all images, as a share of the largest output."""
    return float(np.ptp(outputs, axis=0).max() / np.abs(outputs).max())


def _whole(journey: Journey, name: str, folder: Path, context: PassContext, samples: Samples) -> None:
    """An architecture with more weights than a message holds, as it is: with its weights beside the file."""
    path = folder / "whole.onnx"
    with journey.stage("whole") as found:
        model = _build(name, folder).model
        lively(model, torch.from_numpy(samples))
        exported = export(model, context.preprocess, path, classes=CLASSES, samples=samples)
        del model
        made, record = QuantizeStatic().apply(path, context)
        found |= {"exporter": exported.exporter, "difference": exported.parity.max_relative_difference}
        found |= {"files": sorted(each.name for each in path.parent.glob("whole*")), **_compared(path, made, samples)}


def _quantize(journey: Journey, path: Path, context: PassContext, samples: Samples) -> None:
    with journey.stage("quantize") as found:
        made, record = QuantizeStatic().apply(path, context)
        if record.changed:
            found |= {"quantized": record.done["quantized"], "kept_float": record.done["kept_float"]}
        else:
            found["declined"] = record.declined[0].why
    with journey.stage("int8") as found:
        found |= _compared(path, made, samples)


def _compared(path: Path, made: Path, samples: Samples) -> Row:
    """The outputs of the float and of the integer file."""
    wanted, given = run_onnx(path, samples), run_onnx(made, samples)
    same = float((wanted.argmax(1) == given.argmax(1)).mean())
    return {"agreement": same, "cosine": _cosine(wanted, given), "spread": _spread(given)}


def _cosine(wanted: np.ndarray, found: np.ndarray) -> float:
    """Of outputs less their means over all images, which are nothing but biases in a network of random weights."""
    first, second = (outputs - outputs.mean(0) for outputs in (wanted, found))
    size = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / size) if size > 0 else 0.0
