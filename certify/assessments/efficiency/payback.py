"""When compressing has paid for itself, and what energy means in carbon; neither enters a grade."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.assessments.efficiency.figures import Figures
from certify.core.errors import UsageError
from certify.core.estimate import Estimate, weakest
from certify.core.evidence import ARMS

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Payback:
    """What compressing took and brought.

    Attributes:
        spent: joules of all passes; None where no lineage tells them.
        saved: joules that an inference takes less; None where they are not known.
        inferences: after which the saving has paid for what was spent; None where nothing is saved or not known.
        carbon: grams of CO2 equivalent at the intensity that the user gave, by what they are of: ``spent``,
            ``baseline`` and ``candidate`` (of one inference); empty without an intensity.
        sci: software carbon intensity of one inference, (E * I + M) per R of ISO/IEC 21031, by arm; likewise.
        embodied_g: M of it, as the user gave it; None where it is not included.
    """

    spent: Estimate | None
    saved: Estimate | None
    inferences: Estimate | None
    carbon: Mapping[str, Estimate]
    sci: Mapping[str, Estimate]
    embodied_g: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        parts = {"spent": self.spent, "saved": self.saved, "inferences": self.inferences}
        told: dict[str, Any] = {name: None if part is None else part.to_json() for name, part in parts.items()}
        for name in ("carbon", "sci"):
            told[name] = {what: grams.to_json() for what, grams in getattr(self, name).items()}
        return {**told, "embodied_g": self.embodied_g}


def payback(
    estimates: Mapping[str, Estimate],
    lineage: Mapping[str, Any] | None,
    intensity_g_per_kwh: float | None = None,
    embodied_g: float | None = None,
) -> Payback:
    """Reckon what compressing took and brought.

    Args:
        estimates: of a profile.
        lineage: the content of ``lineage.json``, None where there is none.
        intensity_g_per_kwh: grams of CO2 equivalent for a kilowatt-hour; None for no grams.
        embodied_g: grams of CO2 equivalent of making the hardware that fall to one inference; None leaves them out.

    Raises:
        CertificateError: an estimate in the lineage is malformed.
        UsageError: the intensity or the embodied emissions are not a number of at least 0, or come without the other.
    """
    if embodied_g is not None and (intensity_g_per_kwh is None or not 0 <= embodied_g < math.inf):
        raise UsageError(
            f"Embodied emissions of {embodied_g} g were given; they should be a number of grams from 0 on, beside the "
            "carbon intensity of the energy (--carbon-intensity)."
        )
    spent = None if lineage is None else compression_energy(lineage)
    joules = {"spent": spent, **{arm: Figures.of(estimates).energy_j(arm) for arm in ARMS}}
    grams = {
        name: carbon(energy, intensity_g_per_kwh)
        for name, energy in joules.items()
        if energy is not None and intensity_g_per_kwh is not None
    }
    scores = {arm: _sci(grams[arm], embodied_g or 0.0) for arm in ARMS if arm in grams}
    return Payback(spent, saved_energy(estimates), payback_inferences(spent, estimates), grams, scores, embodied_g)


def _sci(operational: Estimate, embodied_g: float) -> Estimate:
    """Grams of one inference: of its energy, and of the share of the hardware that falls to it."""
    ends = {name: getattr(operational, name) + embodied_g for name in ("value", "low", "high")}
    return replace(operational, **ends, method=f"{operational.method}; embodied emissions of {embodied_g:g} g added")


def compression_energy(lineage: Mapping[str, Any]) -> Estimate | None:
    """Joules that all passes of a lineage took; training the baseline, which was there before, is not among them.

    The ends are the sums of the ends, since one meter read all of them and its error is in each the same way.

    Args:
        lineage: the content of ``lineage.json``.

    Returns:
        None where there is no pass, or no meter read one of them: a part would pass for the whole.

    Raises:
        CertificateError: an estimate in it is malformed.
    """
    written = [row["energy_j"] for row in lineage["rows"]]
    if not written or None in written:
        return None
    parts = [Estimate.from_json(fields) for fields in written]
    value, low, high = (math.fsum(getattr(part, name) for part in parts) for name in ("value", "low", "high"))
    method = f"sum over {len(parts)} passes of the lineage"
    return Estimate(value, low, high, "J", min(part.n for part in parts), method, weakest(p.evidence for p in parts))


def saved_energy(estimates: Mapping[str, Estimate]) -> Estimate | None:
    """Joules that one inference of the candidate takes less than one of the baseline.

    From the baseline's joules and the paired ratio, which is known far better than the joules of either model: value
    B (1 - R), ends B.low (1 - R.high) and B.high (1 - R.low), or the like where the ratio passes 1. Each of the two
    intervals holds with the edition's confidence, so both together with somewhat less.

    Args:
        estimates: of a profile.

    Returns:
        None where either is not known.
    """
    figures = Figures.of(estimates)
    baseline, ratio = figures.energy_j("baseline"), figures.energy_ratio
    if baseline is None or ratio is None or not math.isfinite(baseline.high + ratio.high):
        return None
    ends = [joules * (1 - share) for joules in (baseline.low, baseline.high) for share in (ratio.low, ratio.high)]
    level = weakest((baseline.evidence, ratio.evidence))
    method = "joules of the baseline times one minus the paired ratio"
    return Estimate(baseline.value * (1 - ratio.value), min(ends), max(ends), "J", ratio.n, method, level)


def payback_inferences(spent: Estimate | None, estimates: Mapping[str, Estimate]) -> Estimate | None:
    """Number of inferences after which compressing has saved what it took.

    Args:
        spent: joules of compressing, as :func:`compression_energy` gives them.
        estimates: of a profile.

    Returns:
        Inferences of the workload's batch; without upper bound where the interval of the saving reaches 0. None where
        nothing is saved, or either side is not known.
    """
    saved = saved_energy(estimates)
    if spent is None or saved is None or saved.value <= 0:
        return None
    low = spent.low / saved.high
    high = spent.high / saved.low if saved.low > 0 else math.inf
    value = spent.value / saved.value
    level = weakest((spent.evidence, saved.evidence))
    return Estimate(value, low, high, "1", saved.n, "joules spent over joules saved by an inference", level)


def carbon(energy: Estimate, intensity_g_per_kwh: float) -> Estimate:
    """Grams of CO2 equivalent of an energy, at an intensity that the user gives.

    The intensity has no error here: it differs by place and hour more than any meter errs, so it is never guessed.

    Args:
        energy: in J.
        intensity_g_per_kwh: grams of CO2 equivalent for a kilowatt-hour.

    Raises:
        UsageError: the intensity is not a number of at least 0.
        ValueError: the energy is in another unit.
    """
    if not 0 <= intensity_g_per_kwh < math.inf:
        raise UsageError(
            f"A carbon intensity of {intensity_g_per_kwh} g/kWh was given; it should be a number of grams from 0 on."
        )
    if energy.unit != "J":
        raise ValueError(f"carbon is reckoned from joules, got {energy.unit}")
    factor = intensity_g_per_kwh / JOULES_PER_KWH
    return replace(
        energy,
        value=factor * energy.value,
        low=factor * energy.low,
        high=factor * energy.high,
        unit="g",
        method=f"{energy.method}; at {intensity_g_per_kwh:g} g of CO2 equivalent for a kWh, as given",
    )
