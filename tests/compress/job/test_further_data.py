"""Data that a pass brings are refused before any work, and in a dry run, if they contain samples of the job's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from certify.core.errors import DataError, LeanmarkError, UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from certify.data import Dataset, array_split
from compress.job import pipeline, recipe
from compress.job.dry_run import dry_run
from compress.job.further_data import require_further_data
from compress.testing.networks import blobs, network

KEY = DataKey(bytes(range(32)))
PIXELS = {"mean": [0.5] * 3, "std": [0.5] * 3}
HEAD = {"dp_head": {"delta": 1e-3, "steps": 5, "public": "brought:data", "public_epochs": 1}}
PATE = {"pate_distill": {"delta": 1e-3, "teachers": 3, "noise": 20.0, "public": "brought:data", "epochs": 1}}
CLIENTS = {"federated_distill": {"clients": 2, "epochs": 1, "public": "brought:data", "public_epochs": 1}}
EXTRA = {"distill": {"epochs": 1, "unlabelled": "brought:data"}}
CASES: dict[str, tuple[list[Any], str, str]] = {
    "head": ([HEAD], "train", "public samples of 'brought:data' are train samples"),
    "head, test": ([HEAD], "test", "public samples of 'brought:data' are test samples"),
    "votes": ([PATE], "train", "public samples of 'brought:data' are train samples"),
    "clients": ([CLIENTS], "train", "public samples of 'brought:data' are train samples"),
    "unlabelled": ([EXTRA], "test", "unlabelled samples of 'brought:data' are test samples"),
    "unlabelled before noise": ([EXTRA, HEAD], "train", "unlabelled samples of 'brought:data' are train samples"),
    "a later pass": ([{"fold_norms": {}}, HEAD], "train", "public samples of 'brought:data' are train samples"),
}


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes ``brought:data`` return some data, or what a function returns."""

    def make(data: Any, made: Callable[[], Any] | None = None) -> None:
        module = ModuleType("brought")
        module.__spec__ = ModuleSpec("brought", None)
        module.data = made or (lambda: data)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "brought", module)

    return make


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(pipeline.Job, "make", stopped)


def other() -> Dataset:
    pixels = np.random.default_rng(9).integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    return replace(blobs(), train=array_split(pixels, np.arange(24) % 4, "other"))


def with_samples_of(part: str) -> Dataset:
    return replace(other(), train=blobs().parts[part].subset(np.arange(7)))


def make(chosen: Any, out: Path, **options: Any) -> None:
    given = {"data_key": KEY, "progress": Silent(), "measure": False, **options}
    pipeline.run(network("residual"), chosen, blobs(), out=out, preprocess=PIXELS, **given)


@pytest.mark.parametrize("case", CASES)
def test_shared_samples_are_refused_before_any_work_and_in_a_dry_run(
    case: str, bring: Callable[..., None], tmp_path: Path
) -> None:
    chosen, part, sentence = CASES[case]
    bring(with_samples_of(part))
    for tried in (
        lambda: make(chosen, tmp_path / "out"),
        lambda: dry_run(network("residual"), chosen, blobs(), out=tmp_path / "out", preprocess=PIXELS),
    ):
        with pytest.raises(DataError, match=f"7 of the {sentence}") as error:
            tried()
        assert str(error.value).count(". ") == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", [name for name, (_, part, _) in CASES.items() if part == "train"])
def test_data_apart_from_the_job_are_accepted(case: str, bring: Callable[..., None]) -> None:
    bring(other())
    dry_run(network("residual"), CASES[case][0], blobs(), preprocess=PIXELS)


def test_unlabelled_train_samples_are_accepted_without_a_privacy_claim(bring: Callable[..., None]) -> None:
    bring(with_samples_of("train"))
    dry_run(network("residual"), [EXTRA], blobs(), preprocess=PIXELS)


@pytest.mark.parametrize(
    ("data", "kind", "sentence"),
    [
        (lambda: replace(other(), train=None), UsageError, "The public data 'brought:data' have no train part"),
        (lambda: 1 / 0, LeanmarkError, "brought:data|data function"),
    ],
)
def test_data_without_a_train_part_or_that_fail_are_refused(
    data: Callable[[], Any], kind: type[LeanmarkError], sentence: str, bring: Callable[..., None], tmp_path: Path
) -> None:
    bring(None, data)
    with pytest.raises(kind, match=sentence):
        make([HEAD], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_private_part_cannot_be_the_public_one(tmp_path: Path) -> None:
    votes = [{"pate_distill": {**PATE["pate_distill"], "public": "validation"}}]
    parts = ("train", "validation")
    with pytest.raises(UsageError, match="the private part validation as public data"):
        make(votes, tmp_path / "out", private_parts=parts)
    with pytest.raises(UsageError, match="the private part validation as public data"):
        dry_run(network("residual"), votes, blobs(), preprocess=PIXELS, private_parts=parts)
    dry_run(network("residual"), votes, blobs(), preprocess=PIXELS)


def test_every_private_part_is_compared(bring: Callable[..., None]) -> None:
    bring(with_samples_of("calibration"))
    chosen, parts = recipe.load([HEAD]), ("train", "calibration")
    require_further_data(chosen, blobs(), ("train",), seed=0)
    for key in (None, KEY):
        dataset = blobs() if key is None else blobs().keyed(key)
        with pytest.raises(DataError, match="are calibration samples"):
            require_further_data(chosen, dataset, parts, seed=0, key=key)


def test_dry_run_refuses_private_parts_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="no private part 'trian'"):
        dry_run(network("residual"), "private-head", blobs(), preprocess=PIXELS, private_parts=("train", "trian"))


def test_private_recipe_without_a_key_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --private-data"):
        pipeline.run(network("residual"), "private-head", "npz:absent.npz", out=tmp_path / "out", preprocess=PIXELS)
