"""The forms in which an update travels: float32, 8-bit integers or the largest values, with what is left kept behind.

What a client sends is ``x = residual + update``, clipped to a norm where one is set, then rounded or thinned out; what
the rounding left over is the residual of its next answer (error feedback: Seide et al. 2014; Karimireddy et al. 2019,
arXiv 1901.09847). What the norm cut off is not kept, so that no client saves up an update that is larger than allowed.
The norm holds for what is sent and not for what was meant: it is checked on the integers themselves.
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
"""Integers run from -127 to 127."""
TOLERANCE = 1.0 + 1e-6
"""Norms in float64 of float32 numbers that were scaled to a bound."""
QUARTER = 0.25

Integers = npt.NDArray[np.int8]


class NormExceeded(DataError):
    """An update is larger than the run allows."""


class Form(Protocol):
    """How an update becomes bytes, fixed for one round and the same for all its clients."""

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """Bytes to send, and the residual to keep; None where nothing is left."""

    def decode(self, payload: bytes) -> Vector:
        """The update that was sent, (count,).

        Raises:
            DataError: the bytes are not an update of this form, or its norm is too large.
        """


def norm(vector: npt.NDArray[np.floating]) -> float:
    """Euclidean norm, in float64."""
    return float(np.linalg.norm(vector.astype(np.float64)))


def clipped(vector: Vector, clip: float | None) -> Vector:
    """The vector, scaled down to a norm if it is larger.

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
    """Every number as it is.

    Attributes:
        count: numbers of the vector.
        clip: largest norm; None for any.
    """

    count: int
    clip: float | None = None

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        return clipped(update, self.clip).astype("<f4").tobytes(), None

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        if len(payload) != 4 * self.count:
            raise DataError(f"An update of {4 * self.count} bytes is wanted and {len(payload)} came.")
        found = np.frombuffer(payload, "<f4").astype(np.float32)
        return _checked(found, self.clip)


@dataclass(frozen=True)
class TopK:
    """The largest numbers with their places: 8 bytes each.

    Aji and Heafield 2017 (arXiv 1704.05021).

    Attributes:
        count: numbers of the vector.
        kept: how many are sent.
        clip: largest norm; None for any.
    """

    count: int
    kept: int
    clip: float | None = None

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        whole = clipped(update if residual is None else update + residual, self.clip)
        order = np.argsort(-np.abs(whole), kind="stable")[: self.kept]
        places = np.sort(order).astype("<u4")
        left = whole.copy()
        left[places] = 0
        return places.tobytes() + whole[places].astype("<f4").tobytes(), left

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        if len(payload) != 8 * self.kept:
            raise DataError(f"An update of {8 * self.kept} bytes is wanted and {len(payload)} came.")
        places = np.frombuffer(payload, "<u4", self.kept)
        if places[-1] >= self.count or (np.diff(places.astype(np.int64)) <= 0).any():
            raise DataError("The update's places are not ascending, or lie outside of the vector.")
        found = np.zeros(self.count, dtype=np.float32)
        found[places] = np.frombuffer(payload, "<f4", self.kept, 4 * self.kept)
        return _checked(found, self.clip)


@dataclass(frozen=True)
class Int8:
    """One byte for each number, on a grid of its own for each tensor that all clients of the round share.

    A shared grid makes the sum of updates a sum of integers, which is exact, does not depend on the order, and stays so
    under masks. One more byte for each tensor votes on the grid of the next round: 1 where the tensor did not fit, -1
    where it filled less than a quarter.

    Attributes:
        parts: numbers of each tensor.
        bounds: largest absolute value of each tensor that the grid holds.
        clip: largest norm; None for any.
        votes: whether clients vote; under differential privacy they must not, since votes carry no noise.
    """

    parts: tuple[int, ...]
    bounds: tuple[float, ...]
    clip: float | None = None
    votes: bool = True

    @property
    def count(self) -> int:
        """Integers of an update, the votes included."""
        return sum(self.parts) + len(self.parts)

    def steps(self) -> npt.NDArray[np.float64]:
        """What one step of the grid is worth for each number, (count without votes,)."""
        return np.repeat(np.array(self.bounds) / LEVELS, self.parts)

    def integers(self, update: Vector, residual: Vector | None) -> tuple[Integers, Vector]:
        """The integers to send, the votes behind them, and the residual."""
        whole = clipped(update if residual is None else update + residual, self.clip)
        steps = self.steps()
        exact = whole / steps
        rounded = np.clip(np.rint(exact), -LEVELS, LEVELS)
        if self.clip is not None and norm(rounded * steps) > self.clip:
            rounded = np.clip(np.trunc(exact), -LEVELS, LEVELS)  # towards zero, which makes nothing larger
        sent: Vector = (rounded * steps).astype(np.float32)
        made = np.concatenate([rounded, self._votes(whole)]).astype(np.int8)
        return made, whole - sent

    def encode(self, update: Vector, residual: Vector | None) -> tuple[bytes, Vector | None]:
        """See :meth:`Form.encode`."""
        made, left = self.integers(update, residual)
        return made.tobytes(), left

    def decode(self, payload: bytes) -> Vector:
        """See :meth:`Form.decode`."""
        return self.numbers(self.read(payload))

    def read(self, payload: bytes) -> Integers:
        """The integers of an answer.

        Raises:
            DataError: the bytes are not an update of this form, or its norm is too large.
        """
        if len(payload) != self.count:
            raise DataError(f"An update of {self.count} bytes is wanted and {len(payload)} came.")
        found = np.frombuffer(payload, np.int8)
        votes = found[sum(self.parts) :]
        if (found == -128).any() or (np.abs(votes) > (1 if self.votes else 0)).any():
            raise DataError("The update holds integers that are not on its grid.")
        _checked(self.numbers(found), self.clip)
        return found

    def numbers(self, integers: npt.NDArray[np.integer]) -> Vector:
        """What integers of the grid stand for, without votes; sums of answers too."""
        made: Vector = (integers[: sum(self.parts)] * self.steps()).astype(np.float32)
        return made

    def next_bounds(self, integers: npt.NDArray[np.integer], answers: int) -> tuple[float, ...]:
        """The grid of the next round: twice as wide where most said so, half where most did.

        Args:
            integers: sum of the answers.
            answers: how many they were.
        """
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
    """A grid for the first round, before anybody has voted.

    With a norm, eight times what each number would be if all were equal; else a tenth of each tensor's largest weight.
    """
    if clip is not None:
        return (8.0 * clip / float(np.sqrt(len(vector))),) * len(parts)
    starts = np.cumsum((0, *parts[:-1]))
    return tuple(float(max(0.1 * one, 1e-4)) for one in np.maximum.reduceat(np.abs(vector), starts))


def form_of(values: Mapping[str, object], parts: Sequence[int]) -> Form:
    """The form that a message describes; see :func:`described`.

    Raises:
        DataError: it is not one of those known, or does not fit the model.
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
    listed = isinstance(bounds, list) and all(isinstance(one, float | int) and 0 < one < np.inf for one in bounds)
    if name == "int8" and isinstance(bounds, list) and listed and len(bounds) == len(parts):
        return Int8(tuple(parts), tuple(map(float, bounds)), bound, bool(values.get("votes")))
    raise DataError(f"The server asks for an update of a form that is not known here: {str(name)[:40]}.")


def described(form: Form) -> dict[str, object]:
    """JSON values of a form, for :func:`form_of`."""
    if isinstance(form, Int8):
        return {"name": "int8", "clip": form.clip, "bounds": list(form.bounds), "votes": form.votes}
    if isinstance(form, TopK):
        return {"name": "top-k", "clip": form.clip, "kept": form.kept}
    if isinstance(form, Float32):
        return {"name": "float32", "clip": form.clip}
    raise TypeError(f"{type(form).__name__} is not a form that travels.")


def _checked(vector: Vector, clip: float | None) -> Vector:
    if not np.isfinite(vector).all():
        raise DataError("The update holds numbers that are not finite.")
    if clip is not None and norm(vector) > clip * TOLERANCE:
        raise NormExceeded(f"The update has the norm {norm(vector):.6g} and at most {clip:g} is allowed.")
    return vector
