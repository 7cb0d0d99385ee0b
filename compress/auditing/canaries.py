"""The audit by one training: mislabelled canaries, each included or not by a coin committed to beforehand.

Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846). The canaries are samples that the model never saw, with labels that
can only be memorised. They cost the twin accuracy, not the model: a twin never ships.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from certify.assessments.privacy.record_file import parse_records
from certify.assessments.privacy_audit.coins import coins_of, commitment_of
from certify.assessments.privacy_audit.findings import terms_of
from certify.assessments.privacy_audit.records import Canaries, Opened, Record
from certify.core.accounting import Adjacency
from certify.core.errors import UsageError
from certify.core.progress import Progress
from certify.data import Preprocess, Split
from compress.auditing.audit_folder import Shelf
from compress.auditing.joined_splits import join
from compress.auditing.repetition import Repeater, costed
from compress.auditing.scores import DECIMALS, sample_odds
from compress.auditing.shadows import step_of

PRIVACY = "privacy.jsonl"
USUAL = 1000
SHARE_GUESSED = 5
"""By default one canary in five is guessed: the tenth with the highest and the tenth with the lowest scores."""


@dataclass(frozen=True)
class Claim:
    """Privacy claim that the canaries test.

    Attributes:
        epsilon: claimed epsilon; None if the model claims none.
        delta: delta for which the claim holds.
        adjacency: adjacency of the claim. Canaries are added or left out; for the mechanisms that leanmark knows, a
            claim under ``replace-one`` also covers that at the same epsilon.
    """

    epsilon: float | None
    delta: float = 1e-5
    adjacency: Adjacency = "add-remove"

    @classmethod
    def beside(cls, folder: Path) -> Claim:
        """Return the claim of ``privacy.jsonl`` in a folder; without the file, no claim."""
        path = folder / PRIVACY
        if not path.is_file():
            return cls(None)
        header = parse_records(path.read_bytes(), str(path)).header
        return cls(header.claimed_epsilon, header.delta, header.adjacency)


@dataclass(frozen=True)
class Plan:
    """Numbers of canaries and guesses.

    Attributes:
        canaries: number of canaries. Default: 1000, or the size of the test part if that is smaller.
        guesses: number of guesses about them. Default: a fifth.
    """

    canaries: int | None = None
    guesses: int | None = None

    def numbers(self, available: int) -> tuple[int, int]:
        """Return the numbers of canaries and guesses.

        Args:
            available: number of samples in the test part.

        Raises:
            UsageError: there are fewer than two canaries, more than samples, or more guesses than canaries.

        Example:
            >>> Plan().numbers(1500), Plan(guesses=50).numbers(400)
            ((1000, 200), (400, 50))
        """
        canaries = min(USUAL, available) if self.canaries is None else self.canaries
        guesses = max(1, canaries // SHARE_GUESSED) if self.guesses is None else self.guesses
        if canaries > available:
            raise UsageError(f"{canaries} canaries are more than the {available} samples of the test part; take fewer.")
        if canaries < 2 or guesses > canaries:
            raise UsageError(
                f"{guesses} guesses about {canaries} canaries are not an audit; take at least two canaries and at most "
                "as many guesses."
            )
        return canaries, guesses


def audit_one_run(
    repeater: Repeater,
    model: Path,
    contract: Preprocess,
    plan: Plan,
    claim: Claim,
    shelf: Shelf,
    progress: Progress,
) -> list[Record]:
    """Train one twin with canaries and record its scores for them.

    Args:
        repeater: makes the twin.
        model: audited file, which saw no canary; its scores are subtracted from the twin's.
        contract: preprocessing contract of both files.
        plan: numbers of canaries and guesses.
        claim: claim to test.
        shelf: finished parts.
        progress: where to report progress.
    """
    dataset = repeater.dataset
    committed = shelf.finished("coins") or shelf.finish(
        "coins", _commit(plan, claim, dataset.test, len(dataset.classes))
    )
    fixed = Canaries(**committed["fixed"])
    progress.say(f"Committed to {fixed.canaries} coins and {fixed.guesses} guesses: {fixed.commitment}.")
    canaries = dataset.test.subset(committed["rows"]).relabelled(committed["labels"])
    values = shelf.finished("twin")
    if values is None:
        with progress.task("Training the twin with canaries"):
            values = shelf.finish("twin", _twin(repeater, model, contract, canaries, committed["seed"], shelf))
        shutil.rmtree(shelf.folder / "twin")
    opened = Opened(committed["seed"], values["trained"], values["recipe"], tuple(values["scores"]))
    return [fixed, step_of(values["step"]), opened]


def _commit(plan: Plan, claim: Claim, pool: Split, classes: int) -> dict[str, Any]:
    """Draw canaries and coins from the system's entropy, and commit to everything that they will be judged by."""
    count, guesses = plan.numbers(len(pool))
    # The seed of the coins must be unpredictable; the choice of canaries only has to be unrelated to them.
    seed, random = secrets.token_hex(32), np.random.default_rng()
    places = np.sort(random.permutation(len(pool))[:count])
    # A wrong class, chosen uniformly.
    labels = (pool.labels[places] + random.integers(1, classes, count)) % classes
    lines = "".join(f"{pool.digest(int(i))} {label}\n" for i, label in zip(places, labels, strict=True))
    fixed = Canaries(
        canaries=count,
        guesses=guesses,
        commitment="0" * 64,
        committed=now(),
        samples=hashlib.sha256(lines.encode()).hexdigest(),
        claimed_epsilon=claim.epsilon,
        delta=claim.delta,
        adjacency=claim.adjacency,
    )
    fixed = replace(fixed, commitment=commitment_of(seed, terms_of(fixed)))
    return {"seed": seed, "rows": places.tolist(), "labels": labels.tolist(), "fixed": asdict(fixed)}


def _twin(
    repeater: Repeater, model: Path, contract: Preprocess, canaries: Split, seed: str, shelf: Shelf
) -> Mapping[str, Any]:
    dataset = repeater.dataset
    if dataset.train is None:
        raise UsageError(f"{dataset.spec} has no train part, so there is no training to repeat.")
    included = canaries.subset(np.flatnonzero(coins_of(seed, len(canaries))))
    with costed(shelf, "twin") as cost:
        twin = repeater.make(join(dataset.train, included), 0, shelf.folder / "twin")
        classes = len(dataset.classes)
        found, before = (sample_odds(path, contract, classes, canaries) for path in (twin.model, model))
    # The difference removes what makes a sample easy or hard for any model, which is most of the variance.
    scores = np.round(found - before, DECIMALS)
    touched = {**twin.touched, "test": ["raw"]}
    step = {"name": "twin with canaries", **cost.to_json(), "touched": touched}
    return {"trained": now(), "recipe": twin.recipe, "scores": scores.tolist(), "step": step}


def now() -> str:
    """Return the UTC time in the format of records."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
