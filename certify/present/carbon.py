"""Sentences about the cost of compressing, and about carbon if the reader gives an intensity; none of it is signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from certify.assessments.efficiency.payback import PASSES, Payback
from certify.core.estimate import Estimate, EvidenceLevel
from certify.present.numbers import interval, quantity

PURPOSES = {"spent": "for making the model", "baseline": "per inference before", "candidate": "per inference after"}


def payback_sentences(paid: Payback) -> Iterator[str]:
    """Yield the cost of compressing and of later work, and the break-even point."""
    passes = paid.parts.get(PASSES)
    if passes is not None:
        yield f"Compressing took {_words(passes)}."
    for name, joules in paid.later.items():
        yield f"The {name} took {_words(joules)}." if joules else f"The energy of the {name} is unknown."
    if paid.inferences is not None:
        yield f"{'All this' if paid.later else 'It'} breaks even after {_words(paid.inferences)} inferences."


def carbon_sentences(paid: Payback) -> Iterator[str]:
    """Yield grams of CO2 equivalent and the software carbon intensity; nothing without an intensity."""
    if paid.carbon:
        yield f"CO2 equivalent at the given intensity: {_listed(paid.carbon)}."
    if paid.sci:
        embodied = paid.embodied_g
        scope = "excluding embodied emissions M" if embodied is None else f"with M = {quantity(embodied, 'g')} as given"
        yield (
            f"Software carbon intensity as in ISO/IEC 21031, (E × I + M) per inference, {scope}: {_listed(paid.sci)}. "
            "E is the inference energy measured here, without cooling."
        )


def _listed(grams: Mapping[str, Estimate]) -> str:
    return ", ".join(f"{_words(grams[name])} {what}" for name, what in PURPOSES.items() if name in grams)


def _words(estimate: Estimate) -> str:
    """Format as ``3.4 k (3.1 to 3.9; modelled)``: the interval, and whether the figure is modelled."""
    unit = "" if estimate.unit == "1" else estimate.unit
    modelled = "modelled" if estimate.evidence is EvidenceLevel.MODELLED else ""
    notes = "; ".join(filter(None, (interval(estimate, unit), modelled)))
    return quantity(estimate.value, unit) + (f" ({notes})" if notes else "")
