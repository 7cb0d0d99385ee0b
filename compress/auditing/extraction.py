"""What a thief copies by asking a served model, beside a control that never asked.

Jagielski, Carlini, Berthelot, Kurakin and Papernot 2020: what counts is fidelity, agreement with the model on samples
that nobody saw. A copy that learned from true labels alone agrees with any good model, so without that control a figure
of fidelity says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import nn
from torch.nn import functional

from certify.assessments.privacy_audit.records import Extraction, Record
from certify.core.errors import UsageError
from certify.core.progress import Progress
from certify.core.statistics.proportions import PairedTable
from certify.data import Dataset, Preprocess
from compress.auditing.repeating import costed
from compress.auditing.scores import class_logits
from compress.auditing.shadows import step_of
from compress.auditing.shelf import Shelf
from compress.core.samples import as_tensor
from compress.models.built import ModelSource

EPOCHS, BATCH, LR = 30, 32, 2e-3
SEED = 7
"""Of the halves, the copies and their order: all copies begin alike and differ by the answers they learn from."""
ACCESS = ("labels", "probabilities")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Thief:
    """Who asks a served model.

    Attributes:
        source: architecture of the copies, the original's own: the most that a thief can know.
        queries: numbers of answers, each for a copy of its own.
    """

    source: ModelSource
    queries: tuple[int, ...]


def imitate(source: ModelSource, samples: torch.Tensor, targets: torch.Tensor, seed: int) -> nn.Module:
    """Train a fresh network on soft targets.

    Args:
        source: how it is built.
        samples: preprocessed, (n, ...).
        targets: probabilities of the classes, (n, c).
        seed: of weights and order.

    Returns:
        The network in evaluation mode.
    """
    model = source.instantiate(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.02)
        batches = max(1, -(-len(samples) // BATCH))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * batches)
        model.train()
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(samples)).tensor_split(batches):
                optimizer.zero_grad()
                functional.cross_entropy(model(samples[rows]), targets[rows]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


def steal(
    thief: Thief, dataset: Dataset, model: Path, contract: Preprocess, shelf: Shelf, progress: Progress
) -> list[Record]:
    """Copy a model by its answers to one half of the test part; agreement is judged on the other half.

    Args:
        thief: who asks, and how often.
        dataset: its test part was seen by nobody.
        model: the served file.
        contract: of the file.
        shelf: where finished parts lie.
        progress: where to say how far it is.

    Raises:
        UsageError: more queries than half the test part.
    """
    half = len(dataset.test) // 2
    if max(thief.queries) > half:
        raise UsageError(
            f"{max(thief.queries)} queries are more than the {half} samples of half the test part; take fewer."
        )
    values = shelf.finished("extraction")
    if values is None:
        with progress.task("Copying the model by its answers", total=len(thief.queries)) as bar:
            values = []
            for count in thief.queries:
                values.append(_copies(thief.source, count, dataset, model, contract))
                bar.advance(1)
        values = shelf.finish("extraction", values)
    rows: list[Record] = []
    for one in values:
        rows.append(step_of(one["step"]))
        rows += [Extraction(**table) for table in one["tables"]]
    return rows


def _copies(source: ModelSource, count: int, dataset: Dataset, model: Path, contract: Preprocess) -> dict[str, Any]:
    """One copy from labels, one from probabilities, and the control."""
    test, classes = dataset.test, len(dataset.classes)
    order = np.random.default_rng(SEED).permutation(len(test))  # files are often sorted by class
    asked, judged = test.subset(order[:count]), test.subset(order[len(test) // 2 :])
    with costed() as cost:
        answers = class_logits(model, contract, classes, asked)
        victim = class_logits(model, contract, classes, judged).argmax(1)
        targets = {
            "labels": np.eye(classes)[answers.argmax(1)],
            "probabilities": softmax(answers, axis=1),
            "control": np.eye(classes)[asked.labels],
        }
        samples = as_tensor(contract.batch(asked, range(count)))
        unseen = as_tensor(contract.batch(judged, range(len(judged))))
        same = {
            name: _answers(imitate(source, samples, torch.from_numpy(each).float(), SEED), unseen, contract) == victim
            for name, each in targets.items()
        }
    tables = [_table(same["control"], same[access], count, access) for access in ACCESS]
    step = {"name": f"copies from {count} queries", **cost.to_json(), "touched": {"test": ["raw"]}}
    return {"tables": tables, "step": step}


@torch.inference_mode()
def _answers(model: nn.Module, samples: torch.Tensor, contract: Preprocess) -> npt.NDArray[np.int64]:
    outputs = torch.cat([model(part) for part in samples.split(256)]).numpy()
    if contract.class_map is not None and outputs.shape[1] > len(contract.class_map):
        outputs = outputs[:, list(contract.class_map)]
    found: npt.NDArray[np.int64] = outputs.argmax(1)
    return found


def _table(control: npt.NDArray[np.bool_], copy: npt.NDArray[np.bool_], count: int, access: str) -> dict[str, Any]:
    table = PairedTable.from_correct(control, copy)
    counts = {name: getattr(table, name) for name in ("both", "only_candidate", "only_baseline", "neither")}
    return {**counts, "queries": count, "access": access, "control": f"{count} true labels"}


def parse_queries(text: str) -> tuple[int, ...]:
    """Numbers of queries with commas: ``100,1000``.

    Raises:
        UsageError: it is something else.

    Example:
        >>> parse_queries("250,100")
        (100, 250)
    """
    try:
        found: Sequence[int] = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = ()
    if not found or found[0] < 2:
        raise UsageError(f"'{text}' is not a list of numbers of queries from 2 on, such as 100,1000.")
    return tuple(found)
