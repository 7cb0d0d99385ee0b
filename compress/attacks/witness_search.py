"""Search for robust witnesses: found on a parent's gradients, kept only if the file itself is fooled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from certify.core.progress import Progress, Silent
from certify.data.dataset import Dataset, Split
from certify.data.witnesses import FORMAT, Witness, WitnessFile, WitnessHeader, moved, pack_signs, sample_id
from certify.measure.answers import Answers
from certify.workflows.witness_check import Base
from compress.attacks.square import Images, Margins, Signs


class Attack(Protocol):
    """Searches for signs that fool a model on samples of one size; see the attacks of this package."""

    def __call__(self, images: Images, labels: npt.NDArray[np.int64], eps: int, past: float) -> tuple[Signs, Margins]:
        """Return signs (n, H, W, 3) and margins (n,) for images uint8 (n, H, W, 3)."""
        ...


@dataclass(frozen=True)
class Hunt:
    """Settings of a search for witnesses.

    Attributes:
        method: name for the file.
        eps: grey levels to try, ascending; a sample that has a witness is not tried at a larger change.
        samples: number of samples, the first of an order that nobody can choose.
        gradients: hex SHA-256 of the checkpoint whose gradients are used; None if only the file is queried.
        straight_through: whether its values are rounded.
        past: minimum distance of a witness past the boundary on the file, as a share of the median margin of the file's
            answers: other settings of a runtime change outputs slightly, and a witness should hold under all of them.
    """

    method: str
    eps: tuple[int, ...]
    samples: int
    gradients: str | None = None
    straight_through: bool = False
    past: float = 0.05


def hunt(
    answers: Answers,
    dataset: Dataset,
    model: str,
    plan: Hunt,
    attacks: Sequence[Attack],
    progress: Progress | None = None,
) -> WitnessFile:
    """Search for witnesses against a file.

    Args:
        answers: answers of the file, at the runtime's usual settings.
        dataset: data set whose test part is attacked.
        model: content digest of the file.
        plan: settings of the search.
        attacks: find signs; a sample that withstands one is tried by the next before the change grows.
        progress: where to report progress.

    Returns:
        Witnesses that fool the file by more than the margin.

    Raises:
        DataError: the samples are not images with classes.
    """
    base, progress = Base.of(dataset), progress or Silent()
    places = np.array(base.order[: plan.samples], dtype=np.int64)
    test = dataset.test
    clean = margins(answers, test.subset(places))
    past = plan.past * float(np.median(np.abs(clean)))
    # A sample that is misclassified without any change needs no witness.
    standing = places[clean > 0]
    found: list[Witness] = []
    with progress.task("Searching for witnesses", len(plan.eps)) as task:
        for eps in plan.eps:
            for attack in attacks:
                fell = dict(_fallen(answers, test, standing, eps, past, attack))
                found += fell.values()
                standing = np.setdiff1d(standing, np.array([*fell], dtype=np.int64))
            task.advance(note=f"{len(standing)} without a witness at {eps}/255")
    header = WitnessHeader(
        FORMAT,
        model,
        base.test_digest,
        len(places),
        plan.method,  # type: ignore[arg-type]  # one of the names that the format knows
        plan.gradients,
        plan.straight_through,
        tuple(plan.eps),
    )
    return WitnessFile(header, tuple(found))


def _fallen(
    answers: Answers, test: Split, standing: npt.NDArray[np.int64], eps: int, past: float, attack: Attack
) -> Iterator[tuple[int, Witness]]:
    """Yield the samples that the file gets wrong past the margin under an attack, each with its witness."""
    for part in _by_size(test, standing):
        images, labels = np.stack([test.image(int(i)) for i in part]), test.labels[part]
        signs, _ = attack(images, labels, eps, past)
        left = margins(
            answers, _split(np.stack([moved(*each, eps) for each in zip(images, signs, strict=True)]), labels)
        )
        for row in np.flatnonzero(left < -past):
            place = int(part[row])
            witness = Witness(sample_id(test.digest(place)), int(labels[row]), eps, pack_signs(signs[row]))
            yield place, witness


def margins(answers: Answers, split: Split) -> Margins:
    """Return the file's output of the true class less the largest other one, (n,)."""
    if not len(split):
        return np.zeros(0)
    outputs = answers.outputs(split)
    answers.read(outputs, split.labels)  # rejects outputs that are not a table of the classes
    values = outputs.reshape(len(split), -1).astype(np.float64)
    contract = answers.contract
    if contract.class_map is not None:
        values = values[:, list(contract.class_map)]
    if values.shape[1] == 1:
        values = np.hstack([1 - values if contract.reading == "probabilities" else np.zeros_like(values), values])
    rows = np.arange(len(values))
    true = values[rows, split.labels]
    values[rows, split.labels] = -np.inf
    found: Margins = true - values.max(1)
    return found


def margins_of(answers: Answers, labels: npt.NDArray[np.int64]) -> Callable[[Images, npt.NDArray[np.int64]], Margins]:
    """Return a function that queries a file, as :class:`compress.attacks.square.SquareAttack` needs it."""
    return lambda images, places: margins(answers, _split(images, labels[places]))


class _InMemory:
    """Images in memory."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def image(self, row: int) -> Any:
        return self._images[row]

    def size(self, row: int) -> tuple[int, ...]:
        return self._images.shape[1], self._images.shape[2]

    def digest(self, row: int) -> str:
        return f"{row:064x}"


def _split(images: Images, labels: npt.NDArray[np.int64]) -> Split:
    return Split(_InMemory(images), labels)


def _by_size(split: Split, places: npt.NDArray[np.int64]) -> Sequence[npt.NDArray[np.int64]]:
    """Group the places of images by image size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in places:
        groups.setdefault(split.size(int(place)), []).append(int(place))
    return [np.array(group, dtype=np.int64) for group in groups.values()]
