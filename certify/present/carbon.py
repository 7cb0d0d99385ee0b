"""Sentences about what compressing took, and about carbon where a reader gives an intensity; none of it is signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from certify.assessments.efficiency.payback import Payback
from certify.core.estimate import Estimate, EvidenceLevel
from certify.present.numbers import interval, quantity

PURPOSES = {"spent": "for compressing", "baseline": "for an inference before", "candidate": "for one after"}


def payback_sentences(paid: Payback) -> Iterator[str]:
    """Cost of compressing, and when it is paid back."""
    if paid.spent is not None:
        yield f"Compressing took {_words(paid.spent)}."
    if paid.inferences is not None:
        yield f"That is saved again after {_words(paid.inferences)} inferences."


def carbon_sentences(paid: Payback) -> Iterator[str]:
    """Grams of CO2 equivalent, and the software carbon intensity; nothing where no intensity was given."""
    if paid.carbon:
        yield f"At the intensity given, CO2 equivalent: {_listed(paid.carbon)}."
    if paid.sci:
        embodied = paid.embodied_g
        told = (
            "embodied emissions (M), are not included"
            if embodied is None
            else f"M = {quantity(embodied, 'g')}, is as given"
        )
        yield (
            f"Software carbon intensity as in ISO/IEC 21031, (E × I + M) per inference: {_listed(paid.sci)}. The share "
            f"of the hardware, {told}. E is the energy of inference as measured here, without cooling."
        )


def _listed(grams: Mapping[str, Estimate]) -> str:
    return ", ".join(f"{_words(grams[name])} {what}" for name, what in PURPOSES.items() if name in grams)


def _words(estimate: Estimate) -> str:
    """``about 3.4 k (3.1 to 3.9)``; modelled figures say so."""
    unit = "" if estimate.unit == "1" else estimate.unit
    modelled = "modelled " if estimate.evidence is EvidenceLevel.MODELLED else ""
    ends = interval(estimate, unit)
    return f"{modelled}{quantity(estimate.value, unit)}" + (f" ({ends})" if ends else "")
