"""Splitting a part of a data set in two: stratified, reproducible, with duplicates on the same side."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from certify.core.errors import DataError
from certify.data.dataset import Labels, Split

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.3
VALIDATION_OF_REST = 1 / 7
"""Fraction of the remaining 70 % that makes up 10 % of the whole."""
CALIBRATION_SHARE = 0.1
MAX_CALIBRATION = 512
FIXED_SEED = "fixed"
"""Seed used instead of the user's where a split must be the same for everybody."""


def carve(split: Split, count: int, purpose: str, seed: int | str) -> tuple[Split, Split]:
    """Take ``count`` samples out of a split, in proportion to its classes.

    Samples are ranked by the SHA-256 of seed, purpose and sample digest: the split depends on the contents of the
    samples, not on their order, the platform or the version of a random generator. Samples with the same digest rank
    together and stay on one side, so the two results never overlap; a group that would exceed its class's share is
    skipped, so slightly fewer than ``count`` samples may be taken.

    Args:
        split: samples to divide.
        count: number of samples to take.
        purpose: name of the part that is taken; different purposes give different splits under the same seed.
        seed: seed of the ranking.

    Returns:
        (rest, taken), each in the order of ``split``.

    Raises:
        DataError: one side would be empty.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, digest in enumerate(split.digests()):
        groups[digest].append(i)
    # Ordered by a hash of the content: reproducible, and independent of the order of the samples.
    ranked = sorted(groups, key=lambda digest: hashlib.sha256(f"{seed}/{purpose}/{digest}".encode()).digest())
    labels = (
        split.labels if split.targets is None else np.zeros_like(split.labels)
    )  # numeric targets are not stratified
    wanted = dict(enumerate(apportion(np.bincount(labels), min(count, len(split)))))
    taken = []
    for digest in ranked:
        members = groups[digest]
        label = int(labels[members[0]])
        # Equal samples stay on one side, and a group that does not fit is skipped.
        if len(members) <= wanted[label]:
            wanted[label] -= len(members)
            taken += members
    if not taken or len(taken) == len(split):
        raise DataError(
            f"Cannot set aside {count} of {len(split)} samples ({len(groups)} distinct) for {purpose}: one side would "
            "be empty; give more data."
        )
    chosen = np.zeros(len(split), dtype=bool)
    chosen[taken] = True
    return split.subset(np.flatnonzero(~chosen)), split.subset(np.flatnonzero(chosen))


CUT = ("validation", "test")
"""Parts that :func:`cut` takes out of all samples."""


def cut(
    split: Split,
    seed: int,
    test_share: float = TEST_SHARE,
    validation_of_rest: float = VALIDATION_OF_REST,
    test_seed: int | None = None,
) -> dict[str, Split]:
    """Split a whole data set, by default 60/10/30; the test part does not depend on the seed.

    Args:
        split: all samples.
        seed: seed of the validation part.
        test_share: fraction of the test part.
        validation_of_rest: fraction of the remaining samples for validation.
        test_seed: seed of the test part. Default: the same for everybody.
    """
    # The same test part for every seed, so that results on it are comparable.
    rest, test = carve(split, share(len(split), test_share), "test", FIXED_SEED if test_seed is None else test_seed)
    train, validation = carve(rest, share(len(rest), validation_of_rest), "validation", seed)
    return {"train": train, "validation": validation, "test": test}


def apportion(sizes: Labels, count: int) -> list[int]:
    """Distribute ``count`` places over classes in proportion to their sizes, by largest remainders (Hamilton's method).

    Args:
        sizes: number of samples of each class, (c,).
        count: number of places, at most ``sizes.sum()``.

    Returns:
        Places of each class; they add up to ``count`` and none exceeds its class's size.
    """
    total = int(sizes.sum())
    quotas = [int(size) * count for size in sizes]
    places = [quota // total for quota in quotas]
    # Ties are broken by class number, so that the result does not depend on the sort.
    by_remainder = sorted(range(len(quotas)), key=lambda k: (-(quotas[k] % total), k))
    for k in by_remainder[: count - sum(places)]:
        places[k] += 1
    return places


def complete(
    parts: Mapping[str, Split], seed: int | str, calibration: int | None = None, published: bool = False
) -> dict[str, Split]:
    """Carve missing parts out of train: validation (10 %), then calibration (10 %, at most 512 samples).

    Args:
        parts: ``test``, and those of ``train``, ``calibration`` and ``validation`` that exist.
        seed: seed of the splits.
        calibration: number of calibration samples, if fixed.
        published: whether the test part is published and must stay whole; training samples that also occur in it are
            then dropped, instead of being rejected by :func:`certify.data.require_separate` later.
    """
    whole = dict(parts)
    if "train" not in whole:
        return whole
    if published:
        # Published sets contain a few test images in train; the test part stays as published.
        whole["train"] = _without(whole["train"], whole["test"])
    if "validation" not in whole:
        count = share(len(whole["train"]), VALIDATION_SHARE)
        whole["train"], whole["validation"] = carve(whole["train"], count, "validation", seed)
    if "calibration" not in whole:
        count = calibration or min(MAX_CALIBRATION, share(len(whole["train"]), CALIBRATION_SHARE))
        whole["train"], whole["calibration"] = carve(whole["train"], count, "calibration", seed)
    return whole


def share(n: int, part: float) -> int:
    """Return the fraction ``part`` of ``n`` samples, rounded, at least 1."""
    return max(1, round(n * part))


def _without(split: Split, other: Split) -> Split:
    known = set(other.digests())
    return split.subset([i for i, digest in enumerate(split.digests()) if digest not in known])
