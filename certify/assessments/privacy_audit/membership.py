"""Membership inference with shadow models that were trained like the model.

Carlini, Chien, Nasr, Song, Terzis and Tramer 2022, "Membership inference attacks from first principles": the online
likelihood-ratio attack (LiRA), with variances pooled over samples because there are few shadows. If two files of one
model are published, the attack uses the weighted sum of their scores that separates members and non-members best
(Fisher 1936): separate means of two scores, from a few shadows each, would add more noise than information.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from certify.core.errors import CertificateError

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
RIDGE = 1e-6
"""Fraction of the mean variance added to each variance, so that two files with equal scores can be combined."""
TINY = 1e-12


def likelihood_ratios(target: Floats, shadows: Floats, inside: Bits) -> Floats:
    """Return the log-likelihood ratio of membership for each sample.

    Args:
        target: scores of the attacked model, one column per file, (n, files).
        shadows: scores of the shadows, (k, n, files).
        inside: whether each shadow was trained on each sample, (k, n); every sample is in and out of at least two.

    Returns:
        Ratios, higher for likelier members, (n,).

    Raises:
        CertificateError: a sample is in, or out of, fewer than two shadows, or a score is not finite.

    Example:
        >>> shadows = np.array([[[2.0], [0.0]], [[2.2], [0.2]], [[0.0], [2.0]], [[0.1], [2.1]]])
        >>> inside = np.array([[True, False], [True, False], [False, True], [False, True]])
        >>> likelihood_ratios(np.array([[2.1], [0.1]]), shadows, inside).round() > 0
        array([ True, False])
    """
    if not (np.isfinite(target).all() and np.isfinite(shadows).all()):
        raise CertificateError("Membership scores must be finite, got NaN or infinity.")
    if target.shape[1] > 1:
        weights = _direction(shadows, inside)
        # Projected onto one direction, so that the pair is attacked by the same univariate test.
        target, shadows = (target @ weights)[:, None], (shadows @ weights)[:, :, None]
    return _log_density(target, shadows, inside) - _log_density(target, shadows, ~inside)


def _direction(shadows: Floats, inside: Bits) -> Floats:
    """Return the weights of the files that separate members and non-members best for their spread, (files,)."""
    (mean_in, spread_in), (mean_out, spread_out) = (_moments(shadows, taken) for taken in (inside, ~inside))
    covariance = (spread_in + spread_out) / 2
    # The ridge is needed because two files may have equal scores, which makes the matrix singular.
    covariance += (RIDGE * np.trace(covariance) / len(covariance) + TINY) * np.eye(len(covariance))
    weights: Floats = np.linalg.solve(covariance, (mean_in - mean_out).mean(0))
    length = float(np.linalg.norm(weights))
    # If no direction separates them, both files get equal weight.
    return weights / length if length > 0 else np.ones(len(weights))


def _log_density(target: Floats, shadows: Floats, taken: Bits) -> Floats:
    """Return the log-density of the target's score, normal around the mean of some shadows, up to a constant, (n,)."""
    mean, spread = _moments(shadows, taken)
    variance = float(spread[0, 0]) + TINY
    density: Floats = -0.5 * ((target - mean)[:, 0] ** 2 / variance + np.log(variance))
    return density


def _moments(shadows: Floats, taken: Bits) -> tuple[Floats, Floats]:
    """Return the mean of each sample's scores over some shadows, (n, files), and the covariance pooled over samples."""
    count = taken.sum(0)
    # A variance needs two values.
    if count.min() < 2:
        raise CertificateError("A sample is in, or out of, fewer than two shadows.")
    weight = taken[:, :, None]
    mean = (shadows * weight).sum(0) / count[:, None]
    rest = ((shadows - mean) * weight).reshape(-1, shadows.shape[2])
    # Pooled over all samples, because each sample has too few shadows for a variance of its own.
    return mean, rest.T @ rest / float((count - 1).sum())
