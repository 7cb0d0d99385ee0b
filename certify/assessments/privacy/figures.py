"""Figures of a privacy statement: what was spent, over all mechanisms and runs, derived by closed formulas."""

from __future__ import annotations

from collections.abc import Iterator

from certify.assessments.privacy.records import DpSgd, GnMaxVotes, Mechanism, Records
from certify.core.accounting import GnMax, Spent, SubsampledGaussian, spent
from certify.core.accounting import Mechanism as Accounted
from certify.core.estimate import Estimate

EPSILON = "epsilon"
STATED = "epsilon_stated"
DELTA = "delta"
WAITING = "auditor_file"
METHOD = "RDP at integer orders, composed, conversion of Canonne, Kamath and Steinke 2020"


def estimates(records: Records) -> dict[str, Estimate]:
    """Every figure; epsilon is absent where a rate that it needs is withheld, or where nothing was released.

    Raises:
        UsageError: a mechanism has a number that none can have.
    """
    header, total = records.header, total_spent(records)
    found = {
        STATED: Estimate.exact(header.claimed_epsilon, "1", "as its maker claims it"),
        DELTA: Estimate.exact(header.delta, "1", "as its maker chose it"),
        "runs": Estimate.exact(float(sum(one.runs for one in records.mechanisms)), "1", "of all mechanisms together"),
        "raw_touches": Estimate.exact(float(len(records.raw_touches)), "1", "of private parts, by the ledger"),
    }
    if header.units is not None:
        found["units"] = Estimate.exact(float(header.units), "1", f"{header.unit}s in the private parts")
    if header.auditor is not None:
        found[WAITING] = Estimate.exact(1.0, "1", "files with rows that only an auditor sees")
    if total is not None:
        found = {EPSILON: Estimate.exact(total.epsilon, "1", f"{METHOD}; order {total.order}"), **found}
    return found


def total_spent(records: Records) -> Spent | None:
    """What all mechanisms together cost; None where that cannot be derived from these records."""
    releases = list(_releases(records))
    if not releases or None in releases:
        return None
    known = [one for one in releases if one is not None]
    return spent(known, records.header.delta, records.header.adjacency)


def _releases(records: Records) -> Iterator[tuple[Accounted, int] | None]:
    for one in records.mechanisms:
        accounted = _accounted(one, records)
        yield None if accounted is None else (accounted, one.runs)


def _accounted(one: Mechanism, records: Records) -> Accounted | None:
    if isinstance(one, GnMaxVotes):
        return GnMax(one.noise, one.answers, one.threshold_noise, one.queries)
    rate = rate_of(one, records)
    noise = one.noise_multiplier / (2 if one.microbatch > 1 else 1)
    return None if rate is None else SubsampledGaussian(noise, rate, one.steps)


def rate_of(one: DpSgd, records: Records) -> float | None:
    """The rate that may be counted: 1 without secret coins; None where it is withheld.

    Batch sizes that stand in public records are not secret, whatever the records say of them.
    """
    published = records.header.auditor is None and any(b.mechanism == one.id for b in records.batches)
    return one.sampling.rate if one.sampling.amplifies and not published else 1.0
