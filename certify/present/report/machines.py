"""The same model on several machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.text import clean
from certify.present.machines import worst
from certify.present.report.sections import Section
from certify.present.rows import Cell, change_cell
from certify.present.wording import date, energy_source


@dataclass(frozen=True)
class Machine:
    """Certificate of one machine; ``mark`` is set for the worst letter."""

    where: str
    grade: str
    mark: str
    energy: Cell
    accuracy: Cell
    source: str
    date: str
    key: str


@dataclass(frozen=True)
class Machines:
    """All machines, and a sentence about the worst."""

    sentence: str
    rows: tuple[Machine, ...]


def machines_section(own: EfficiencyClaims, beside: Sequence[EfficiencyClaims]) -> Section | None:
    """Return certificates of this model from several machines; None if there is only one."""
    if not beside:
        return None
    every = (own, *beside)
    lowest = worst(every)
    message = "None of them has a letter" if lowest is None else f"The worst letter is {clean(lowest.text_on_device)}"
    refused = sum(machine.refused for machine in every)
    # A refusal has no letter, which must not read as if all machines had been compared.
    without = f"; {refused} of them have none" if refused and lowest is not None else ""
    rows = tuple(_row(machine, machine is lowest) for machine in every)
    return Section("machines", "On several machines", Machines(f"{message}{without}.", rows))


def _row(claims: EfficiencyClaims, is_worst: bool) -> Machine:
    energy, loss = (
        Cell() if claims.refused else change_cell(claims.figures.get(name), None, None)
        for name in ("energy_ratio", "relative_loss_percent")
    )
    return Machine(
        clean(claims.device_class), claims.text, "worst" if is_worst else "", energy, loss, energy_source(claims),
        date(claims), claims.signer.public_key[:12],
    )  # fmt: skip
