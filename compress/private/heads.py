"""A linear head under differential privacy, on features trained on public data.

The gradient of a linear layer for one record is the outer product of its error and its features. So its norm is the
product of two norms, and clipping is exact without computing a gradient per record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from compress.private.adam import Adam
from compress.private.budget import Schedule
from compress.private.entropy import coins, gaussian
from compress.private.noise_check import require_noise

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
PROBED = 8


@dataclass(frozen=True)
class Head:
    """A trained head.

    Attributes:
        weight: (classes, features).
        bias: (classes,).
        sizes: realised batch sizes, one per step.
        gradient_error: largest relative difference of a clipped sum from that of a loop over single records.
    """

    weight: Floats
    bias: Floats
    sizes: tuple[int, ...]
    gradient_error: float


def clipped_sum(weights: Floats, features: Floats, labels: Labels, clip: float) -> Floats:
    """Return the sum of the records' gradients of cross-entropy, each clipped to a norm.

    Args:
        weights: (classes, features + 1), the bias last.
        features: (n, features).
        labels: (n,).
        clip: clipping norm.

    Returns:
        (classes, features + 1).
    """
    inputs = np.hstack([features, np.ones((len(features), 1))])
    errors: Floats = softmax(inputs @ weights.T, axis=1)
    # The gradient of cross-entropy in the outputs: probabilities minus the one-hot label.
    errors[np.arange(len(labels)), labels] -= 1
    norms = np.linalg.norm(errors, axis=1) * np.linalg.norm(inputs, axis=1)
    scale = np.minimum(1.0, clip / np.maximum(norms, 1e-12))
    total: Floats = (errors * scale[:, None]).T @ inputs
    return total


def noisy_sum(weights: Floats, features: Floats, labels: Labels, schedule: Schedule) -> Floats:
    """Return the clipped sum, with the noise that the schedule accounts for."""
    total = clipped_sum(weights, features, labels, schedule.clip)
    return total + schedule.noise * schedule.clip * gaussian(*total.shape)


def gradient_error(width: int, classes: int, clip: float) -> float:
    """Return the largest relative difference of the clipped sum from a loop, on synthetic records."""
    # A fixed seed is fine here, unlike for noise and coins: the records are synthetic and only test the arithmetic.
    random = np.random.default_rng(0)
    weights, features = random.normal(size=(classes, width + 1)), random.normal(size=(PROBED, width))
    labels = random.integers(0, classes, PROBED)
    slow = np.zeros_like(weights)
    for record, label in zip(features, labels, strict=True):
        error = softmax(weights[:, :-1] @ record + weights[:, -1])
        error[label] -= 1
        gradient = np.outer(error, np.append(record, 1.0))
        slow += gradient * min(1.0, clip / float(np.linalg.norm(gradient)))
    fast = clipped_sum(weights, features, labels, clip)
    return float(np.abs(fast - slow).max() / max(float(np.abs(slow).max()), 1e-12))


def train_head(
    features: Floats, labels: Labels, classes: int, schedule: Schedule, scale: Floats, shift: Floats
) -> Head:
    """Train a head from zero.

    Args:
        features: features of the private records, (n, features).
        labels: (n,).
        classes: number of classes.
        schedule: settings of the training.
        scale: deviation of each feature over public samples, (features,); features are divided by it.
        shift: mean of each feature over public samples; it is subtracted first.

    Raises:
        ModelError: the sums do not contain the noise that is accounted for.

    Returns:
        The head for unscaled features.
    """
    width = features.shape[1]
    # The noise does not depend on the records, so none is read for the test.
    synthetic = np.zeros((1, width)), np.zeros(1, dtype=np.int64)
    # From zero: the problem is convex, so the start does not matter, and nothing has to be drawn.
    start = np.zeros((classes, width + 1))
    require_noise(lambda: noisy_sum(start, *synthetic, schedule), schedule.noise * schedule.clip, schedule.mechanism)
    # Scale to a norm of about 1, so that one clipping norm suits heads of any width.
    ready = (features - shift) / (scale * np.sqrt(width))
    weights, adam, sizes = start, Adam(start.size, schedule.lr, schedule.steps), []
    for _ in range(schedule.steps):
        drawn = coins(len(ready), schedule.rate)
        sizes.append(len(drawn))
        total = noisy_sum(weights, ready[drawn], labels[drawn], schedule)
        weights = weights - adam.step(total.ravel()).reshape(weights.shape)
    # Fold the scaling into the head, so that the file needs no extra operator.
    weight = weights[:, :-1] / (scale * np.sqrt(width))
    bias = weights[:, -1] - weight @ shift
    return Head(weight, bias, tuple(sizes), gradient_error(width, classes, schedule.clip))
