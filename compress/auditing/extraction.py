"""Model extraction: copies trained on the answers of a served model, compared with a control that never queried it.

Jagielski, Carlini, Berthelot, Kurakin and Papernot 2020 measure fidelity, the agreement with the model on unseen
samples. A copy trained on true labels alone also agrees with a good model, so fidelity means nothing without that
control.
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
from compress.auditing.audit_folder import Shelf
from compress.auditing.repetition import costed
from compress.auditing.scores import class_logits
from compress.auditing.shadows import step_of
from compress.core.samples import as_tensor
from compress.models.built_model import ModelSource

EPOCHS, BATCH, LR = 30, 32, 2e-3
SEED = 7
"""Seed of halves, initial weights and order: all copies start the same and differ only by the answers they learn."""
ACCESS = ("labels", "probabilities")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Thief:
    """Attacker that copies a served model.

    Attributes:
        source: architecture of the copies: the original's, the most that a thief can know.
        queries: numbers of queries, at most half of the test part; each gives separate copies.
    """

    source: ModelSource
    queries: tuple[int, ...]


def imitate(source: ModelSource, samples: torch.Tensor, targets: torch.Tensor, seed: int) -> nn.Module:
    """Train a fresh network on soft targets.

    Args:
        source: architecture of the network.
        samples: preprocessed samples, (n, ...).
        targets: class probabilities, (n, c).
        seed: seed of weights and order.

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
    """Copy a model from its answers to one half of the test part, and measure agreement on the other half.

    Args:
        thief: architecture and numbers of queries.
        dataset: data set whose test part the model never saw.
        model: served file.
        contract: preprocessing contract of the file.
        shelf: finished parts.
        progress: where to report progress.
    """
    values = shelf.finished("extraction")
    if values is None:
        with progress.task("Copying the model by its answers", total=len(thief.queries)) as bar:
            values = []
            for count in thief.queries:
                values.append(_copies(thief.source, count, dataset, model, contract, shelf))
                bar.advance(1)
        values = shelf.finish("extraction", values)
    rows: list[Record] = []
    for each in values:
        rows.append(step_of(each["step"]))
        rows += [Extraction(**table) for table in each["tables"]]
    return rows


def _copies(
    source: ModelSource, count: int, dataset: Dataset, model: Path, contract: Preprocess, shelf: Shelf
) -> dict[str, Any]:
    """Train one copy on labels, one on probabilities, and the control, and compare them with the model."""
    test, classes = dataset.test, len(dataset.classes)
    # Train on one half and compare on the other: a copy must not be judged on answers that it was trained on.
    order = np.random.default_rng(SEED).permutation(len(test))  # files are often sorted by class
    queried, judged = test.subset(order[:count]), test.subset(order[len(test) // 2 :])
    with costed(shelf, f"copies-{count}") as cost:
        answers = class_logits(model, contract, classes, queried)
        victim = class_logits(model, contract, classes, judged).argmax(1)
        targets = {
            "labels": np.eye(classes)[answers.argmax(1)],
            "probabilities": softmax(answers, axis=1),
            "control": np.eye(classes)[queried.labels],
        }
        samples = as_tensor(contract.batch(queried, range(count)))
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
    """Read numbers of queries separated by commas, such as ``100,1000``.

    Raises:
        UsageError: the text is not such a list, or a number is below 2.

    Example:
        >>> parse_queries("250,100")
        (100, 250)
    """
    try:
        found: Sequence[int] = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = ()
    if not found or found[0] < 2:
        raise UsageError(f"'{text}' is not a list of numbers of queries of at least 2, such as 100,1000.")
    return tuple(found)
