"""Whether two certificates can be compared: the same test data, workload, method and device, under one edition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import UNMETERED, EfficiencyClaims
from certify.core.evidence import MeterFacts

_WORKLOAD = (
    "runtime",
    "runtime_version",
    "provider",
    "batch",
    "graph_optimization",
    "spinning",
    "precision",
    "library_versions",
    "candidate_runtime",
)
"""Thread numbers are left out: a guard requires that each model runs at the number at which it is cheapest."""

_DEVICE = ("processor", "accelerator", "processors_allowed", "architecture", "virtualisation", "system")


def why_not_comparable(one: Claims, other: Claims) -> list[str]:
    """Reasons why the figures of two statements say nothing about each other; empty where they can be compared."""
    if one.assessment != other.assessment:
        return [f"other assessment ({one.assessment}; {other.assessment})"]
    reasons, hint = [], ""
    if isinstance(one, EfficiencyClaims) and isinstance(other, EfficiencyClaims):
        reasons, hint = _otherwise_measured(one, other), ", for which leanmark regrade exists"
    if one.edition != other.edition:
        reasons.append(f"other edition ({one.edition.name}; {other.edition.name}){hint}")
    return reasons


def _otherwise_measured(one: EfficiencyClaims, other: EfficiencyClaims) -> list[str]:
    reasons = []
    if one.data.test_digest != other.data.test_digest:
        names = [f"{data.name}, {data.test_samples} samples" for data in (one.data, other.data)]
        reasons.append(f"other test data ({names[0]}; {names[1]})")
    reasons += _differing("workload", vars(one.workload), vars(other.workload), _WORKLOAD)
    reasons += _method(one.meter, other.meter)
    return [*reasons, *_differing("device", one.device, other.device, _DEVICE)]


def same_baseline(one: EfficiencyClaims, other: EfficiencyClaims) -> bool:
    """Whether both were compared with one and the same original, so that their ratios can be compared."""
    return one.baseline.file_digest == other.baseline.file_digest


def _method(one: MeterFacts | None, other: MeterFacts | None) -> list[str]:
    """Joules of two meters, or of one model with other constants, are not the same joules."""
    if one is None or other is None:
        return [] if one is other else ["other method (one has no energy figure)"]
    reasons = _differing("method", vars(one), vars(other), ("name", "level", "scope", "method"))
    unmetered = {one.level, other.level}.intersection(UNMETERED)
    if not reasons and unmetered and one.parameters != other.parameters:
        reasons.append("other method (other constants of the model)")
    return reasons


def _differing(what: str, one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    pairs = [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]
    listed = ", ".join(f"{name.replace('_', ' ')} {mine}; {theirs}" for name, mine, theirs in pairs)
    return [f"other {what} ({listed})"] if pairs else []
