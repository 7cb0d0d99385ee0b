"""Data that a program holds, and named arrays: read, cut, digested and fed as they are, whatever object it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from certify.core.errors import DataError, LeanmarkError, UsageError
from certify.core.input_mapping import by_input
from certify.core.progress import Silent
from certify.data import ArrayPreprocess, Preprocess, as_given, load, overlap
from certify.data.named_arrays import named_split
from certify.data.near_duplicates import near_duplicates
from certify.data.own_samples import KEPT_BYTES, pair_split
from certify.data.saved_data import KEPT_NAME, keep_test_part
from certify.data.scoring import score
from certify.measure.inputs import save_samples

N = 40
TABLE = np.random.default_rng(0).normal(size=(N, 3))
CODE = np.arange(N) % 5
Y = np.arange(N) % 2
PIXELS = np.random.default_rng(1).integers(0, 256, (N, 9, 7, 3), dtype=np.uint8)


class Samples:
    """A map-style dataset."""

    def __init__(self, make: Callable[[int], Any], classes: Any = None, size: int = N) -> None:
        self.make, self.classes, self.size = make, classes, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> Any:
        if i >= len(self):
            raise IndexError(i)
        return self.make(i)


class Loader:
    """A loader that shuffles, as torch's do, with a way of its own to put samples together."""

    batch_size = 8

    def __init__(self, dataset: Samples) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return N // 8

    def __iter__(self) -> Iterator[Any]:
        order = np.random.default_rng(2).permutation(N)
        for start in range(0, N, 8):
            rows = [self.dataset[i] for i in order[start : start + 8]]
            yield tuple(np.stack(parts) for parts in zip(*rows, strict=True))


def rows(i: int) -> tuple[npt.NDArray[Any], int]:
    return TABLE[i], int(Y[i])


def test_table_is_the_same_data_in_every_form(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=TABLE, y=Y)
    samples = Samples(rows)
    given = [
        (TABLE, Y),
        samples,
        [rows(i) for i in range(N)],
        Loader(samples),
        (Loader(samples), lambda batch: (batch[0], batch[1])),
        (samples, lambda sample: sample),
        lambda: {"x": TABLE, "y": Y},
        f"npz:{tmp_path / 't.npz'}",
        f"arrays:{tmp_path / 't.npz'}",
    ]
    found = [load(one) for one in given]
    assert {data.test_digest() for data in found} == {found[0].test_digest()}
    assert all({k: len(v) for k, v in data.parts.items()} == {k: len(v) for k, v in found[0].parts.items()}
               for data in found)  # fmt: skip
    assert found[0].test.kind == "arrays" and found[0].test.fields == {"x": ((3,), "float64")}
    assert found[1].spec == "given in Python:Samples"
    assert not any(overlap(found[0]).values()) and near_duplicates(found[0]) == {}


def test_parts_are_kept_when_they_are_given() -> None:
    train, test = Samples(rows, size=30), Samples(lambda i: rows(i + 30), ["off", "on"], size=10)
    for data in (load((train, test)), load([train, test]), load({"train": train, "test": test})):
        assert len(data.test) == 10 and data.classes == ("off", "on")
        assert len(data.train or ()) + len(data.calibration or ()) + len(data.validation or ()) == 30
    only = load({"test": (TABLE, Y)})
    assert only.train is None and len(only.test) == N


def test_images_stay_images_when_a_dataset_yields_pil_or_bytes_in_either_layout() -> None:
    as_pil = load(Samples(lambda i: (Image.fromarray(PIXELS[i]), int(Y[i]))))
    first, last = load((PIXELS.transpose(0, 3, 1, 2), Y)), load((PIXELS, Y))
    assert as_pil.test_digest() == first.test_digest() == last.test_digest()
    assert as_pil.test.kind == "image" and as_pil.test.size(0) == (9, 7)
    uneven = load(Samples(lambda i: {"image": Image.fromarray(PIXELS[i, : 5 + i % 3, :, 0]), "label": int(Y[i])}))
    assert uneven.test.image(0).shape[1:] == (7, 3)
    wide = Samples(lambda i: (Image.fromarray(PIXELS[i, ..., 0].astype(np.uint16)), int(Y[i])))
    with pytest.raises(DataError, match="more than 8 bits"):
        load(wide)


def test_several_inputs_keep_their_names_shapes_and_types(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", table=TABLE.astype(np.float32), code=CODE, y=Y)
    data = load(f"arrays:{tmp_path / 's.npz'}")
    assert data.test.fields == {"table": ((3,), "float32"), "code": ((), "int64")}
    samples = Samples(lambda i: ({"table": TABLE[i].astype(np.float32), "code": CODE[i]}, int(Y[i])))
    assert load(samples).test_digest() == data.test_digest()
    tuples = load(Samples(lambda i: (TABLE[i], CODE[i], int(Y[i]))))
    assert list(tuples.test.fields) == ["x0", "x1"] and tuples.test_digest() != data.test_digest()
    contract = as_given(data)
    statistics = save_samples(tmp_path / "in.npy", data.test, [0, 1, 2], contract)
    fed = by_input(contract.input_names, np.load(tmp_path / "in.npy"))
    assert statistics.distinct == 3 and statistics.std > 0.1
    for name, values in data.test.arrays(1).items():
        assert np.array_equal(fed[name][1], values) and fed[name].dtype == values.dtype
    assert contract.noise(4).dtype.names == ("table", "code") and set(contract.noise(9)["code"]) <= {0, 1}
    assert Preprocess.from_json(contract.to_json()) == contract


def test_digest_distinguishes_names_types_and_values() -> None:
    base = named_split({"a": TABLE}, Y, "t").digest(0)
    others = [{"b": TABLE}, {"a": TABLE.astype(np.float32)}, {"a": TABLE + 1e-9}, {"a": TABLE, "c": CODE}]
    assert len({base, *(named_split(other, Y, "t").digest(0) for other in others)}) == 5
    assert named_split({"c": CODE, "a": TABLE}, Y, "t").digest(0) == named_split(
        {"a": TABLE, "c": CODE}, Y, "t"
    ).digest(0)


def test_contract_states_its_types_and_refuses_other_arrays() -> None:
    data = load((TABLE, Y))
    contract = as_given(data)
    assert contract.dtypes == ("float32",) and contract.input_names == ("x",)
    assert contract.batch(data.test, [0]).dtype == np.float32
    assert as_given(data, {"features": "float64"}, "scores").input_names == ("features",)
    with pytest.raises(DataError, match=r"x is float64 3 per sample, but the model's input 'x' takes int64"):
        ArrayPreprocess(("x",), ((3,),), ("int64",), "y", "logits").batch(data.test, [0])
    with pytest.raises(DataError, match="takes float32 4"):
        ArrayPreprocess(("x",), ((4,),), ("float32",), "y", "logits").batch(data.test, [0])
    with pytest.raises(DataError, match="takes the inputs a, b, but data"):
        as_given(data, {"a": "float32", "b": "float32"})
    with pytest.raises(UsageError, match="dtypes has 1 values, but there are 2 inputs"):
        ArrayPreprocess(("a", "b"), ((1,), (1,)), ("float32",), "y", "logits")
    images = load((PIXELS, Y))
    with pytest.raises(DataError, match="contract takes arrays, but the data are of kind 'image'"):
        contract.batch(images.test, [0])


@pytest.mark.parametrize(
    "given",
    [
        3, 2.5, True, object(), {}, {"train": 1}, {"nonsense": 2}, [], [1], [1, 2, 3], (), (1,), (1, 2), "", b"x",
        {1, 2},        iter([1]), print, int, lambda: None, lambda: 1 / 0, TABLE, Samples(lambda i: TABLE[i]),
        Samples(lambda i: 1 / 0),        Samples(lambda i: (TABLE[: i + 1], 1)), 
        Samples(lambda i: (TABLE[i], "cat")), Samples(rows, size=0),
        Samples(lambda i: (object(), 1)), Samples(lambda i: (None, None)), (TABLE, Y[:3]), (TABLE, TABLE), ({}, Y),
        (Samples(rows), lambda sample: sample[0]), {"test": Samples(lambda i: {})}, (Samples(rows), 3), Silent(),
    ],
)  # fmt: skip
def test_any_other_object_is_refused_in_one_sentence(given: Any) -> None:
    with pytest.raises(LeanmarkError) as caught:
        load(given)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_data_larger_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certify.data.own_samples.KEPT_BYTES", 100)
    with pytest.raises(DataError, match="kept in memory; give the files"):
        load(Samples(rows))
    assert KEPT_BYTES > 1 << 30


def test_kept_test_part_is_the_same_data_for_an_auditor(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    for given, scheme in (
        ((TABLE, Y), "arrays"),
        ((TABLE, TABLE[:, 0]), "arrays"),
        ((PIXELS, Y), "npz"),
        ((grey, Y), "npz"),
    ):
        data = load(given)
        sentence = keep_test_part(data, tmp_path)
        spec = f"{scheme}:test={tmp_path / KEPT_NAME}"
        assert f"--data {spec}." in sentence
        kept = load(spec)
        assert kept.test.digests() == data.test.digests()
        numbers, own = kept.test.targets, data.test.targets
        if numbers is None or own is None:
            assert kept.test_digest() == data.test_digest() and kept.classes == data.classes
        else:
            assert np.array_equal(numbers.values[kept.test.labels], own.values[data.test.labels])
    uneven = load(Samples(lambda i: (Image.fromarray(PIXELS[i, : 5 + i % 3]), int(Y[i]))))
    with pytest.raises(DataError, match="cannot be saved as one array"):
        keep_test_part(uneven, tmp_path)
    with pytest.raises(DataError, match="rename the array"):
        keep_test_part(load(({"classes": TABLE}, Y)), tmp_path)


def test_labels_of_one_column_are_numbers_or_classes_by_their_type() -> None:
    assert pair_split(TABLE, Y[:, None], "t").labels.tolist() == Y.tolist()
    assert pair_split(TABLE, Y.astype(bool), "t").labels.tolist() == Y.tolist()
    numbers = pair_split(TABLE, TABLE[:, 0], "t").targets
    assert numbers is not None and len(numbers.values) == N


def test_single_output_for_two_classes_is_read_as_the_contract_says() -> None:
    outputs = np.array([[0.3], [0.7], [-2.0]])
    assert score(outputs, [1, 1, 0], None, 2).correct.tolist() == [True, True, True]
    shares = score(outputs[:2], [0, 1], None, 2, reading="probabilities")
    assert shares.correct.tolist() == [True, True] and np.allclose(shares.margin, 0.4)


def test_plain_folder_is_split_with_a_message_when_it_has_no_parts(tmp_path: Path) -> None:
    said: list[str] = []

    class Heard(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    for i in range(N):
        for part in ("", "train", "test"):
            folder = tmp_path / ("parts" if part else "flat") / part / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[i] ^ (part == "test")).save(folder / f"{i}.png")
    flat = load(str(tmp_path / "flat"), progress=Heard())
    assert {name: len(split) for name, split in flat.parts.items()}["test"] == 12
    assert len(said) == 1 and "split at random" in said[0] and "12 test" in said[0]
    assert flat.spec == f"imagefolder:{tmp_path / 'flat'}" and load(flat.spec).test_digest() == flat.test_digest()
    assert len(load(tmp_path / "parts", progress=Heard()).test) == N and len(said) == 1
    with pytest.raises(DataError, match="images outside class folders"):
        load(str(tmp_path / "flat" / "a"))


def noisy(i: int) -> tuple[npt.NDArray[Any], int]:
    return TABLE[i] + np.random.default_rng().normal(size=3), int(Y[i])


def mirrored(i: int) -> tuple[Any, int]:
    image = Image.fromarray(PIXELS[i])
    return (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if np.random.random() < 0.5 else image), int(Y[i])


class Collating(Loader):
    """A loader with a custom collate function, which may be random."""

    batch_sampler = object()

    def __init__(self, dataset: Samples, random: bool) -> None:
        super().__init__(dataset)
        self.random = random

    def collate_fn(self, rows: list[Any]) -> Any:
        x, y = (np.stack(parts) for parts in zip(*rows, strict=True))
        return (x * (1 + np.random.random()) if self.random else x), y

    def __iter__(self) -> Iterator[Any]:
        yield self.collate_fn([self.dataset[i] for i in range(N)])


FIXED = Samples(rows)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (Samples(noisy), "test"),
        (Samples(mirrored), "test"),
        (Loader(Samples(noisy)), "test"),
        (Samples(lambda i: (TABLE[i], int(np.random.randint(2)))), "test"),
        (Collating(FIXED, True), "test"),
        ((FIXED, lambda row: (row[0] + np.random.random(), row[1])), "test"),
        ((FIXED, Samples(noisy)), "test"),
        ({"train": FIXED, "val": Samples(noisy), "test": FIXED}, "validation"),
        ({"calibration": Samples(noisy), "train": FIXED, "test": FIXED}, "calibration"),
        (lambda: Samples(noisy), "test"),
    ],
)
def test_random_augmentation_is_refused_outside_the_train_part(given: Any, part: str) -> None:
    with pytest.raises(
        DataError, match=f"the {part} part gives different values .* only the train part may be augmented"
    ):
        load(given)


class OwnError(Exception):
    """As libraries define them."""


@pytest.mark.parametrize(
    "error", [OwnError("no such page"), SystemExit("no such page"), AssertionError("no such page")]
)
def test_any_error_of_a_dataset_is_one_sentence(error: BaseException) -> None:
    def failing(i: int) -> Any:
        raise error

    with pytest.raises(DataError, match=rf"{type(error).__name__}: no such page"):
        load((FIXED, Samples(failing)))
    with pytest.raises(DataError, match=rf"{type(error).__name__}: no such page"):
        load(lambda: failing(0))


def test_labels_that_are_no_numbers_are_not_called_random() -> None:
    given = Samples(lambda i: (TABLE[i], {"label": int(Y[i])}))
    with pytest.raises(DataError, match="y must hold integers or floats"):
        load((given, given))


def test_random_augmentation_of_the_train_part_is_reported_unless_validation_would_come_from_it() -> None:
    said: list[str] = []

    class Heard(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    parts = {"train": Samples(noisy), "val": FIXED, "test": FIXED}
    assert load(parts, progress=Heard()).calibration is not None
    assert len(said) == 1 and "also for calibration" in said[0] and "\n" not in said[0]
    load({**parts, "calibration": FIXED}, progress=Heard())
    assert len(said) == 2 and "calibration" not in said[1]
    with pytest.raises(DataError, match="validation part would be set aside from it"):
        load((Samples(noisy), FIXED))


def test_samples_that_stay_the_same_are_not_called_random() -> None:
    in_place = TABLE.copy()

    def scaled(row: Any) -> Any:
        row[0][...] /= 2
        return row

    read = load((Samples(lambda i: (in_place[i], int(Y[i]))), scaled))
    assert read.test_digest() == load((TABLE / 2, Y)).test_digest()  # transformed once, not again by the check
    for given in (Collating(FIXED, False), Loader(FIXED), (Loader(FIXED), lambda batch: batch)):
        said: list[str] = []
        assert load(given).test and not said


class IterableDataset:
    """A stream, with the method that torch's class inherits."""

    def __iter__(self) -> Iterator[Any]:
        return map(rows, range(N))

    def __getitem__(self, i: int) -> Any:
        raise NotImplementedError


class Chosen(Loader):
    """A loader that yields some samples, as with a torch sampler."""

    def __init__(self, dataset: Samples, **attributes: Any) -> None:
        super().__init__(dataset)
        vars(self).update({"collate_fn": default_collate, **attributes})


def default_collate(found: list[Any]) -> Any:
    raise AssertionError("samples are read without it")


class Weighted(list):  # type: ignore[type-arg]
    replacement = True


@pytest.mark.parametrize(
    ("attributes", "chosen"),
    [
        ({"sampler": [7, 3, 9, 8, 1, 2, 3, 4, 5, 6]}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"batch_sampler": [[0, 5, 2], [9, 7, 8], [3, 4, 1]], "sampler": range(N)}, [0, 1, 2, 3, 4, 5, 7, 8, 9]),
        ({"sampler": Weighted([0, 0, 0])}, range(N)),
        ({"batch_sampler": type("Batches", (), {"sampler": range(10, 30)})()}, range(10, 30)),
        ({"sampler": itertools.cycle(range(N))}, range(N)),
        ({"batch_size": None, "sampler": range(N)}, range(N)),
    ],
)
def test_loader_gives_only_the_samples_that_its_sampler_chooses(attributes: Any, chosen: Any) -> None:
    data = load({"test": Chosen(Samples(rows), **attributes)})
    assert data.test_digest() == load({"test": (TABLE[list(chosen)], Y[list(chosen)])}).test_digest()


def test_stream_is_read_in_batches_when_a_loader_makes_them() -> None:
    stream = IterableDataset()

    class Batches(Loader):
        def __iter__(self) -> Iterator[Any]:
            yield tuple(np.stack(part) for part in zip(*stream, strict=True))

    assert load(Batches(stream)).test_digest() == load((TABLE, Y)).test_digest()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"val": (TABLE, Y), "validation": (TABLE, Y), "test": (TABLE, Y)}, "two validation parts, val and validation"),
        ((np.ma.masked_array(TABLE, TABLE > 1), Y), "masked values"),
        ((TABLE, np.array(["cat", "dog"])[Y]), "number the classes from 0, .* and name them in 'classes'"),
        ((TABLE, np.eye(2)[Y]), r"for one-hot labels give y\.argmax\(1\)"),
    ],
)
def test_data_are_refused_with_what_to_give_instead(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(given)


def test_table_of_pandas_is_an_array() -> None:
    pandas = pytest.importorskip("pandas")
    assert load((pandas.DataFrame(TABLE), pandas.Series(Y))).test_digest() == load((TABLE, Y)).test_digest()
    with pytest.raises(DataError, match="must hold numbers"):
        load((pandas.DataFrame({"a": ["x", "y"]}), pandas.Series([0, 1])))


@pytest.mark.parametrize("kind", ["bfloat16", "to_sparse"])
def test_tensor_without_a_numpy_type_is_refused_in_one_sentence(kind: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(DataError, match="Tensor cannot be converted to NumPy"):
        load((getattr(torch.tensor(TABLE), kind)(), torch.tensor(Y)))
