"""What is told of every training, epoch by epoch: the protocol for loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from certify.core.errors import UsageError


class TrainingCallback:
    """Follows trainings; override what you need.

    ``compress.run`` and ``compress.apply`` take a list of them as ``callbacks``. All methods are called in the process
    that leads, between steps and never while something is measured. An error that one raises ends the job, which
    resumes when it is started again.

    Example:
        >>> class Printed(TrainingCallback):
        ...     def on_epoch_end(self, training, epoch, figures):
        ...         print(f"{training}, epoch {epoch}: {figures['validation_accuracy']:.0%}")
        >>> Printed().on_epoch_end("Distilling", 1, {"loss": 0.5, "validation_accuracy": 0.97, "seconds": 3.0})
        Distilling, epoch 1: 97%
    """

    def on_train_begin(self, training: str, epochs: int) -> None:
        """Called before the first step: what trains, and for how many passes over the data."""

    def on_epoch_end(self, training: str, epoch: int, figures: Mapping[str, float]) -> None:
        """Called after each pass over the data.

        Args:
            training: what trains, as the progress bar calls it.
            epoch: from 1.
            figures: ``loss``, the mean of the epoch's steps; ``validation_accuracy``, 0 to 1; ``seconds`` so far.
        """

    def on_train_end(self, training: str, figures: Mapping[str, float]) -> None:
        """Called at the end: ``epochs_done``, ``best_epoch``, its ``validation_accuracy``, and ``seconds``."""


def checked(callbacks: Iterable[TrainingCallback]) -> tuple[TrainingCallback, ...]:
    """The callbacks as a tuple.

    Raises:
        UsageError: one is not an instance of :class:`TrainingCallback`.
    """
    found = tuple(callbacks)
    for each in found:
        if not isinstance(each, TrainingCallback):
            raise UsageError(f"callbacks must be instances of compress.TrainingCallback; got {each!r}.")
    return found
