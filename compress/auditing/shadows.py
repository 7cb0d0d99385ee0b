"""The membership attack: shadow models by the model's own recipe, and the scores of model and shadows per sample."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.assessments.privacy_audit.coins import pack_bits, unpack_bits
from certify.assessments.privacy_audit.records import ARMS, TARGET, Membership, Record, ScoresOf, Step
from certify.core.errors import UsageError
from certify.core.progress import Progress
from certify.data import Preprocess, Split
from compress.auditing.audit_folder import Shelf
from compress.auditing.repetition import Repeater, costed
from compress.auditing.scores import sample_odds

FEWEST = 2
"""Minimum number of shadows that see a sample, and of shadows that do not."""
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pool:
    """Members and non-members that an attack distinguishes.

    Attributes:
        split: samples, members first.
        members: number of samples that the model was trained on.
        arms: attacked files of the model, by arm.
        shadowed: arms that shadows are trained for.
    """

    split: Split
    members: int
    arms: Mapping[str, Path]
    shadowed: tuple[str, ...]

    def digest(self) -> str:
        """Return the hex SHA-256 over the identifiers in order."""
        return hashlib.sha256("".join(f"{each}\n" for each in self.split.digests()).encode()).hexdigest()


def require_shadows(shadows: int) -> None:
    """Check the number of shadows.

    Raises:
        UsageError: there are fewer than four.
    """
    if shadows < 2 * FEWEST:
        raise UsageError(f"{shadows} shadows are too few: a sample must be in two of them and out of two; take 4.")


def draw_inside(count: int, shadows: int, share: float, random: np.random.Generator) -> Bits:
    """Draw the training samples of each shadow; every sample is in the same number of shadows.

    Args:
        count: number of samples.
        shadows: number of shadows, at least four.
        share: fraction of the samples that the model was trained on, which shadows approximate.
        random: random generator.

    Returns:
        Bits (shadows, count).

    Raises:
        UsageError: there are fewer than four shadows.
    """
    require_shadows(shadows)
    seen = min(max(FEWEST, round(share * shadows)), shadows - FEWEST)
    # A permutation of the shadows for each sample; the first `seen` of them train on it.
    order = random.permuted(np.tile(np.arange(shadows)[:, None], count), axis=0)
    return order < seen


def attack_membership(
    pool: Pool, repeater: Repeater, contract: Preprocess, recipe: str, shadows: int, shelf: Shelf, progress: Progress
) -> list[Record]:
    """Train shadows, and score each sample with the model and with its shadows.

    Args:
        pool: members and non-members.
        repeater: makes the shadows.
        contract: preprocessing contract of the files.
        recipe: digest of the model's passes.
        shadows: number of shadows.
        shelf: finished shadows.
        progress: where to report progress.
    """
    count, classes = len(pool.split), len(repeater.dataset.classes)
    share = pool.members / count
    drawn = shelf.finished("inside") or shelf.finish(
        "inside", [pack_bits(row) for row in draw_inside(count, shadows, share, np.random.default_rng())]
    )
    found = [shelf.finished(TARGET) or shelf.finish(TARGET, _target(pool, contract, classes, recipe, shelf))]
    finished = sum(shelf.finished(f"shadow-{number}") is not None for number in range(shadows))
    if finished:
        progress.say(f"Resuming after {finished} of {shadows} shadows.")
    with progress.task("Training shadows by the same recipe", total=shadows) as bar:
        for number, packed in enumerate(drawn):
            name = f"shadow-{number}"
            values = shelf.finished(name)
            if values is None:
                inside = unpack_bits(packed, count)
                values = shelf.finish(name, _shadow(pool, repeater, contract, number, inside, shelf))
                shutil.rmtree(shelf.folder / name)
            bar.advance(1)
            found.append(values)
    return [Membership(count, pool.digest()), *(row for values in found for row in _rows(values))]


def _target(pool: Pool, contract: Preprocess, classes: int, recipe: str, shelf: Shelf) -> dict[str, Any]:
    with costed(shelf, TARGET) as cost:
        scores = {arm: sample_odds(pool.arms[arm], contract, classes, pool.split).tolist() for arm in pool.arms}
    inside = np.arange(len(pool.split)) < pool.members
    touched = {"train": ["raw"], "test": ["raw"]}
    step = {"name": "scores of the model", **cost.to_json(), "touched": touched}
    return {"of": TARGET, "recipe": recipe, "inside": pack_bits(inside), "scores": scores, "step": step}


def _shadow(
    pool: Pool, repeater: Repeater, contract: Preprocess, number: int, inside: Bits, shelf: Shelf
) -> dict[str, Any]:
    with costed(shelf, f"shadow-{number}") as cost:
        twin = repeater.make(pool.split.subset(np.flatnonzero(inside)), number + 1, shelf.folder / f"shadow-{number}")
        files = {"baseline": twin.baseline, "candidate": twin.model}
        classes = len(repeater.dataset.classes)
        scores = {arm: sample_odds(files[arm], contract, classes, pool.split).tolist() for arm in pool.shadowed}
    # A shadow trains on samples of both parts; its own job treats them as one train part.
    touched = {**twin.touched, "train": ["raw"], "test": ["raw"]}
    step = {"name": f"shadow {number}", **cost.to_json(), "touched": touched}
    return {"of": str(number), "recipe": twin.recipe, "inside": pack_bits(inside), "scores": scores, "step": step}


def _rows(values: Mapping[str, Any]) -> Iterator[Record]:
    yield step_of(values["step"])
    for arm in (each for each in ARMS if each in values["scores"]):
        yield ScoresOf(values["of"], arm, values["recipe"], values["inside"], tuple(values["scores"][arm]))  # type: ignore[arg-type]


def step_of(values: Mapping[str, Any]) -> Step:
    """Return the record of a step from its values on the shelf."""
    touched = {part: tuple(hows) for part, hows in values["touched"].items()}
    return Step(values["name"], values["seconds"], values["cpu_s"], values["energy_j"], touched)
