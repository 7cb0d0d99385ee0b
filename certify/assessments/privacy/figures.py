"""Figures of a privacy statement: privacy spent over all mechanisms and runs, by closed formulas."""

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
    """Return all figures; epsilon is absent if a required rate is withheld, or if nothing was released.

    Raises:
        UsageError: a mechanism has an impossible parameter.
    """
    header, total = records.header, total_spent(records)
    found = {
        STATED: Estimate.exact(header.claimed_epsilon, "1", "as claimed by the maker"),
        DELTA: Estimate.exact(header.delta, "1", "as chosen by the maker"),
        "runs": Estimate.exact(
            float(sum(mechanism.runs for mechanism in records.mechanisms)), "1", "of all mechanisms together"
        ),
        "raw_touches": Estimate.exact(float(len(records.raw_touches)), "1", "reads of private splits in the ledger"),
    }
    if header.units is not None:
        found["units"] = Estimate.exact(float(header.units), "1", f"{header.unit}s in the private splits")
    if header.auditor is not None:
        found[WAITING] = Estimate.exact(1.0, "1", "files with rows that only an auditor sees")
    if total is not None:
        found = {EPSILON: Estimate.exact(total.epsilon, "1", f"{METHOD}; order {total.order}"), **found}
    return found


def total_spent(records: Records) -> Spent | None:
    """Return the total cost of all mechanisms; None if it cannot be derived from these records."""
    releases = list(_releases(records))
    # Without a mechanism nothing is shown to be private, so there is no epsilon.
    if not releases or None in releases:
        return None
    known = [release for release in releases if release is not None]
    return spent(known, records.header.delta, records.header.adjacency)


def _releases(records: Records) -> Iterator[tuple[Accounted, int] | None]:
    for mechanism in records.mechanisms:
        accounted = _accounted(mechanism, records)
        yield None if accounted is None else (accounted, mechanism.runs)


def _accounted(mechanism: Mechanism, records: Records) -> Accounted | None:
    if isinstance(mechanism, GnMaxVotes):
        # Caps are used instead of votes, because a number that depends on the votes would leak them.
        return GnMax(mechanism.noise, mechanism.answers, mechanism.threshold_noise, mechanism.queries)
    rate, noise = rate_of(mechanism, records), mechanism.noise_multiplier
    if rate is None or noise is None:
        return None
    # Averaging a microbatch before clipping doubles the sensitivity, which halves the noise relative to it.
    return SubsampledGaussian(noise / (2 if mechanism.microbatch > 1 else 1), rate, mechanism.steps)


def rate_of(mechanism: DpSgd, records: Records) -> float | None:
    """Return the sampling rate to account for: 1 without secret coins; None if it is withheld.

    Batch sizes in public records are not secret, whatever the records state about them.
    """
    # Public batch sizes reveal part of the sampling coins, so amplification must not be counted.
    published = records.header.auditor is None and any(b.mechanism == mechanism.id for b in records.batches)
    return mechanism.sampling.rate if mechanism.sampling.amplifies and not published else 1.0
