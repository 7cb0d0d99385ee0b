"""Checks of witnesses against the files and samples that they were made for; the referee never attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.altered_images import altered_split, require_images, stress_order
from certify.data.dataset import Dataset, Split
from certify.data.sources import Image
from certify.data.witnesses import Signs, Witness, WitnessFile, moved, sample_id, unpack_signs
from certify.measure.answers import Answers


@dataclass(frozen=True)
class Base:
    """Samples that witnesses are made from.

    Attributes:
        test: test split.
        test_digest: digest of the test split.
        order: indices of the distinct samples, in the order of attack.
        places: index of each sample by its id.
    """

    test: Split
    test_digest: str
    order: tuple[int, ...]
    places: Mapping[bytes, int]

    @classmethod
    def of(cls, dataset: Dataset) -> Base:
        """Index a test split.

        Raises:
            DataError: the samples are not images with classes.
        """
        require_images(dataset.test)
        digests, test_digest = dataset.test.digests(), dataset.test_digest()
        order = stress_order(digests, test_digest)
        # The order follows from the data, so that nobody can choose the samples to attack.
        return cls(dataset.test, test_digest, tuple(order), {sample_id(digests[i]): i for i in order})


@dataclass(frozen=True)
class Checked:
    """Result of checking a witness file without running a model.

    Attributes:
        file: file name.
        sha256: hex digest of the file.
        content: content of the file.
        sound: witnesses whose sample, label and change are valid, with the sample's index.
        refused: reason for each of the others, by its number in the file.
    """

    file: str
    sha256: str
    content: WitnessFile
    sound: tuple[tuple[int, Witness], ...]
    refused: Mapping[int, str]


def check(path: Path, base: Base, models: Mapping[str, str]) -> tuple[str, Checked]:
    """Read a witness file and run every check that needs no model.

    Args:
        path: witness file.
        base: samples that the witnesses are made from.
        models: content digest of each model, by arm.

    Returns:
        The arm that the witnesses were made for, and the result.

    Raises:
        DataError: the file is not a witness file, or belongs to another model or other samples.
    """
    content = WitnessFile.read(path)
    header = content.header
    # Matched by digest, so that a file cannot claim to fool another model.
    arm = next((name for name, digest in models.items() if digest == header.model), None)
    if arm is None:
        known = " and ".join(f"{digest[:12]} ({name})" for name, digest in models.items())
        raise DataError(
            f"The witnesses in {path} were made for the model {header.model[:12]}, but the models here are {known}; "
            "make them again for these files."
        )
    if header.test_digest != base.test_digest:
        raise DataError(
            f"The witnesses in {path} were made from the test samples {header.test_digest[:12]}, but these data have "
            f"{base.test_digest[:12]}; pass the data that they were made from."
        )
    # Stating too many samples would make the accuracy look better than it is.
    if header.samples > len(base.order):
        raise DataError(
            f"{path} states {header.samples} attacked samples, but the test split has {len(base.order)}; pass the data "
            "that the witnesses were made from."
        )
    sound, refused = [], {}
    for number, witness in enumerate(content.witnesses):
        why = _problem(witness, content, base)
        if why is None:
            sound.append((base.places[witness.sample], witness))
        else:
            refused[number] = why
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return arm, Checked(path.name, digest, content, tuple(sound), refused)


def _problem(witness: Witness, content: WitnessFile, base: Base) -> str | None:
    place = base.places.get(witness.sample)
    if place is None:
        return "its sample is not in the test split"
    if witness.label != int(base.test.labels[place]):
        return f"its label is {witness.label} but the sample's is {int(base.test.labels[place])}"
    if witness.eps not in content.header.eps:
        # Only stated sizes count, because a larger change is a different claim.
        return f"the file does not state its change of {witness.eps} grey levels"
    try:
        unpack_signs(witness.packed, (*base.test.size(place), 3))
    except ValueError as error:
        return str(error)
    return None


def witnessed(base: Base, sound: Sequence[tuple[int, Witness]]) -> Split:
    """Return the images of witnesses, in order."""

    def alter(row: int, image: Image) -> Image:
        signs: Signs = unpack_signs(sound[row][1].packed, image.shape)
        return moved(image, signs, sound[row][1].eps)

    return altered_split(base.test, [place for place, _ in sound], alter)


def turned(model: Answers, base: Base, sound: Sequence[tuple[int, Witness]]) -> npt.NDArray[np.bool_]:
    """Return whether a model gets each witness's image wrong, (n,): one forward pass per witness.

    Args:
        model: model to run.
        base: samples that the witnesses are made from.
        sound: witnesses with the indices of their samples.
    """
    if not sound:
        return np.zeros(0, dtype=np.bool_)
    wrong: npt.NDArray[np.bool_] = ~model.scores(witnessed(base, sound)).correct
    return wrong


def fallen(
    count: int, order: Sequence[int], sound: Sequence[tuple[int, Witness]], wrong: npt.NDArray[np.bool_], eps: int
) -> npt.NDArray[np.bool_]:
    """Return which of the first ``count`` samples are fooled by a witness of at most ``eps``, (count,)."""
    hit = {place for (place, witness), bad in zip(sound, wrong, strict=True) if bad and witness.eps <= eps}
    return np.array([place in hit for place in order[:count]], dtype=np.bool_)


def common_count(samples: Mapping[str, Sequence[int]]) -> int:
    """Return the sample count that all figures use: the fewest samples attacked for any model.

    Args:
        samples: number of attacked samples of each file, by arm.
    """
    # The smallest number for any model, so that both are judged on the same samples.
    most = [max(counts) for counts in samples.values() if counts]
    if not most:
        raise DataError("No witness file was given; name at least one.")
    return min(most)
