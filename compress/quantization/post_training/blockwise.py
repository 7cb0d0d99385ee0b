"""Blockwise rounding of weights: each block of neighbouring inputs has its own scale and zero point.

ONNX Runtime's tools do not round Gemm weights, keep every activation for GPTQ, and give HQQ float zero points, which
its integer kernels do not support; hence the three methods here, with one format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

RoundingMethod = Literal["rtn", "hqq", "gptq"]
Floats = npt.NDArray[np.float32]

NORM = 0.7
"""Exponent p of the error |W - W'|^p that HQQ minimises: below 1, so that outliers may stay far off."""
# Steps, initial beta and its growth as in the authors' code (https://github.com/mobiusml/hqq).
STEPS = 20
BETA, KAPPA = 10.0, 1.01
DAMPING = 0.01
"""Damping of GPTQ: added to the Hessian's diagonal, as a share of its mean."""


@dataclass(frozen=True)
class Blocks:
    """A weight (N outputs, K inputs) in blocks along K, padded with zeros to ``blocks * size`` inputs.

    Attributes:
        codes: uint8 (N, blocks, size).
        scales: float32 (N, blocks).
        zeros: uint8 (N, blocks); a value is ``(code - zero) * scale``.
        inputs: K.
    """

    codes: npt.NDArray[np.uint8]
    scales: Floats
    zeros: npt.NDArray[np.uint8]
    inputs: int

    @property
    def values(self) -> Floats:
        """The dequantized weight, (N, K)."""
        wide = (self.codes.astype(np.float32) - self.zeros[..., None]) * self.scales[..., None]
        return np.asarray(wide.reshape(len(wide), -1)[:, : self.inputs], dtype=np.float32)


def round_nearest(weight: Floats, bits: int, size: int, *, symmetric: bool) -> Blocks:
    """Round each value to the nearest step between the ends of its block; 0 is exact.

    Args:
        weight: (N, K).
        bits: 4 or 8.
        size: inputs per block.
        symmetric: whether the zero point is the middle of the code range.

    Example:
        >>> weight = np.array([[-7.0, 0.0, 7.0, 1.2]], dtype=np.float32)
        >>> round_nearest(weight, bits=4, size=4, symmetric=True).values.tolist()
        [[-7.0, 0.0, 7.0, 1.0]]
    """
    blocks = _blocked(weight, size)
    scales, zeros = _steps(blocks, bits, symmetric=symmetric)
    return Blocks(_codes(blocks, scales, zeros, bits), scales, zeros, weight.shape[1])


def round_half_quadratic(weight: Floats, bits: int, size: int, *, symmetric: bool) -> Blocks:
    """Choose scales that allow a few large errors in exchange for many small ones; needs no samples.

    Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models"
    (https://dropbox.github.io/hqq_blog/): the error is split into a sparse part that may stay, and the rest, which is
    fitted by least squares. They fit a float zero point; here zero points are integers, as the runtime's integer
    kernels require, and the scale is fitted. A block that does not gain stays rounded to nearest.

    Args:
        weight: (N, K).
        bits: 4 or 8.
        size: inputs per block.
        symmetric: whether the zero point is the middle of the code range.
    """
    blocks = _blocked(weight, size)
    best, zeros = _steps(blocks, bits, symmetric=symmetric)
    scale, least = best, _errors(blocks, best, zeros, bits)
    # The power 2 - p of the block's largest value makes the result independent of the weights' unit.
    beta = BETA / np.maximum(np.abs(blocks).max(axis=-1, keepdims=True), 1e-12) ** (2 - NORM)
    for _ in range(STEPS):
        steps = _codes(blocks, scale, zeros, bits).astype(np.float32) - zeros[..., None]
        error = blocks - steps * scale[..., None]
        stays = shrink(error, beta)
        squares = (steps**2).sum(axis=-1)
        fitted = (steps * (blocks - stays)).sum(axis=-1) / np.maximum(squares, 1e-12)
        # A scale of 0 or below would turn the signs of the codes; such a block keeps its last one.
        scale = np.where((squares > 0) & (fitted > 0), fitted, scale).astype(np.float32)
        beta = beta * KAPPA
        errors = _errors(blocks, scale, zeros, bits)
        # The alternation does not fall monotonically, so the best scale of all steps is kept, block by block.
        best, least = np.where(errors < least, scale, best), np.minimum(errors, least)
    return Blocks(_codes(blocks, best, zeros, bits), best, zeros, weight.shape[1])


def shrink(error: Floats, beta: Floats) -> Floats:
    """Return the part of an error that may stay: a few large values, and 0 for small ones.

    The generalised soft threshold of the norm p, equation 5 of HQQ: ``sign(e) max(|e| - |e|^(p - 1) / beta, 0)``.
    """
    # The exponent p - 1 is negative; at an error of 0 the power would be infinite.
    magnitude = np.abs(error) + 1e-12
    return np.asarray(np.sign(error) * np.maximum(magnitude - magnitude ** (NORM - 1) / beta, 0))


def round_with_hessian(weight: Floats, hessian: Floats, bits: int, size: int, *, symmetric: bool) -> Blocks:
    """Round one input after the other, with the remaining ones compensating the error.

    Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", ICLR 2023 (arXiv 2210.17323), algorithm 1.

    Args:
        weight: (N, K).
        hessian: (K, K), the sum of x x^T over the inputs x of calibration samples.
        bits: 4 or 8.
        size: inputs per block.
        symmetric: whether the zero point is the middle of the code range.
    """
    left = weight.astype(np.float64)
    inputs = weight.shape[1]
    dense = hessian.astype(np.float64)
    # Inputs that were 0 in all samples make the Hessian singular; their weights do not matter.
    dead = np.diag(dense) == 0
    dense[dead, dead] = 1.0
    left[:, dead] = 0.0
    # Few samples leave the Hessian nearly singular, and its inverse would amplify rounding errors.
    dense[np.diag_indices(inputs)] += DAMPING * np.mean(np.diag(dense))
    # Row i is, up to a factor, that of the inverse Hessian of the inputs from i on: all that step i needs.
    upper = np.linalg.cholesky(np.linalg.inv(dense)).T
    codes, scales, zeros = [], [], []
    for begin in range(0, inputs, size):
        end = min(begin + size, inputs)
        # From the weights as compensated so far, which may exceed the ends of the original block.
        scale, zero = _steps(_blocked(left[:, begin:end].astype(np.float32), size), bits, symmetric=symmetric)
        errors = np.zeros((len(left), end - begin))
        block = np.zeros((len(left), size), dtype=np.uint8) + zero
        for i in range(begin, end):
            code = np.clip(np.round(left[:, i] / scale[:, 0]) + zero[:, 0], 0, 2**bits - 1)
            errors[:, i - begin] = (left[:, i] - (code - zero[:, 0]) * scale[:, 0]) / upper[i, i]
            left[:, i + 1 : end] -= errors[:, i - begin, None] * upper[i, i + 1 : end]
            block[:, i - begin] = code
        # Later blocks are updated once per block: the same sum as input by input, as one matrix product.
        left[:, end:] -= errors @ upper[begin:end, end:]
        codes.append(block)
        scales.append(scale[:, 0])
        zeros.append(zero[:, 0])
    return Blocks(np.stack(codes, axis=1), np.stack(scales, axis=1), np.stack(zeros, axis=1), inputs)


def _blocked(weight: Floats, size: int) -> Floats:
    """Reshape to (N, blocks, size), padded with zeros."""
    missing = -weight.shape[1] % size
    return np.pad(weight, ((0, 0), (0, missing))).reshape(len(weight), -1, size).astype(np.float32)


def _steps(blocks: Floats, bits: int, *, symmetric: bool) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Compute scales and zero points between the ends of each block."""
    # The range contains 0, so that zeros, including those of the padding, stay exact.
    low, high = np.minimum(blocks.min(axis=-1), 0), np.maximum(blocks.max(axis=-1), 0)
    if symmetric:
        largest = np.maximum(-low, high)
        # One code less than the format has: symmetric codes are -7 to 7, since -8 has no counterpart.
        scales = 2 * largest / (2**bits - 2)
    else:
        scales = (high - low) / (2**bits - 1)
    # A block of zeros has no range; any scale will do, except 0.
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    middle = np.full(scales.shape, 2 ** (bits - 1))
    zeros = middle if symmetric else np.clip(np.round(-low / scales), 0, 2**bits - 1)
    return scales, zeros.astype(np.uint8)


def _codes(blocks: Floats, scales: Floats, zeros: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    found = np.round(blocks / scales[..., None]) + zeros[..., None]
    return np.clip(found, 0, 2**bits - 1).astype(np.uint8)


def _errors(blocks: Floats, scales: Floats, zeros: npt.NDArray[np.uint8], bits: int) -> Floats:
    codes = _codes(blocks, scales, zeros, bits).astype(np.float32)
    back = (codes - zeros[..., None]) * scales[..., None]
    return np.asarray((np.abs(blocks - back) ** NORM).sum(axis=-1), dtype=np.float32)
