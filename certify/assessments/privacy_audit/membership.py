"""Telling members of a training set from others, with shadows that were trained like the model.

Carlini, Chien, Nasr, Song, Terzis and Tramer 2022, "Membership inference attacks from first principles": the online
likelihood-ratio attack (LiRA) with variances pooled over samples, which few shadows need. Where two files of one model
are published, the attack takes both scores together, as normal with a pooled covariance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from certify.core.errors import CertificateError

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
RIDGE = 1e-6
"""Share of the mean variance that is added to each, so that two files which say the same can be attacked together."""


def likelihood_ratios(target: Floats, shadows: Floats, inside: Bits) -> Floats:
    """Log-likelihood ratio of each sample being a member.

    Args:
        target: scores of the attacked model, one a file, (n, files).
        shadows: of each shadow, (k, n, files).
        inside: which samples each shadow was trained on, (k, n); each sample in two of them or more, and out of two.

    Returns:
        The higher, the likelier a member, (n,).

    Raises:
        CertificateError: a sample is in, or out of, fewer than two shadows, or a score is not finite.

    Example:
        >>> shadows = np.array([[[2.0], [0.0]], [[2.2], [0.2]], [[0.0], [2.0]], [[0.1], [2.1]]])
        >>> inside = np.array([[True, False], [True, False], [False, True], [False, True]])
        >>> likelihood_ratios(np.array([[2.1], [0.1]]), shadows, inside).round() > 0
        array([ True, False])
    """
    if not (np.isfinite(target).all() and np.isfinite(shadows).all()):
        raise CertificateError("A score is not finite.")
    return _log_density(target, shadows, inside) - _log_density(target, shadows, ~inside)


def _log_density(target: Floats, shadows: Floats, taken: Bits) -> Floats:
    """Log-density of the target's scores under a normal law about the mean of some shadows, less a constant."""
    count = taken.sum(0)
    if count.min() < 2:
        raise CertificateError("A sample is in, or out of, fewer than two shadows.")
    weight = taken[:, :, None]
    mean = (shadows * weight).sum(0) / count[:, None]
    rest = ((shadows - mean) * weight).reshape(-1, target.shape[1])
    covariance = rest.T @ rest / float((count - 1).sum())
    covariance += (RIDGE * np.trace(covariance) / len(covariance) + 1e-12) * np.eye(len(covariance))
    away = target - mean
    distance = np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away)
    density: Floats = -0.5 * (distance + float(np.linalg.slogdet(covariance)[1]))
    return density
