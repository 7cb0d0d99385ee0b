"""Forms of updates: float32, 8-bit integers or the largest values, the latter two with error feedback.

A client sends ``x = residual + update``, clipped to a norm if one is set, then rounded or sparsified; the error of that
is the residual of its next answer (error feedback: Seide et al. 2014; Karimireddy et al. 2019, arXiv 1901.09847). The
part removed by clipping is not kept, so no client accumulates an update that is larger than allowed. The norm bounds
the sent update, after rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from compress.federated.weights import Vector

LEVELS = 127
"""Integers are in [-127, 127]."""
TOLERANCE = 1.0 + 1e-6
"""Tolerance for the float64 norm of float32 values that were scaled to a bound."""
QUARTER = 0.25

Integers = npt.NDArray[np.int8]


class NormExceeded(DataError):
    """An update is larger than the run allows."""


class Form(Protocol):
    """Encoding of updates, fixed for one round and the same for all clients."""

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """Return the bytes to send and the residual; None if the form has no residual."""

    def decode(self, payload: bytes) -> Vector:
        """Return the sent update, (count,).

        Raises:
            DataError: the bytes are not an update of this form, or its norm is too large.
        """


def norm(vector: npt.NDArray[np.floating]) -> float:
    """Return the Euclidean norm, computed in float64."""
    return float(np.linalg.norm(vector.astype(np.float64)))


def clipped(vector: Vector, clip: float | None) -> Vector:
    """Return the vector, scaled down to a norm if its norm is larger.

    Example:
        >>> clipped(np.array([3.0, 4.0], dtype=np.float32), 1.0).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    length = 0.0 if clip is None else norm(vector)
    if clip is None or length <= clip:
        return vector
    scaled: Vector = (vector.astype(np.float64) * (clip / length)).astype(np.float32)
    return scaled


@dataclass(frozen=True)
class Float32:
    """All values as float32.

    Attributes:
        count: number of values.
        clip: largest norm; None for no limit.
    """

    count: int
    clip: float | None = None

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        # Nothing is rounded, so nothing remains for the next answer.
        return clipped(update, self.clip).astype("<f4").tobytes(), None

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        if len(payload) != 4 * self.count:
            raise DataError(f"An update must have {4 * self.count} bytes, got {len(payload)}.")
        found = np.frombuffer(payload, "<f4").astype(np.float32)
        return _checked(found, self.clip)


@dataclass(frozen=True)
class TopK:
    """The largest values with their positions, 8 bytes each.

    Aji and Heafield 2017 (arXiv 1704.05021).

    Attributes:
        count: number of values.
        kept: number of sent values.
        clip: largest norm; None for no limit.
    """

    count: int
    kept: int
    clip: float | None = None

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        whole = clipped(update if residual is None else update + residual, self.clip)
        # Sort stably, so that every machine chooses the same ones of equal values.
        order = np.argsort(-np.abs(whole), kind="stable")[: self.kept]
        # Sort ascending, so that a set of positions has one encoding and repeated positions are detected.
        places = np.sort(order).astype("<u4")
        left = whole.copy()
        left[places] = 0
        return places.tobytes() + whole[places].astype("<f4").tobytes(), left

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        if len(payload) != 8 * self.kept:
            raise DataError(f"An update must have {8 * self.kept} bytes, got {len(payload)}.")
        places = np.frombuffer(payload, "<u4", self.kept)
        if places[-1] >= self.count or (np.diff(places.astype(np.int64)) <= 0).any():
            raise DataError("The update's positions are not ascending, or are out of range.")
        found = np.zeros(self.count, dtype=np.float32)
        found[places] = np.frombuffer(payload, "<f4", self.kept, 4 * self.kept)
        return _checked(found, self.clip)


@dataclass(frozen=True)
class Int8:
    """One byte per value, on a grid for each tensor that all clients of the round share.

    With a shared grid the sum of updates is a sum of integers, which is exact and independent of the order, also under
    masks. One more byte per tensor votes on the grid of the next round: 1 if the tensor exceeded the grid, -1 if it
    used less than a quarter of it.

    Attributes:
        parts: number of values of each tensor.
        bounds: largest absolute value on the grid of each tensor.
        clip: largest norm; None for no limit.
        votes: whether clients vote; they must not under differential privacy, since votes have no noise.
    """

    parts: tuple[int, ...]
    bounds: tuple[float, ...]
    clip: float | None = None
    votes: bool = True

    @property
    def count(self) -> int:
        """Number of integers of an update, including votes."""
        return sum(self.parts) + len(self.parts)

    def steps(self) -> npt.NDArray[np.float64]:
        """Return the grid step of each value, (count without votes,)."""
        return np.repeat(np.array(self.bounds) / LEVELS, self.parts)

    def integers(self, update: Vector, residual: Vector | None) -> tuple[Integers, Vector]:
        """Return the integers followed by the votes, and the residual."""
        whole = clipped(update if residual is None else update + residual, self.clip)
        steps = self.steps()
        exact = whole / steps
        rounded = np.clip(np.rint(exact), -LEVELS, LEVELS)
        # Rounding away from 0 may exceed the norm, and the server refuses such an answer.
        if self.clip is not None and norm(rounded * steps) > self.clip:
            rounded = np.clip(np.trunc(exact), -LEVELS, LEVELS)  # towards zero, which cannot increase the norm
        sent: Vector = (rounded * steps).astype(np.float32)
        coded = np.concatenate([rounded, self._votes(whole)]).astype(np.int8)
        return coded, whole - sent

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        coded, left = self.integers(update, residual)
        return coded.tobytes(), left

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        return self.numbers(self.read(payload))

    def read(self, payload: bytes) -> Integers:
        """Return the integers of an answer.

        Raises:
            DataError: the bytes are not an update of this form, or its norm is too large.
        """
        if len(payload) != self.count:
            raise DataError(f"An update must have {self.count} bytes, got {len(payload)}.")
        found = np.frombuffer(payload, np.int8)
        votes = found[sum(self.parts) :]
        if (found == -128).any() or (np.abs(votes) > (1 if self.votes else 0)).any():
            raise DataError("The update holds integers that are not on its grid.")
        _checked(self.numbers(found), self.clip)
        return found

    def numbers(self, integers: npt.NDArray[np.integer]) -> Vector:
        """Return the values of integers on the grid, without votes; also for sums of answers."""
        restored: Vector = (integers[: sum(self.parts)] * self.steps()).astype(np.float32)
        return restored

    def next_bounds(self, integers: npt.NDArray[np.integer], answers: int) -> tuple[float, ...]:
        """Return the bounds of the next round: doubled or halved for a tensor if most clients voted for it.

        Args:
            integers: sum of the answers.
            answers: number of answers.
        """
        # Sums of votes, not the votes themselves: under masks the server sees nothing else.
        votes = integers[sum(self.parts) :]
        factors = np.where(2 * votes > answers, 2.0, np.where(2 * votes < -answers, 0.5, 1.0))
        return tuple(float(bound * factor) for bound, factor in zip(self.bounds, factors, strict=True))

    def _votes(self, whole: Vector) -> Integers:
        if not self.votes:
            return np.zeros(len(self.parts), dtype=np.int8)
        starts = np.cumsum((0, *self.parts[:-1]))
        largest = np.maximum.reduceat(np.abs(whole), starts) / np.array(self.bounds)
        votes: Integers = (largest > 1).astype(np.int8) - (largest < QUARTER).astype(np.int8)
        return votes


def first_bounds(vector: Vector, parts: Sequence[int], clip: float | None) -> tuple[float, ...]:
    """Return the bounds of the first round, before any votes.

    With a clipping norm, they are eight times the value of an update of that norm whose values are all equal; otherwise
    a tenth of each tensor's largest weight.
    """
    if clip is not None:
        return (8.0 * clip / float(np.sqrt(len(vector))),) * len(parts)
    starts = np.cumsum((0, *parts[:-1]))
    return tuple(float(max(0.1 * largest, 1e-4)) for largest in np.maximum.reduceat(np.abs(vector), starts))


def form_of(values: Mapping[str, object], parts: Sequence[int]) -> Form:
    """Return the form described by a message; see :func:`described`.

    Raises:
        DataError: the form is unknown, or does not fit the model.
    """
    name, clip, count = values.get("name"), values.get("clip"), sum(parts)
    if clip is not None and not (isinstance(clip, float | int) and 0 < clip < np.inf):
        raise DataError(f"The norm of an update must be above 0, got {clip!r}.")
    bound = None if clip is None else float(clip)
    if name == "float32":
        return Float32(count, bound)
    kept = values.get("kept")
    if name == "top-k" and isinstance(kept, int) and 1 <= kept <= count:
        return TopK(count, kept, bound)
    bounds = values.get("bounds")
    listed = isinstance(bounds, list) and all(isinstance(edge, float | int) and 0 < edge < np.inf for edge in bounds)
    if name == "int8" and isinstance(bounds, list) and listed and len(bounds) == len(parts):
        return Int8(tuple(parts), tuple(map(float, bounds)), bound, bool(values.get("votes")))
    raise DataError(f"The server asks for updates of an unknown or invalid form: {str(name)[:40]}.")


def described(form: Form) -> dict[str, object]:
    """Return the JSON values of a form, for :func:`form_of`."""
    if isinstance(form, Int8):
        return {"name": "int8", "clip": form.clip, "bounds": list(form.bounds), "votes": form.votes}
    if isinstance(form, TopK):
        return {"name": "top-k", "clip": form.clip, "kept": form.kept}
    if isinstance(form, Float32):
        return {"name": "float32", "clip": form.clip}
    raise TypeError(f"{type(form).__name__} is not a form of updates.")


def _checked(vector: Vector, clip: float | None) -> Vector:
    if not np.isfinite(vector).all():
        raise DataError("The update has values that are not finite.")
    if clip is not None and norm(vector) > clip * TOLERANCE:
        raise NormExceeded(f"The norm of an update must be at most {clip:g}, got {norm(vector):.6g}.")
    return vector
