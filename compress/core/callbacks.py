"""Callbacks that follow every training epoch by epoch: the protocol for loggers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name


class TrainingCallback:
    """Base class of objects that follow trainings; override the methods you need.

    ``compress.run`` and ``compress.apply`` take a list of them as ``callbacks``. All methods are called in the leading
    process, between steps and never during a measurement; what they return is ignored. An error raised by a callback
    ends the job, like Ctrl-C; started again, it resumes after its last finished pass or saved epoch.

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


CALLS = {
    "on_train_begin": ("training", "epochs"),
    "on_epoch_end": ("training", "epoch", "figures"),
    "on_train_end": ("training", "figures"),
}
"""Arguments of each method, by position."""


def checked(callbacks: Iterable[TrainingCallback]) -> tuple[TrainingCallback, ...]:
    """Return the callbacks as a tuple, after checking that their methods can be called.

    Raises:
        UsageError: ``callbacks`` is not a list of instances of :class:`TrainingCallback`, or a method has an unknown
            name or the wrong arguments.
    """
    if isinstance(callbacks, TrainingCallback) or not isinstance(callbacks, Iterable):
        raise UsageError(
            f"The 'callbacks' must be a list of instances of compress.TrainingCallback, got {callbacks!r}; write "
            "callbacks=[...]."
        )
    found = tuple(callbacks)
    for each in found:
        if not isinstance(each, TrainingCallback):
            raise UsageError(f"The 'callbacks' must be instances of compress.TrainingCallback, got {each!r}.")
        _require_methods(each)
    return found


def _require_methods(callback: TrainingCallback) -> None:
    """Refuse methods that would never be called, and those whose first call would fail after an epoch of training."""
    kind = type(callback).__name__
    own = (name for base in type(callback).__mro__ if issubclass(base, TrainingCallback) for name in vars(base))
    for name in own:
        if name.startswith("on_") and name not in CALLS and callable(getattr(callback, name)):
            raise unknown_name(f"method of the training callback {kind}", name, list(CALLS))
    for name, arguments in CALLS.items():
        method = getattr(callback, name)
        try:
            inspect.signature(method).bind(*arguments)
        except TypeError as error:
            raise UsageError(
                f"The method {kind}.{name} must take ({', '.join(arguments)}), which are passed by position ({error})."
            ) from error
