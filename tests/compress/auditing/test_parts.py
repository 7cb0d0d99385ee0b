"""Parts of an audit: joined samples, log-odds, samples of shadows, copies, the shelf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from certify.core.errors import DataError, UsageError
from certify.core.private_data import DataKey
from certify.core.progress import Silent
from certify.data import array_split
from certify.data.own_samples import pair_split
from certify.data.touches import Ledger
from compress.auditing.audit_folder import Shelf
from compress.auditing.canaries import Plan
from compress.auditing.extraction import imitate, parse_queries
from compress.auditing.joined_splits import join
from compress.auditing.repetition import costed, passes_digest, recipe_of
from compress.auditing.scores import LARGEST, log_odds
from compress.auditing.shadows import draw_inside
from compress.core.step_cost import mark_unmetered, metered
from compress.models.built_model import ModelSource


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def test_joined_samples_are_those_of_their_splits_in_order() -> None:
    first, second = array_split(images(3, 0), [0, 1, 0], "a"), array_split(images(2, 1), [1, 1], "b")
    joined = join(first, second.subset([1]), first)
    assert joined.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(joined.image(3), second.image(1)) and np.array_equal(joined.image(6), first.image(2))
    assert joined.digests() == [*first.digests(), second.digest(1), *first.digests()]


def test_groups_of_joined_samples_are_kept_when_all_splits_have_the_column() -> None:
    first = array_split(images(2, 0), [0, 1], "a").grouped({"sex": np.array(["f", "m"]), "age": np.array(["1", "2"])})
    second = array_split(images(1, 1), [1], "b").grouped({"sex": np.array(["m"])})
    groups = join(first, second.subset([0])).groups
    assert {name: values.tolist() for name, values in groups.items()} == {"sex": ["f", "m", "m"]}


def test_readings_of_joined_samples_are_noted_where_they_lie() -> None:
    ledger = Ledger()
    first, second = (array_split(images(2, k), [0, 1], "a").watched(ledger, part) for k, part in enumerate(("a", "b")))
    joined = join(first, second)
    mark = ledger.mark()
    joined.image(2)
    assert ledger.since(mark) == {"b": ("raw",)}


def test_identifiers_of_joined_private_samples_stay_keyed() -> None:
    key, plain = DataKey(bytes(32)), array_split(images(2, 0), [0, 1], "a")
    assert join(plain.keyed(key)).digests() == [key.keyed(one) for one in plain.digests()]


def test_arrays_are_joined_and_other_kinds_refused() -> None:
    values = pair_split(np.ones((2, 3), np.float32), [0, 1], "v")
    assert join(values, values).arrays(3).keys() == values.arrays(1).keys()
    with pytest.raises(DataError, match="cannot be attacked together"):
        join(values, array_split(images(2, 0), [0, 1], "a"))
    with pytest.raises(DataError, match="of classifiers"):
        join(pair_split(np.ones((2, 3), np.float32), [0.5, 1.5], "v"))


def test_log_odds_are_those_of_softmax() -> None:
    logits, labels = np.random.default_rng(0).normal(0, 3, (20, 5)), np.arange(20) % 5
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = shares[np.arange(20), labels]
    assert log_odds(logits, labels) == pytest.approx(np.log(own / (1 - own)), abs=1e-4)
    assert log_odds(np.array([[1e4, 0.0], [0.0, 1e4]]), np.array([0, 0])).tolist() == [LARGEST, -LARGEST]


@pytest.mark.parametrize(("share", "seen"), [(0.5, 4), (0.66, 5), (0.95, 6), (0.05, 2)])
def test_each_sample_is_in_equally_many_shadows(share: float, seen: int) -> None:
    inside = draw_inside(500, 8, share, np.random.default_rng(0))
    assert (inside.sum(0) == seen).all() and len({row.tobytes() for row in inside}) == 8
    assert abs(inside.sum(1) / 500 - seen / 8).max() < 0.1


def test_fewer_than_four_shadows_are_refused() -> None:
    with pytest.raises(UsageError, match="take 4"):
        draw_inside(10, 3, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [(Plan(101), "more than the 100"), (Plan(1), "not an audit"), (Plan(10, 11), "11 guesses about 10 canaries")],
)
def test_numbers_of_canaries_and_guesses_are_refused_when_they_do_not_fit(plan: Plan, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        plan.numbers(100)


@pytest.mark.parametrize("text", ["", "a", "1", "0,10", "-5"])
def test_queries_are_refused_when_they_are_not_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="numbers of queries"):
        parse_queries(text)


def test_copy_learns_from_its_samples_and_starts_the_same_each_time() -> None:
    source = ModelSource("torch.nn:Linear", {"in_features": 4, "out_features": 2}, 2)
    samples = 5 * torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    told = torch.nn.functional.one_hot((samples[:, 0] > 0).long(), 2).float()
    first, second = (imitate(source, samples, told, 7) for _ in range(2))
    assert torch.equal(first(samples), second(samples))
    opposite = imitate(source, samples, 1 - told, 7)
    agreement = [float((model(samples).argmax(1) == told.argmax(1)).float().mean()) for model in (first, opposite)]
    assert agreement[0] > 0.7 and agreement[1] < 0.3, agreement


def test_shelf_keeps_finished_parts_and_starts_over_for_another_audit(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, {"asked": 1}, Silent())
    assert shelf.finished("a") is None and shelf.finish("a", {"n": 1}) == {"n": 1}
    assert Shelf(tmp_path, {"asked": 1}, Silent()).finished("a") == {"n": 1}
    assert shelf.folder.stat().st_mode & 0o077 == 0  # it holds the secrets of coins
    assert Shelf(tmp_path, {"asked": 2}, Silent()).finished("a") is None
    shelf.remove()
    assert not shelf.folder.exists()


def test_shelf_is_refused_when_somebody_elses_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    (tmp_path / ".audit" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="in the way"):
        Shelf(tmp_path, {}, Silent())
    assert (tmp_path / ".audit" / "notes.txt").read_text() == "mine"


def test_cost_of_interrupted_processes_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path, {}, Silent())
    with pytest.raises(KeyboardInterrupt), costed(shelf, "twin") as first:
        sum(range(100_000))
        raise KeyboardInterrupt
    assert first.energy_j is not None
    with costed(Shelf(tmp_path, {}, Silent()), "twin") as second:
        mark_unmetered(first.seconds)  # a training resumes; its first part is on record here
    (_, alone) = shelf.finished("twin-cost")
    assert second.energy_j is not None
    assert second.energy_j["value"] == pytest.approx(first.energy_j["value"] + alone["energy_j"]["value"])
    assert second.seconds == pytest.approx(first.seconds + alone["seconds"], abs=2e-3)
    shelf.finish("shadow-0-cost", [None])  # a process was killed
    with costed(shelf, "shadow-0") as third:
        pass
    assert third.energy_j is None and third.cpu_s >= 0


def test_blocks_within_blocks_are_metered_by_themselves(tmp_path: Path) -> None:
    with costed(Shelf(tmp_path, {}, Silent()), "twin") as outer:
        with metered() as first:
            pass
        with metered() as second:
            sum(range(100_000))
    assert outer.seconds >= first.seconds + second.seconds > 0 and outer.cpu_s >= 0


def row(name: str = "quantize_static", version: int = 1, **config: object) -> dict[str, object]:
    return {"pass": name, "version": version, "config": config}


def test_recipe_is_refused_when_it_cannot_be_repeated() -> None:
    with pytest.raises(UsageError, match="no pass"):
        recipe_of({"rows": [], "recipe": {"name": "r"}})
    with pytest.raises(UsageError, match="version 99"):
        recipe_of({"rows": [row(version=99)], "recipe": {"name": "r"}})
    with pytest.raises(UsageError, match="quantize_static"):
        recipe_of({"rows": [row("quantise_static")], "recipe": {"name": "r"}})


def test_digest_of_passes_changes_with_every_parameter() -> None:
    made = {
        passes_digest([["a", 1, {"x": 1}]]),
        passes_digest([["a", 1, {"x": 2}]]),
        passes_digest([["a", 2, {"x": 1}]]),
    }
    assert len(made) == 3
