"""Readings of data are noted where samples are read, whoever reads them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from certify.core.errors import UsageError
from certify.data import Dataset, array_split, default_preprocess, load
from certify.data.touches import RAW, Ledger, joined


def made(count: int = 12) -> Dataset:
    random = np.random.default_rng(0)
    parts = [
        array_split(random.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 3, "tiny")
        for _ in range(4)
    ]
    return Dataset("tiny", "tests:tiny", tuple("abc"), *parts, input_size=(32, 32))


def test_ledger_notes_the_part_when_samples_or_labels_are_read() -> None:
    ledger, data = Ledger(), made()
    watched = data.watched(ledger)
    assert watched.train is not None and watched.validation is not None
    assert ledger.since({}) == {} and watched.test_digest() == data.test_digest() and ledger.since({}) == {}
    contract = default_preprocess(data)
    contract.batch(watched.train, [0, 1, 1])
    mark = ledger.mark()
    assert ledger.since({}) == {"train": (RAW,)} and ledger.samples("train") == 3
    _ = watched.validation.subset([2]).labels
    assert ledger.since(mark) == {"validation": (RAW,)} and ledger.samples("validation") == 0


def test_ledger_notes_the_mechanism_when_its_loader_reads() -> None:
    ledger = Ledger()
    split = made().watched(ledger).test
    split.under("dp-sgd#0").subset([1]).image(0)
    assert ledger.since({}) == {"test": ("dp-sgd#0",)}
    split.image(0)
    assert ledger.since({}) == {"test": ("dp-sgd#0", RAW)}
    with pytest.raises(UsageError, match="The name 'raw' is reserved"):
        split.under(RAW)


def test_ledger_keeps_every_read_when_threads_read_concurrently() -> None:
    ledger = Ledger()
    split = made().watched(ledger).test
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(split.image, [i % 12 for i in range(400)]))
    assert ledger.samples("test") == 400


def test_data_are_watched_when_loaded_while_a_ledger_is_open(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, y=np.arange(30) % 2)
    spec, ledger = f"npz:{tmp_path / 'a.npz'}", Ledger()
    with ledger.opened():
        inside = load(spec)
    outside = load(spec)
    assert inside.train is not None
    inside.train.image(0)
    outside.test.image(0)
    assert ledger.since({}) == {f"train of {spec}": (RAW,)}


def test_ledger_keeps_recording_when_it_is_pickled() -> None:
    ledger = Ledger()
    split = pickle.loads(pickle.dumps(made().watched(ledger).test))
    split.image(0)
    assert ledger.since({}) == {}  # another process notes on its own copy


def test_touches_are_all_unknown_when_one_is_unknown() -> None:
    assert joined({"train": (RAW,)}, None) is None
    assert joined({"train": (RAW,)}, {}) == {"train": [RAW]}
