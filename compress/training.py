"""Training, with or without a teacher, and evaluation; on the CPU or on one GPU."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from certify.data import Dataset, Preprocess, Scores, Split, score
from certify.errors import DataError, ModelError
from certify.progress import Progress, Silent
from certify.progress import Task as Bar
from compress.data import Loader, loader
from compress.optimization import Run, TrainingConfig

__all__ = ["TrainingConfig", "TrainingResult", "default_device", "evaluate", "outputs", "train"]

EVALUATION_BATCH = 128
STEPS_BEFORE_ESTIMATE = 5
"""Batches until the time that the rest will take is estimated; the first ones also prepare kernels."""


@dataclass(frozen=True)
class TrainingResult:
    """What training did.

    Attributes:
        epochs_done: complete passes over the training data.
        best_epoch: the pass (from 1) whose weights were kept; the one that was cut short counts.
        validation_accuracy: of those weights, 0 to 1.
        seconds: wall-clock time.
        stopped_early: whether the time was up before the last epoch.
        reason: why it ended, in words.
    """

    epochs_done: int
    best_epoch: int
    validation_accuracy: float
    seconds: float
    stopped_early: bool
    reason: str


def train(
    model: nn.Module,
    dataset: Dataset,
    preprocess: Preprocess,
    config: TrainingConfig,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
    deadline: float | None = None,
    progress: Progress | None = None,
    device: torch.device | str | None = None,
    description: str = "Training",
) -> TrainingResult:
    """Train a model in place; afterwards it has the weights of its best epoch, on the CPU, in evaluation mode.

    The best epoch is the one of the highest validation accuracy, of equal ones that of the lower validation loss; the
    test part is never looked at. With a teacher the loss is cross-entropy plus ``alpha * T^2`` times the
    Kullback-Leibler divergence of the softened outputs (Hinton, Vinyals, Dean 2015, arXiv 1503.02531). Deterministic
    under a seed on one device, unless the deadline binds: then the remaining schedule is shortened to end in time.

    Args:
        model: gives logits (n, outputs).
        dataset: its train and validation parts are used.
        preprocess: the contract; its class map picks the outputs that stand for the data's classes.
        config: how to train.
        teacher: gives logits of the same width; left as it is.
        seed: of order, augmentation and dropout.
        deadline: reading of ``time.monotonic`` after which no further batch is begun.
        progress: where to say how far it is.
        device: to train on; one GPU if there is one, else the CPU.
        description: of the bar.

    Raises:
        DataError: no train or no validation part.
        ModelError: the loss is not finite, or the outputs do not fit.
    """
    if dataset.train is None or dataset.validation is None:
        raise DataError(f"Data '{dataset.name}' has no {'train' if dataset.train is None else 'validation'} part.")
    place = torch.device(device) if device is not None else default_device()
    batches = loader(
        dataset.train, preprocess, config.batch, shuffle=True, seed=seed, augment=config.augment, flip=config.flip
    )
    run = Run(model, teacher, config, preprocess.class_map, place, len(batches) * config.epochs)
    with _seeded(seed, place), (progress or Silent()).task(description, total=len(batches) * config.epochs) as bar:
        result = _epochs(run, batches, dataset.validation, preprocess, deadline, bar)
    model.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return result


@torch.inference_mode()
def outputs(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    *,
    device: torch.device | str | None = None,
    batch: int = EVALUATION_BATCH,
) -> torch.Tensor:
    """Outputs of a model for all samples of a split, in evaluation mode and float32: (n, outputs), on the CPU.

    Raises:
        ModelError: the model gives anything but one tensor of that shape.
    """
    place = torch.device(device) if device is not None else _device_of(model)
    was_training, was_on = model.training, _device_of(model)
    model.to(place).eval()
    parts = [
        model(pictures.to(place).contiguous(memory_format=torch.channels_last))
        for pictures, _ in loader(split, preprocess, batch, shuffle=False, seed=0)
    ]
    model.to(was_on).train(was_training)
    if not all(isinstance(part, torch.Tensor) and part.ndim == 2 for part in parts):
        raise ModelError("The model does not give one tensor (n, classes); a classifier does.")
    return torch.cat(parts).float().cpu()


def evaluate(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    class_map: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    batch: int = EVALUATION_BATCH,
) -> Scores:
    """Score a model on a split, as the certificate scores it.

    Args:
        model: left as it is.
        split: the samples.
        preprocess: the contract.
        class_map: instead of the contract's.
        device: to run on; where the model is if None.
        batch: samples at a time.

    Raises:
        ModelError: outputs that are not finite or of the wrong width.
    """
    logits = outputs(model, split, preprocess, device=device, batch=batch)
    return score(logits.numpy(), split.labels, preprocess.class_map if class_map is None else class_map)


def default_device() -> torch.device:
    """One GPU if torch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _epochs(
    run: Run,
    batches: Loader,
    validation: Split,
    preprocess: Preprocess,
    deadline: float | None,
    bar: Bar,
) -> TrainingResult:
    began = time.monotonic()
    best: tuple[float, float] = (-1.0, -math.inf)
    kept: dict[str, torch.Tensor] = {}
    best_epoch, epoch, out_of_time = 0, 0, False
    while run.done < run.steps and not out_of_time:
        epoch += 1
        run.model.train()
        for pictures, labels in batches:
            loss = run.step(pictures, labels)
            bar.advance(1, note=f"epoch {epoch}, loss {loss:.3f}" + (f", validation {best[0]:.1%}" if kept else ""))
            out_of_time = _keep_to(deadline, run, began)
            if out_of_time or run.done >= run.steps:
                break
        reached = _validate(run.model, validation, preprocess)
        if reached > best:
            best, best_epoch = reached, epoch
            kept = {key: value.detach().clone() for key, value in run.model.state_dict().items()}
        bar.advance(0, note=f"epoch {epoch}, loss {loss:.3f}, validation {best[0]:.1%}")
    run.model.load_state_dict(kept)
    complete = run.done // len(batches)
    early = complete < run.config.epochs
    reason = f"the time was up after {complete} of {run.config.epochs} epochs" if early else "all epochs done"
    return TrainingResult(complete, best_epoch, best[0], time.monotonic() - began, early, reason)


def _keep_to(deadline: float | None, run: Run, began: float) -> bool:
    """Shorten the schedule where it would end after the deadline; whether the time is up already."""
    if deadline is None:
        return False
    now = time.monotonic()
    if run.done >= STEPS_BEFORE_ESTIMATE:
        left = int(max(0.0, deadline - now) / (now - began) * run.done)
        run.steps = min(run.steps, run.done + left)
    return now >= deadline


def _validate(model: nn.Module, split: Split, preprocess: Preprocess) -> tuple[float, float]:
    """(accuracy, minus loss) on the validation part."""
    logits = outputs(model, split, preprocess)
    accuracy = score(logits.numpy(), split.labels, preprocess.class_map).accuracy
    chosen = logits if preprocess.class_map is None else logits[:, list(preprocess.class_map)]
    return accuracy, -float(F.cross_entropy(chosen, torch.from_numpy(split.labels)))


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators for a while and forbid kernels that give another result each time."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
