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


def why_not_comparable(first: Claims, second: Claims) -> list[str]:
    """Return the reasons why the figures of two statements cannot be compared; empty if they can."""
    if first.assessment != second.assessment:
        # Figures of two assessments may share a name and still mean different things.
        return [f"different assessment ({first.assessment}; {second.assessment})"]
    reasons, hint = [], ""
    if isinstance(first, EfficiencyClaims) and isinstance(second, EfficiencyClaims):
        reasons, hint = _otherwise_measured(first, second), "; leanmark regrade can convert one of them"
    if first.edition != second.edition:
        reasons.append(f"different edition ({first.edition.name}; {second.edition.name}){hint}")
    return reasons


def _otherwise_measured(first: EfficiencyClaims, second: EfficiencyClaims) -> list[str]:
    reasons = []
    if first.data.test_digest != second.data.test_digest:
        names = [f"{data.name}, {data.test_samples} samples" for data in (first.data, second.data)]
        reasons.append(f"different test data ({names[0]}; {names[1]})")
    reasons += _differing("workload", vars(first.workload), vars(second.workload), _WORKLOAD)
    reasons += _method(first.meter, second.meter)
    return [*reasons, *_differing("device", first.device, second.device, _DEVICE)]


def same_baseline(first: EfficiencyClaims, second: EfficiencyClaims) -> bool:
    """Return whether both were compared with the same baseline, so that their ratios are comparable."""
    return first.baseline.file_digest == second.baseline.file_digest


def _method(first: MeterFacts | None, second: MeterFacts | None) -> list[str]:
    """Return how the methods differ: different meters, or different constants of an energy model."""
    if first is None or second is None:
        # Two certificates without an energy figure can still be compared by accuracy.
        return [] if first is second else ["different method (one has no energy figure)"]
    reasons = _differing("method", vars(first), vars(second), ("name", "level", "scope", "method"))
    unmetered = {first.level, second.level}.intersection(UNMETERED)
    # Parameters of a meter only describe the instrument, but those of an energy model determine the joules.
    if not reasons and unmetered and first.parameters != second.parameters:
        reasons.append("different method (different constants of the energy model)")
    return reasons


def _differing(what: str, first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    pairs = [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]
    listed = ", ".join(f"{name.replace('_', ' ')} {mine}; {theirs}" for name, mine, theirs in pairs)
    return [f"different {what} ({listed})"] if pairs else []
