"""Training, with or without a teacher, and evaluation; on the CPU, on one GPU, or on several through torchrun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from certify.core.errors import DataError, ModelError, UsageError
from certify.core.progress import Progress, Silent
from certify.data import Dataset, ImagePreprocess, Preprocess, Scores, Split
from certify.data.scoring import score_split
from compress.core.callbacks import TrainingCallback
from compress.core.samples import as_tensor
from compress.training import distributed
from compress.training.adversary import Adversary
from compress.training.config import TrainingConfig
from compress.training.data import Batches, Loader, layout_for, loader, on_device
from compress.training.epochs import Epochs, EpochScore, TrainingResult
from compress.training.optimization import NO_HOOKS, Hooks, Run
from compress.training.remedies import Attribute
from compress.training.task import Task

__all__ = ["TrainingConfig", "TrainingResult", "default_device", "evaluate", "outputs", "train"]

EVALUATION_BATCH = 128


@dataclass(frozen=True)
class _Job:
    """Arguments that every rank of a training needs."""

    model: nn.Module
    split: Split
    preprocess: Preprocess
    config: TrainingConfig
    teacher: nn.Module | None
    unlabelled: Split | None
    seed: int
    deadline: float | None
    device: str
    hooks: Hooks


def train(
    model: nn.Module,
    dataset: Dataset,
    preprocess: Preprocess,
    config: TrainingConfig,
    *,
    teacher: nn.Module | None = None,
    unlabelled: Split | None = None,
    seed: int = 0,
    deadline: float | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    device: torch.device | str | None = None,
    description: str = "Training",
    resume: Path | None = None,
    hooks: Hooks = NO_HOOKS,
) -> TrainingResult:
    """Train a model in place; it ends with the weights of the chosen epoch, on the CPU, in evaluation mode.

    The best epoch has the highest validation accuracy, and among equals the lowest validation loss; the test part is
    never read. With a teacher the loss is cross-entropy plus the configured losses on outputs and feature maps (see
    :mod:`compress.training.distillation`). Deterministic under a seed on one device, unless the deadline binds: then
    the remaining schedule is shortened to end in time.

    Args:
        model: returns logits (n, outputs).
        dataset: data set, of which the train and validation parts are used.
        preprocess: the contract; its class map selects the outputs of the data's classes.
        config: training config.
        teacher: returns logits of the same width; not modified.
        unlabelled: additional samples whose labels are ignored: each train batch is extended by a batch of them, which
            is learnt from the teacher's outputs.
        seed: seed of order, augmentation and dropout.
        deadline: ``time.monotonic`` time after which no further batch is started.
        progress: where to report progress.
        callbacks: called in every epoch of the training.
        device: device of the training; a GPU if there is one, else the CPU. Processes started by torchrun have one GPU
            each and share every batch (see :mod:`compress.training.distributed`).
        description: label of the progress bar.
        resume: file in which finished epochs are saved, so that an interrupted training can resume; it is removed at
            the end. None saves nothing.
        hooks: callbacks inside each step.

    Raises:
        UsageError: there are unlabelled samples but no teacher.
        DataError: there is no train or no validation part.
        ModelError: the loss is not finite, or the outputs or feature maps do not fit.
    """
    if dataset.train is None or dataset.validation is None:
        raise DataError(f"Data '{dataset.name}' has no {'train' if dataset.train is None else 'validation'} part.")
    place = torch.device(device) if device is not None else default_device()
    if unlabelled is not None and teacher is None:
        raise UsageError("Unlabelled samples can only be learnt from with a teacher; give one, or leave them out.")
    validation = dataset.validation
    job = _Job(model, dataset.train, preprocess, config, teacher, unlabelled, seed, deadline, str(place), hooks)
    # Only the kind of device is sent: each rank has chosen its own GPU.
    with distributed.on_every_rank(_learn, replace(job, device=place.type, hooks=hooks.followed())):
        result = _learn(job, lambda: _validate(model, validation, preprocess), resume, progress, description, callbacks)
    model.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()
    return result


def _learn(
    job: _Job,
    validate: Callable[[], EpochScore] | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
    description: str = "",
    callbacks: Sequence[TrainingCallback] = (),
) -> TrainingResult:
    """Train the model of a job; only the lead validates, saves states and reports progress."""
    config, place = job.config, torch.device(job.device)
    attribute = None if config.groups is None else Attribute.of(job.split, config.groups)
    batches = _batches(job.split, job.preprocess, config, job.seed, attribute)
    # Use another seed, because the same one would shuffle both parts alike.
    more = None if job.unlabelled is None else _batches(job.unlabelled, job.preprocess, config, job.seed + 1)
    steps = len(batches) * config.epochs
    with _seeded(job.seed, place), (progress or Silent()).task(description, total=steps) as bar:
        sample = as_tensor(job.preprocess.batch(job.split, [0]))
        task = Task.of(job.split, job.preprocess)
        adversary = Adversary.of(config.adversarial, config.adversarial_steps, config.adversarial_eps, job.preprocess)
        run = Run(job.model, job.teacher, config, task, place, steps, sample, job.hooks, adversary, attribute)
        for each in callbacks:
            each.on_train_begin(description, config.epochs)

        def message(epoch: int, figures: Mapping[str, float]) -> None:
            for each in callbacks:
                each.on_epoch_end(description, epoch, figures)

        result = Epochs(run, Batches(batches, more), validate, bar, job.seed, message).finish(job.deadline, resume)
        done = ("epochs_done", "best_epoch", "validation_accuracy", "seconds")
        for each in callbacks:
            each.on_train_end(description, {name: getattr(result, name) for name in done})
        if resume is not None:
            resume.unlink(missing_ok=True)
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
    """Return the outputs of a model for all samples of a split, in evaluation mode: float32 (n, outputs), on the CPU.

    Raises:
        ModelError: the model does not return one tensor of that shape.
    """
    place = torch.device(device) if device is not None else _device_of(model)
    was_training, was_on = model.training, _device_of(model)
    model.to(place).eval()
    layout = layout_for(model, as_tensor(preprocess.batch(split, [0])), place) if len(split) else torch.channels_last
    batches = loader(split, preprocess, batch, shuffle=False, seed=0)
    parts = [model(on_device(samples, place, layout)) for samples, _ in batches]
    model.to(was_on).train(was_training)
    if not all(isinstance(part, torch.Tensor) and part.ndim == 2 for part in parts):
        raise ModelError("A classifier must return one tensor (n, classes), and this model does not; wrap it so.")
    return torch.cat(parts).float().cpu()


def evaluate(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    class_map: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    batch: int = EVALUATION_BATCH,
) -> Scores:
    """Score a model on a split, in the same way as the certificate.

    Args:
        model: model to score; not modified.
        split: the samples.
        preprocess: the preprocessing contract.
        class_map: replaces the contract's class map.
        device: device to run on; the model's own if None.
        batch: samples per run.

    Raises:
        ModelError: outputs are not finite or have the wrong width.
    """
    logits = outputs(model, split, preprocess, device=device, batch=batch)
    mapped = preprocess.class_map if class_map is None else class_map
    return score_split(logits.numpy(), split, mapped, _classes(split, logits), reading=preprocess.reading)


def default_device() -> torch.device:
    """Return a GPU if torch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _batches(
    split: Split, preprocess: Preprocess, config: TrainingConfig, seed: int, attribute: Attribute | None = None
) -> Loader:
    augment = config.augment and isinstance(preprocess, ImagePreprocess)  # text is not shifted
    shard = distributed.rank(), distributed.world_size()
    return loader(
        split, preprocess, config.batch, shuffle=True, seed=seed, augment=augment, flip=config.flip, shard=shard,
        attribute=attribute, balance=config.balance is not None,
    )  # fmt: skip


def _validate(model: nn.Module, split: Split, preprocess: Preprocess) -> tuple[float, float]:
    """Return (accuracy, minus loss) on the validation part."""
    logits = outputs(model, split, preprocess)
    classes = _classes(split, logits)
    scores = score_split(logits.numpy(), split, preprocess.class_map, classes, reading=preprocess.reading)
    return scores.accuracy, -float(Task.of(split, preprocess).loss(logits, torch.from_numpy(split.labels)))


def _classes(split: Split, logits: torch.Tensor) -> int | None:
    """Return two if one output stands for two classes, else None."""
    return 2 if logits.shape[1] == 1 and split.targets is None else None


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators temporarily and forbid nondeterministic kernels."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        # Benchmarking would choose kernels by their time, and so differently in each run.
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
