"""Seven corruptions at five severities: seeded, stronger with the severity, and of any size of image."""

from __future__ import annotations

import numpy as np
import pytest

from certify.core.errors import DataError, UsageError
from certify.data import array_split
from certify.data.altered_images import stress_order
from certify.data.corruptions import CORRUPTIONS, SEVERITIES, corrupted, corrupted_split


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A smooth image with an edge, which every corruption changes."""
    rows, columns = np.mgrid[0:32, 0:32]
    values = np.stack([4 * rows + 60, 4 * columns + 40, np.where(rows > columns, 180, 60)], axis=-1)
    return values.astype(np.uint8)


def distance(image: np.ndarray, name: str, severity: int, key: str = "k") -> float:
    return float(np.abs(corrupted(image, name, severity, key).astype(float) - image).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_grows_when_the_severity_rises(name: str, image: np.ndarray) -> None:
    found = [distance(image, name, severity) for severity in SEVERITIES]
    assert found[0] > 0 and found == sorted(found) and found[-1] > 1.5 * found[0], found


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_the_same_when_repeated(name: str, image: np.ndarray) -> None:
    assert (corrupted(image, name, 3, "a") == corrupted(image, name, 3, "a")).all()


@pytest.mark.parametrize("name", ["noise", "shot"])
def test_noise_differs_between_samples(name: str, image: np.ndarray) -> None:
    assert (corrupted(image, name, 3, "a") != corrupted(image, name, 3, "b")).any()


def test_blur_removes_the_same_detail_when_the_image_is_larger(image: np.ndarray) -> None:
    large = image.repeat(4, axis=0).repeat(4, axis=1)
    small, big = (corrupted(one, "blur", 5, "").astype(float) for one in (image, large))
    middle = big.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(middle - small).mean() < 1


@pytest.mark.parametrize(("name", "severity", "told"), [("nois", 3, "noise"), ("blur", 0, "must be an integer in")])
def test_corruption_refuses_when_name_or_severity_is_unknown(
    name: str, severity: int, told: str, image: np.ndarray
) -> None:
    with pytest.raises(UsageError, match=told):
        corrupted(image, name, severity, "")


def test_split_keeps_labels_and_source_when_corrupted(image: np.ndarray) -> None:
    split = array_split(np.stack([image, image[::-1], image[:, ::-1]]), np.array([0, 1, 2]), "x")
    made = corrupted_split(split, [2, 0], "contrast", 4)
    assert made.labels.tolist() == [2, 0] and (split.image(0) == image).all()
    assert (made.image(1) == corrupted(image, "contrast", 4, split.digest(0))).all()


def test_split_refuses_when_its_samples_are_not_images() -> None:
    split = array_split(np.zeros((2, 8, 8, 3), dtype=np.uint8), np.array([0, 1]), "x")
    split.targets = object()  # type: ignore[assignment]
    with pytest.raises(DataError, match="numeric targets"):
        corrupted_split(split, [0], "noise", 1)


def test_order_has_each_sample_once_and_ignores_their_listing() -> None:
    digests = [f"{i:064x}" for i in range(50)]
    order = [digests[i] for i in stress_order(digests, "t")]
    assert sorted(order) == digests and order != digests
    assert order == [digests[::-1][i] for i in stress_order(digests[::-1], "t")]
    assert order != [digests[i] for i in stress_order(digests, "u")]
    assert len(stress_order(digests * 2, "t")) == 50
