from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from certify.core.errors import DataError
from certify.data import load, overlap, require_separate
from certify.data.folders import IMAGENETTE

SYNSETS = tuple(IMAGENETTE)


def make_image(path: Path, number: int, side: int = 12, mode: str = "RGB") -> Path:
    """An image that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).convert(mode).save(path)
    return path


def tree(root: Path, parts: dict[str, int], classes: tuple[str, ...] = ("cat", "dog"), side: int = 12) -> Path:
    number = 0
    for part, count in parts.items():
        for name in classes:
            for i in range(count):
                number += 1
                make_image(root / part / name / f"{i:03}.png", number, side)
    return root


def sizes(root: Path) -> dict[str, int]:
    return {name: len(split) for name, split in load(f"imagefolder:{root}").parts.items()}


def test_imagefolder_uses_all_three_parts_when_they_are_there(tmp_path: Path) -> None:
    assert sizes(tree(tmp_path, {"train": 10, "val": 3, "test": 4})) == {
        "train": 18,
        "calibration": 2,
        "validation": 6,
        "test": 8,
    }


def test_imagefolder_tests_on_val_when_there_is_no_test(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 20, "val": 3})
    assert sizes(root) == {"train": 32, "calibration": 4, "validation": 4, "test": 6}
    data = load(f"imagefolder:{root}")
    assert set(overlap(data).values()) == {0}
    assert np.array_equal(data.test.image(5), np.array(PIL.Image.open(root / "val/dog/002.png")))


def test_imagefolder_carves_validation_when_there_is_no_val(tmp_path: Path) -> None:
    assert sizes(tree(tmp_path, {"train": 20, "test": 3})) == {
        "train": 32,
        "calibration": 4,
        "validation": 4,
        "test": 6,
    }


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"val": 3}, {"test": 6}),
        ({"test": 3}, {"test": 6}),
        ({"val": 2, "test": 3}, {"validation": 4, "test": 6}),
    ],
)
def test_imagefolder_only_tests_when_there_is_no_train(
    tmp_path: Path, parts: dict[str, int], expected: dict[str, int]
) -> None:
    assert sizes(tree(tmp_path, parts)) == expected


def test_imagefolder_names_and_labels_follow_the_folders_when_loaded(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"train": 10, "val": 2}, ("dog", "cat", "axolotl"))
    make_image(root / "val/cat/deeper/extra.jpeg", 99)
    (root / "val/cat/notes.txt").write_text("no image")
    (root / "val/.hidden").mkdir()
    data = load(f"imagefolder:{root}")
    assert (data.name, data.classes, data.class_map) == ("pets", ("axolotl", "cat", "dog"), None)
    assert data.test.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert data.input_size == (32, 32)
    assert data.test.size(0) == (12, 12)


def test_imagefolder_maps_to_imagenet_when_folders_are_imagenettes_synsets(tmp_path: Path) -> None:
    data = load(f"imagefolder:{tree(tmp_path / 'ten', {'train': 10, 'val': 1}, SYNSETS, side=120)}")
    assert data.class_map == (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
    assert data.classes[0] == "tench"
    assert data.classes[-1] == "parachute"
    assert data.input_size == (224, 224)


def test_imagefolder_maps_each_class_when_only_some_synsets_are_there(tmp_path: Path) -> None:
    data = load(f"imagefolder:{tree(tmp_path / 'two', {'val': 1}, (SYNSETS[9], SYNSETS[1]))}")
    assert data.class_map == (217, 701)
    assert data.classes == ("English springer", "parachute")


def test_imagefolder_maps_nothing_when_one_folder_is_not_a_synset(tmp_path: Path) -> None:
    assert load(f"imagefolder:{tree(tmp_path, {'val': 1}, (SYNSETS[0], 'cat'))}").class_map is None


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_image_is_rgb_when_the_file_has_another_mode(tmp_path: Path, mode: str) -> None:
    root = tree(tmp_path, {"val": 1})
    suffix = "jpg" if mode == "CMYK" else "png"
    (root / "val/cat/000.png").unlink()
    path = root / f"val/cat/000.{suffix}"
    pixels = np.random.default_rng(5).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).convert("RGB" if mode == "LA" else mode).convert(mode).save(path)
    image = load(f"imagefolder:{root}").test.image(0)
    assert (image.shape, image.dtype) == ((6, 7, 3), np.uint8)


def test_identical_files_stay_on_one_side_when_train_repeats_them(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 20, "val": 2})
    for path in sorted((root / "train").rglob("*.png")):
        path.with_name("again_" + path.name).write_bytes(path.read_bytes())
    require_separate(load(f"imagefolder:{root}"))


def test_shared_files_are_found_when_train_and_test_have_them(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 20, "val": 2})
    for path in sorted((root / "val/cat").iterdir()):
        (root / "train/cat" / f"leaked_{path.name}").write_bytes(path.read_bytes())
    data = load(f"imagefolder:{root}")
    with pytest.raises(DataError, match="test samples also occur in"):
        require_separate(data)


def test_imagefolder_is_refused_when_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder not found"):
        load(f"imagefolder:{tmp_path / 'none'}")


def test_imagefolder_is_refused_when_it_has_no_part_to_test_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither val/ nor test/"):
        load(f"imagefolder:{tree(tmp_path, {'train': 3})}")


@pytest.mark.parametrize(
    ("parts", "renamed"),
    [
        (("Train", "Test"), "rename Test/ to test/, Train/ to train/"),
        (("train", "valid"), "rename valid/ to val/"),
        (("train", "test", "validation"), "rename validation/ to val/"),
        (("train", "val", "Test"), "rename Test/ to test/"),
        (("TRAINING", "dev", "cat"), "rename TRAINING/ to train/, dev/ to val/"),
    ],
)
def test_imagefolder_is_refused_when_parts_have_other_names(
    tmp_path: Path, parts: tuple[str, ...], renamed: str
) -> None:
    root = tree(tmp_path, dict.fromkeys(parts, 8))
    with pytest.raises(DataError, match=renamed):
        load(f"imagefolder:{root}")


def test_imagefolder_is_refused_when_the_parts_are_inside_the_classes(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"cat": 8, "dog": 8}, classes=("train", "test"))
    with pytest.raises(DataError, match="has the folders test, train.*as in photos/train/(cat|dog)"):
        load(f"imagefolder:{root}")


@pytest.mark.parametrize(
    ("parts", "set_aside"),
    [
        ({"train": 10, "val": 3, "test": 4}, ()),
        ({"train": 10, "val": 4}, ("validation",)),
        ({"train": 10, "test": 4}, ("validation",)),
        ({"test": 4}, ()),
        ({"": 10}, ("validation", "test")),
    ],
)
def test_parts_that_a_model_may_have_seen_are_named(
    tmp_path: Path, parts: dict[str, int], set_aside: tuple[str, ...]
) -> None:
    assert load(f"imagefolder:{tree(tmp_path, parts)}").set_aside == set_aside


def test_hidden_files_and_folders_are_no_samples(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 10, "val": 3})
    copy = root / "train/cat/.ipynb_checkpoints/000-checkpoint.png"
    copy.parent.mkdir()
    copy.write_bytes((root / "train/cat/000.png").read_bytes())
    (root / "val/dog/._000.png").write_bytes(b"Mac OS X")
    assert sizes(root) == {"train": 16, "calibration": 2, "validation": 2, "test": 6}


def test_image_of_a_format_that_is_not_read_is_refused_and_no_other_file_is(tmp_path: Path) -> None:
    root = tree(tmp_path, {"test": 2})
    make_image(root / "test" / "cat" / "x.png", 9).rename(root / "test" / "cat" / "x.png.txt")
    make_image(root / "test" / "cat" / "y.jpg", 10).rename(root / "test" / "cat" / "y.JFIF")
    assert sizes(root) == {"test": 5}
    (root / "test" / "dog" / "phone.HEIC").write_bytes(b"any")
    with pytest.raises(DataError, match="phone.HEIC: .heic images are not read; convert it to PNG or JPEG"):
        sizes(root)


def test_class_may_be_called_like_a_part_when_no_other_folder_is(tmp_path: Path) -> None:
    root = tree(tmp_path, {"": 8}, classes=("car", "Train"))
    assert load(f"imagefolder:{root}").classes == ("Train", "car")


@pytest.mark.parametrize(("classes", "words"), [((), "no class"), (("cat",), "only the class 'cat'")])
def test_imagefolder_is_refused_when_it_has_one_class_or_none(
    tmp_path: Path, classes: tuple[str, ...], words: str
) -> None:
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match=words):
        load(f"imagefolder:{tree(tmp_path, {'val': 2}, classes)}")


def test_imagefolder_is_refused_when_a_class_is_empty(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 3, "val": 2})
    (root / "train/emu").mkdir()
    with pytest.raises(DataError, match="emu: contains no images"):
        load(f"imagefolder:{root}")


def test_imagefolder_is_refused_when_val_has_a_class_that_train_lacks(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 3, "val": 2})
    make_image(root / "val/emu/0.png", 77)
    with pytest.raises(DataError, match="'emu' is not one of the 2"):
        load(f"imagefolder:{root}")


def test_imagefolder_names_the_file_when_it_is_empty(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train": 3, "val": 2})
    (root / "train/cat/001.png").write_bytes(b"")
    with pytest.raises(DataError, match="001.png: is an empty file"):
        load(f"imagefolder:{root}")


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.0])
def test_data_are_refused_while_reading_when_a_file_cannot_be_decoded(tmp_path: Path, part: str, kept: float) -> None:
    root = tree(tmp_path, {"train": 100, "val": 3, "test": 3}, side=64)
    damaged = root / part / "dog/001.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: int(kept * len(whole))] or b"not an image at all")
    with pytest.raises(DataError, match="001.png cannot be decoded"):
        load(f"imagefolder:{root}")
    damaged.write_bytes(whole)
    data = load(f"imagefolder:{root}")
    damaged.write_bytes(b"not an image at all")
    with pytest.raises(DataError, match="001.png cannot be decoded"):
        [split.image(i) for split in data.parts.values() for i in range(len(split))]


def test_image_is_refused_when_it_has_16_bits_per_channel(tmp_path: Path) -> None:
    root = tree(tmp_path, {"val": 2})
    PIL.Image.fromarray(np.full((12, 12), 4000, dtype=np.uint16)).save(root / "val/cat/000.png")
    with pytest.raises(DataError, match="000.png has more than 8 bits"):
        load(f"imagefolder:{root}")
