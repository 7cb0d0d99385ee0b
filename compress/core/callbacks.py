"""Callbacks that follow every training epoch by epoch: the protocol for loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certify.core.errors import UsageError


class TrainingCallback:
    """Base class of objects that follow trainings; override the methods you need.

    ``compress.run`` and ``compress.apply`` take a list of them as ``callbacks``. All methods are called in the leading
    process, between steps and never during a measurement. An error raised by a callback ends the job, which resumes
    when it is started again.

    Example:
        >>> class Printed(TrainingCallback):
        ...     def on_epoch_end(self, training, epoch, figures):
        ...         print(f"{training}, epoch {epoch}: {figures['validation_accuracy']:.0%}")
        >>> Printed().on_epoch_end("Distilling", 1, {"loss": 0.5, "validation_accuracy": 0.97, "seconds": 3.0})
        Distilling, epoch 1: 97%
    """

    def on_train_begin(self, training: str, epochs: int) -> None:
        """Called before the first step, with the name of the training and the number of passes over the data."""

    def on_epoch_end(self, training: str, epoch: int, figures: Mapping[str, float]) -> None:
        """Called after each pass over the data.

        Args:
            training: name of the training, as on the progress bar.
            epoch: number of the epoch, from 1.
            figures: ``loss``, the mean over the epoch's steps; ``validation_accuracy``, 0 to 1; ``seconds`` so far.
        """

    def on_train_end(self, training: str, figures: Mapping[str, float]) -> None:
        """Called at the end, with ``epochs_done``, ``best_epoch``, its ``validation_accuracy``, and ``seconds``."""


def checked(callbacks: Iterable[TrainingCallback]) -> tuple[TrainingCallback, ...]:
    """Return the callbacks as a tuple.

    Raises:
        UsageError: one is not an instance of :class:`TrainingCallback`.
    """
    found = tuple(callbacks)
    for each in found:
        if not isinstance(each, TrainingCallback):
            raise UsageError(f"The 'callbacks' must be instances of compress.TrainingCallback, got {each!r}.")
    return found
