"""Break-even point of making a model, and carbon equivalents of energy; neither affects a grade."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.assessment.claims import Costs
from certify.assessments.efficiency.figures import Figures
from certify.core.errors import UsageError
from certify.core.estimate import Estimate, total, weakest
from certify.core.evidence import ARMS

JOULES_PER_KWH = 3.6e6
PASSES = "passes"
"""Key of the passes in the costs of a model."""


@dataclass(frozen=True)
class Payback:
    """Cost and benefit of making a model.

    Attributes:
        spent: joules of all passes and of later work, such as audits; None if a part is unknown.
        parts: these joules by activity; None where they were not measured.
        saved: joules saved per inference; None if unknown.
        inferences: number of inferences until the saving equals the cost; None if nothing is saved or it is unknown.
        carbon: grams of CO2 equivalent at the user's intensity, by item: ``spent``, ``baseline`` and ``candidate`` (per
            inference); empty without an intensity.
        sci: software carbon intensity per inference, (E * I + M) per R of ISO/IEC 21031, by arm; likewise.
        embodied_g: M of it, as given by the user; None if it is excluded.
    """

    spent: Estimate | None
    parts: Costs
    saved: Estimate | None
    inferences: Estimate | None
    carbon: Mapping[str, Estimate]
    sci: Mapping[str, Estimate]
    embodied_g: float | None = None

    @property
    def later(self) -> Costs:
        """Joules spent after the lineage was closed, by activity."""
        return {name: joules for name, joules in self.parts.items() if name != PASSES}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        figures = {"spent": self.spent, "saved": self.saved, "inferences": self.inferences}
        stated: dict[str, Any] = {name: None if one is None else one.to_json() for name, one in figures.items()}
        stated["parts"] = {name: None if one is None else one.to_json() for name, one in self.parts.items()}
        for name in ("carbon", "sci"):
            stated[name] = {what: grams.to_json() for what, grams in getattr(self, name).items()}
        return {**stated, "embodied_g": self.embodied_g}


def payback(
    estimates: Mapping[str, Estimate],
    lineage: Mapping[str, Any] | None,
    intensity_g_per_kwh: float | None = None,
    embodied_g: float | None = None,
    later: Costs | None = None,
) -> Payback:
    """Compute the cost and benefit of making a model.

    Args:
        estimates: estimates of a profile.
        lineage: content of ``lineage.json``; None if there is none.
        intensity_g_per_kwh: grams of CO2 equivalent per kilowatt-hour; None for no grams.
        embodied_g: grams of CO2 equivalent of making the hardware, per inference; None excludes them.
        later: joules spent after the lineage was closed, by activity; see
            :func:`certify.assessment.claims.later_costs`.

    Raises:
        CertificateError: an estimate in the lineage is malformed.
        UsageError: the intensity or the embodied emissions are not at least 0, or embodied emissions lack an intensity.
    """
    if embodied_g is not None and (intensity_g_per_kwh is None or not 0 <= embodied_g < math.inf):
        raise UsageError(
            "Embodied emissions must be at least 0 g and need a carbon intensity (--carbon-intensity), got "
            f"{embodied_g} g."
        )
    parts = {} if lineage is None else {PASSES: compression_energy(lineage), **(later or {})}
    spent = energy_to_date(parts)
    joules = {"spent": spent, **{arm: Figures.of(estimates).energy_j(arm) for arm in ARMS}}
    grams = {
        name: carbon(energy, intensity_g_per_kwh)
        for name, energy in joules.items()
        if energy is not None and intensity_g_per_kwh is not None
    }
    scores = {arm: _sci(grams[arm], embodied_g or 0.0) for arm in ARMS if arm in grams}
    inferences = payback_inferences(spent, estimates)
    return Payback(spent, parts, saved_energy(estimates), inferences, grams, scores, embodied_g)


def energy_to_date(parts: Costs) -> Estimate | None:
    """Return the joules of all parts.

    Args:
        parts: joules by activity; None where they were not measured.

    Returns:
        Their sum; None if there are no parts or one is unknown, because a partial sum would be mistaken for the whole.

    Example:
        >>> passes, audit = Estimate.exact(4.0, "J", "meter"), Estimate.exact(3.0, "J", "meter")
        >>> print(energy_to_date({"passes": passes, "privacy audit": audit}))
        7 J
        >>> print(energy_to_date({"passes": passes, "privacy audit": None}))
        None
    """
    known = [one for one in parts.values() if one is not None]
    if not known or len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else replace(total(known), unit="J", method=f"sum of {', '.join(parts)}")


def _sci(operational: Estimate, embodied_g: float) -> Estimate:
    """Return grams per inference: of its energy, and of its share of the hardware."""
    ends = {name: getattr(operational, name) + embodied_g for name in ("value", "low", "high")}
    return replace(operational, **ends, method=f"{operational.method}; plus embodied emissions of {embodied_g:g} g")


def compression_energy(lineage: Mapping[str, Any]) -> Estimate | None:
    """Return the joules of all passes of a lineage, without the earlier training of the baseline.

    Args:
        lineage: content of ``lineage.json``.

    Returns:
        None if there is no pass, or a pass was not metered: a part would be mistaken for the whole.

    Raises:
        CertificateError: an estimate in the lineage is malformed.
    """
    written = [row["energy_j"] for row in lineage["rows"]]
    if not written or None in written:
        return None
    parts = [Estimate.from_json(fields) for fields in written]
    return replace(total(parts), unit="J", method=f"sum over {len(parts)} passes of the lineage")


def saved_energy(estimates: Mapping[str, Estimate]) -> Estimate | None:
    """Return the joules that an inference of the candidate saves relative to the baseline.

    Computed from the baseline's joules B and the paired ratio R, which is known far better than either model's joules:
    value B (1 - R), ends B.low (1 - R.high) and B.high (1 - R.low), or likewise if the ratio exceeds 1. Each of the two
    intervals holds with the edition's confidence, so both together hold with somewhat less.

    Args:
        estimates: estimates of a profile.

    Returns:
        None if either is unknown.

    Example:
        >>> joules, ratio = Estimate.exact(10.0, "J", "mean"), Estimate.exact(0.25, "1", "ratio")
        >>> saved_energy({"energy_j_baseline": joules, "energy_ratio": ratio}).value
        7.5
    """
    figures = Figures.of(estimates)
    baseline, ratio = figures.energy_j("baseline"), figures.energy_ratio
    # An unbounded end times a saving of 0 is not a number.
    if baseline is None or ratio is None or not math.isfinite(baseline.high + ratio.high):
        return None
    # All four corners are needed, because the sign of (1 - share) decides which ends bound the product.
    ends = [joules * (1 - share) for joules in (baseline.low, baseline.high) for share in (ratio.low, ratio.high)]
    level = weakest((baseline.evidence, ratio.evidence))
    method = "baseline joules times (1 - paired ratio)"
    return Estimate(baseline.value * (1 - ratio.value), min(ends), max(ends), "J", ratio.n, method, level)


def payback_inferences(spent: Estimate | None, estimates: Mapping[str, Estimate]) -> Estimate | None:
    """Return the number of inferences after which compressing has saved what it cost.

    Args:
        spent: joules of compressing, from :func:`compression_energy`.
        estimates: estimates of a profile.

    Returns:
        Number of inferences at the workload's batch size; without an upper bound if the interval of the saving reaches
        0. None if nothing is saved, or if the cost or the saving is unknown.
    """
    saved = saved_energy(estimates)
    if spent is None or saved is None or saved.value <= 0:
        # Without a saving nothing breaks even.
        return None
    # The lowest cost over the largest saving gives the fewest inferences, and the reverse the most.
    low = spent.low / saved.high
    high = spent.high / saved.low if saved.low > 0 else math.inf
    value = spent.value / saved.value
    level = weakest((spent.evidence, saved.evidence))
    return Estimate(value, low, high, "1", saved.n, "joules spent over joules saved per inference", level)


def carbon(energy: Estimate, intensity_g_per_kwh: float) -> Estimate:
    """Return grams of CO2 equivalent of an energy, at an intensity given by the user.

    The intensity is taken as exact: it varies by place and hour more than any meter errs, so it is never guessed.

    Args:
        energy: energy in J.
        intensity_g_per_kwh: grams of CO2 equivalent per kilowatt-hour.

    Raises:
        UsageError: the intensity is not at least 0.
        ValueError: the energy is in another unit.

    Example:
        >>> round(carbon(Estimate.exact(3.6e6, "J", "meter"), 400.0).value)
        400
    """
    if not 0 <= intensity_g_per_kwh < math.inf:
        raise UsageError(f"The carbon intensity must be at least 0 g/kWh, got {intensity_g_per_kwh}.")
    if energy.unit != "J":
        raise ValueError(f"The energy must be in J, got {energy.unit}.")
    factor = intensity_g_per_kwh / JOULES_PER_KWH
    return replace(
        energy,
        value=factor * energy.value,
        low=factor * energy.low,
        high=factor * energy.high,
        unit="g",
        method=f"{energy.method}; at {intensity_g_per_kwh:g} g of CO2 equivalent per kWh, as given",
    )
