"""Display names of the figures of robustness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from certify.core.estimate import Estimate

STANDING = re.compile(r"standing_(\d+)(?:_by_(baseline|candidate))?_(baseline|candidate|change_points)")
"""Robust accuracy at a size of change, with all witnesses or with those of one model alone."""
CORRUPTED = re.compile(r"([a-z]+)_(\d)_(baseline|candidate|change_points)")
"""Accuracy under a corruption of a severity."""
CHANGE = "change_points"
SINGLE = {
    "corruptions_clean_change_points": "change on the same images without corruption",
    "corruptions_within_margin": "corruptions shown to lose little",
    "corruptions_worse": "corruptions shown to be worse",
    "detection_auroc_baseline": "detection of corrupted images by confidence, baseline (AUROC)",
    "detection_auroc_candidate": "detection of corrupted images by confidence, candidate (AUROC)",
    "witnesses_clean_change_points": "change on the same images without witnesses",
    "worst_corruption_loss_points": "largest loss under a corruption",
}


def words(names: Iterable[str]) -> dict[str, str]:
    """Return the display name of each figure that has one.

    Example:
        >>> words(["noise_3_baseline", "standing_4_by_candidate_change_points"])["noise_3_baseline"]
        'accuracy under noise, severity 3, baseline'
    """
    found = {name: SINGLE[name] for name in names if name in SINGLE}
    for name in names:
        if match := STANDING.fullmatch(name):
            size, source, column = match.groups()
            which = f", only the {source}'s witnesses" if source else ""
            what = f"robust accuracy at {size}/255{which}"
            found[name] = f"change of {what}" if column == CHANGE else f"{what}, {column}"
        elif match := CORRUPTED.fullmatch(name):
            kind, severity, column = match.groups()
            what = f"accuracy under {kind}, severity {severity}"
            found[name] = f"change of {what}" if column == CHANGE else f"{what}, {column}"
    return found


def by_condition(estimates: Mapping[str, Estimate]) -> tuple[dict[str, dict[str, Estimate]], dict[str, Estimate]]:
    """Return the figures of each condition by column, and the figures that belong to no condition by their words.

    Example:
        >>> from certify.core.estimate import Estimate
        >>> accuracy, count = Estimate.exact(0.9, "1", "share"), Estimate.exact(7, "1", "count")
        >>> conditions, others = by_condition({"noise_3_baseline": accuracy, "corruptions_worse": count})
        >>> list(conditions), list(others)
        (['noise 3'], ['corruptions shown to be worse'])
    """
    conditions: dict[str, dict[str, Estimate]] = {}
    others = {}
    for name, estimate in estimates.items():
        if found := STANDING.fullmatch(name):
            size, by, column = found.groups()
            conditions.setdefault(f"{size}/255 {by}" if by else f"{size}/255", {})[column] = estimate
        elif found := CORRUPTED.fullmatch(name):
            what, severity, column = found.groups()
            conditions.setdefault(f"{what} {severity}", {})[column] = estimate
        else:
            others[SINGLE.get(name, name.replace("_", " "))] = estimate
    return conditions, others
