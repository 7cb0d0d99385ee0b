from __future__ import annotations

import numpy as np
import pytest

from certify.core.errors import DataError
from certify.data import Dataset, Split, array_split, overlap, require_separate
from certify.data.dataset import input_size


def images(n: int, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def split(n: int = 6, seed: int = 0) -> Split:
    return array_split(images(n, seed=seed), np.arange(n) % 2, "here")


def dataset(**changes: object) -> Dataset:
    fields = {
        "name": "toy",
        "spec": "toy",
        "classes": ("a", "b"),
        "train": split(seed=1),
        "calibration": split(seed=2),
        "validation": split(seed=3),
        "test": split(seed=4),
        "input_size": (32, 32),
        **changes,
    }
    return Dataset(**fields)  # type: ignore[arg-type]


def test_image_is_repeated_to_three_channels_when_grey() -> None:
    x = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    image = array_split(x, [0, 1], "here").image(1)
    assert image.shape == (4, 5, 3)
    assert all(np.array_equal(image[..., c], x[1]) for c in range(3))


def test_digest_differs_when_only_the_shape_does() -> None:
    x = np.arange(16, dtype=np.uint8)
    flat, tall = array_split(x.reshape(1, 2, 8), [0], "a"), array_split(x.reshape(1, 8, 2), [0], "b")
    assert flat.digest(0) != tall.digest(0)
    assert flat.digest(0) == array_split(x.reshape(1, 2, 8, 1), [0], "c").digest(0)


def test_subset_keeps_images_labels_and_digests_when_nested() -> None:
    whole = split(6)
    part = whole.subset([5, 2, 1]).subset([2, 0])
    assert part.labels.tolist() == [whole.labels[1], whole.labels[5]]
    assert part.digests() == [whole.digest(1), whole.digest(5)]
    assert np.array_equal(part.image(1), whole.image(5))
    assert part.size(0) == (8, 8)


def test_test_digest_is_the_same_when_samples_are_reordered() -> None:
    whole = dataset()
    turned = dataset(test=whole.test.subset([3, 1, 0, 2, 5, 4]))
    assert whole.test_digest() == turned.test_digest()
    assert len(whole.test_digest()) == 64


def test_test_digest_differs_when_one_label_does() -> None:
    x = images(4)
    one, other = (dataset(test=array_split(x, y, "here")) for y in ([0, 1, 0, 1], [0, 1, 0, 0]))
    assert one.test_digest() != other.test_digest()


def test_overlap_counts_test_samples_when_they_occur_in_train() -> None:
    x = images(8)
    found = overlap(
        dataset(train=array_split(x[:5], [0, 1, 0, 1, 0], "a"), test=array_split(x[3:], [1, 0, 1, 0, 1], "b"))
    )
    assert found["train/test"] == 2
    assert found["train/calibration"] == found["validation/test"] == 0
    assert set(found) == {
        "train/calibration",
        "train/validation",
        "calibration/validation",
        "train/test",
        "calibration/test",
        "validation/test",
    }


def test_overlap_is_none_when_a_part_is_missing() -> None:
    found = overlap(dataset(train=None, calibration=None))
    assert found["train/test"] is None
    assert found["calibration/validation"] is None
    assert found["validation/test"] == 0


def test_require_separate_names_count_and_example_when_parts_share_samples() -> None:
    x = images(8)
    shared = dataset(calibration=array_split(x[:4], [0, 1, 0, 1], "a"), test=array_split(x[2:], [0, 1] * 3, "b"))
    with pytest.raises(
        DataError, match=rf"2 of 6 test samples also occur in calibration, .*{shared.test.digest(0)[:12]}"
    ):
        require_separate(shared)


def test_require_separate_passes_when_nothing_is_shared() -> None:
    require_separate(dataset())
    require_separate(dataset(train=None, calibration=None, validation=None))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("a",)}, "must be at least 2, got 1"),
        ({"classes": ()}, "must be at least 2, got 0"),
        ({"test": split(6).subset([])}, "test part .* must have at least one sample, got none"),
        ({"validation": array_split(images(2), [0, 2], "x")}, "labels of the validation part .* got 0 to 2"),
        ({"class_map": (1, 2, 3)}, "class map .* must have one output column for each of its 2 classes, got 3"),
    ],
)
def test_dataset_is_refused_when_it_is_not_usable(changes: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataset(**changes)


@pytest.mark.parametrize("labels", [[0, -1], [[0, 1]], [0, 1, 1]])
def test_split_is_refused_when_labels_do_not_fit(labels: list[object]) -> None:
    with pytest.raises(DataError):
        Split(split(2)._source, labels, [0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([(28, 28)], (32, 32)),
        ([(8, 8)], (32, 32)),
        ([(32, 32)], (32, 32)),
        ([(33, 33)], (40, 40)),
        ([(64, 48)], (64, 48)),
        ([(96, 96)], (96, 96)),
        ([(97, 20)], (224, 224)),
        ([(320, 400)], (224, 224)),
        ([(28, 28), (40, 50)], (56, 56)),
    ],
)
def test_input_size_follows_the_images_when_small(sides: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    parts = [array_split(np.zeros((3, h, w), dtype=np.uint8), [0, 1, 0], "here") for h, w in sides]
    assert input_size(parts) == expected
