"""Comparability of two certificates: same test data, workload, method and device, under one edition."""

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
"""Thread numbers are left out: a guard requires each model to run at its cheapest number."""

_DEVICE = ("processor", "accelerator", "processors_allowed", "architecture", "virtualisation", "system")


def why_not_comparable(one: Claims, other: Claims) -> list[str]:
    """Return the reasons why the figures of two statements cannot be compared; empty if they can."""
    if one.assessment != other.assessment:
        return [f"different assessment ({one.assessment}; {other.assessment})"]
    reasons, hint = [], ""
    if isinstance(one, EfficiencyClaims) and isinstance(other, EfficiencyClaims):
        reasons, hint = _otherwise_measured(one, other), "; leanmark regrade can convert one of them"
    if one.edition != other.edition:
        reasons.append(f"different edition ({one.edition.name}; {other.edition.name}){hint}")
    return reasons


def _otherwise_measured(one: EfficiencyClaims, other: EfficiencyClaims) -> list[str]:
    reasons = []
    if one.data.test_digest != other.data.test_digest:
        names = [f"{data.name}, {data.test_samples} samples" for data in (one.data, other.data)]
        reasons.append(f"different test data ({names[0]}; {names[1]})")
    reasons += _differing("workload", vars(one.workload), vars(other.workload), _WORKLOAD)
    reasons += _method(one.meter, other.meter)
    return [*reasons, *_differing("device", one.device, other.device, _DEVICE)]


def same_baseline(one: EfficiencyClaims, other: EfficiencyClaims) -> bool:
    """Return whether both were compared with the same baseline, so that their ratios are comparable."""
    return one.baseline.file_digest == other.baseline.file_digest


def _method(one: MeterFacts | None, other: MeterFacts | None) -> list[str]:
    """Return how the methods differ: different meters, or different constants of an energy model."""
    if one is None or other is None:
        return [] if one is other else ["different method (one has no energy figure)"]
    reasons = _differing("method", vars(one), vars(other), ("name", "level", "scope", "method"))
    unmetered = {one.level, other.level}.intersection(UNMETERED)
    if not reasons and unmetered and one.parameters != other.parameters:
        reasons.append("different method (different constants of the energy model)")
    return reasons


def _differing(what: str, one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    pairs = [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]
    listed = ", ".join(f"{name.replace('_', ' ')} {mine}; {theirs}" for name, mine, theirs in pairs)
    return [f"different {what} ({listed})"] if pairs else []
