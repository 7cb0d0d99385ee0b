"""Attacks of a record file, and their scores for members and non-members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.assessments.privacy_audit.coins import Bits, unpack_bits
from certify.assessments.privacy_audit.membership import likelihood_ratios
from certify.assessments.privacy_audit.records import ARMS, TARGET, Membership, Records, ScoresOf
from certify.core.errors import CertificateError

Floats = npt.NDArray[np.float64]
PAIR = "pair"
LOSS = "loss_"
"""Prefix of the attacks that use only the model's loss, without shadows."""


@dataclass(frozen=True)
class Attack:
    """Scores of one attack; higher scores mean likelier members.

    Attributes:
        members: scores of the members, (m,).
        others: scores of the non-members, (n,).
    """

    members: Floats
    others: Floats


def attacks_of(records: Records) -> Mapping[str, Attack]:
    """Return all attacks by name: on the baseline, on the candidate, on both files, and by loss alone.

    Raises:
        CertificateError: the scores do not fit the samples, or there are too few shadows.
    """
    samples: Membership | None = records.first(Membership)
    if samples is None:
        return {}
    targets = {row.arm: row for row in records.of(ScoresOf) if row.of == TARGET}
    if not targets:
        raise CertificateError("The membership attack has no scores of the audited model; run the audit again.")
    members = [_inside(row, samples.samples) for row in targets.values()]
    # The two files are compared as one model, so both must have seen the same samples.
    if any((other != members[0]).any() for other in members[1:]):
        raise CertificateError("The two files of the model are recorded as trained on different samples.")
    found: dict[str, Floats] = {}
    arms = [arm for arm in ARMS if arm in targets]
    shadowed = [arm for arm in arms if _shadows(records, arm)]
    # Both files are attacked together only if both have shadows.
    for name, used in (*((arm, [arm]) for arm in shadowed), (PAIR, shadowed if len(shadowed) > 1 else [])):
        if used:
            found[name] = _ratios(records, targets, used, samples.samples)
    found |= {f"{LOSS}{arm}": _values(targets[arm], samples.samples) for arm in arms}
    return {name: Attack(scores[members[0]], scores[~members[0]]) for name, scores in found.items()}


def _shadows(records: Records, arm: str) -> list[ScoresOf]:
    # Sorted, so that the shadows of both files line up.
    return sorted((row for row in records.of(ScoresOf) if row.of != TARGET and row.arm == arm), key=lambda row: row.of)


def _ratios(records: Records, targets: Mapping[str, ScoresOf], arms: list[str], n: int) -> Floats:
    shadows = {arm: _shadows(records, arm) for arm in arms}
    names = [[row.of for row in rows] for rows in shadows.values()]
    # A shadow counted twice would narrow the spread.
    if len(set(names[0])) < len(names[0]) or any(each != names[0] for each in names):
        raise CertificateError("The files were not attacked by the same shadows, each once.")
    first = shadows[arms[0]]
    inside = np.stack([_inside(row, n) for row in first])
    if any((_inside(row, n) != inside[k]).any() for rows in shadows.values() for k, row in enumerate(rows)):
        raise CertificateError("The two files of a shadow are recorded as trained on different samples.")
    target = np.stack([_values(targets[arm], n) for arm in arms], axis=1)
    scores = np.stack([np.stack([_values(shadows[arm][k], n) for arm in arms], axis=1) for k in range(len(first))])
    return likelihood_ratios(target, scores, inside)


def _values(row: ScoresOf, n: int) -> Floats:
    if len(row.values) != n:
        raise CertificateError(f"{row.of} has {len(row.values)} scores of its {row.arm} for {n} samples.")
    return np.array(row.values, dtype=np.float64)


def _inside(row: ScoresOf, n: int) -> Bits:
    try:
        return unpack_bits(row.inside, n)
    except ValueError as error:
        raise CertificateError(f"The samples of {row.of} cannot be read: {error}.") from error


def members_of(records: Records) -> tuple[int, int]:
    """Return the numbers of members and non-members; zeros without an attack."""
    found = next(iter(attacks_of(records).values()), None)
    return (0, 0) if found is None else (len(found.members), len(found.others))


def shadow_counts(records: Records) -> tuple[int, int, int]:
    """Return the number of shadows, and the minimum number that a sample is in and out of; zeros without shadows."""
    samples: Membership | None = records.first(Membership)
    rows = [] if samples is None else _shadows(records, "candidate")
    if samples is None or not rows:
        return 0, 0, 0
    inside = np.stack([_inside(row, samples.samples) for row in rows]).sum(0)
    return len(rows), int(inside.min()), int(len(rows) - inside.max())
