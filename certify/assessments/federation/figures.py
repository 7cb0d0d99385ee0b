"""Figures of the federation assessment: counts and sums over the log.

Figures of the log have no interval, since they are sums of signed values. The evidence level of an energy is that of
its weakest part; an energy is missing if any part of it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from certify.assessments.federation.findings import took_part
from certify.assessments.federation.records import Central, Records
from certify.core.accounting import SubsampledGaussian, spent
from certify.core.estimate import Estimate, EvidenceLevel, weakest
from certify.core.federation import FederatedRun, Spent
from certify.core.statistics.proportions import difference_interval

SHARE, RATIO, ENERGY = "client_compute_share", "round_bytes_ratio", "round_energy_j"
"""Figures read by the scorecard."""
BYTES = "round_bytes"
SIMULATED = "memory"
"""Transport of a simulation: no client computed anything, so the share of clients' computing is missing."""
FLOAT32_BYTES = 4
SIGNED = "sum of signed entries"


def figures(records: Records) -> Mapping[str, Estimate]:
    """Return all figures by name."""
    return dict([*_counts(records), *_bytes(records), *_compute(records), *_privacy(records), *_central(records)])


def gini(counts: Sequence[int]) -> float:
    """Return the Gini coefficient of how often each client took part: 0 if all did equally often.

    It is the sum over i of (2 i - n - 1) x_i / (n sum x), with x ascending and i from 1 (Dixon et al. 1987, without the
    correction for small samples).

    Example:
        >>> gini([2, 2, 2]), gini([0, 0, 0, 4])
        (0.0, 0.75)
    """
    ordered, total = sorted(counts), sum(counts)
    # Without participants, participation is equal.
    if not total:
        return 0.0
    n = len(ordered)
    return sum((2 * place - n - 1) * count for place, count in enumerate(ordered, 1)) / (n * total)


def simulated(records: Records) -> bool:
    """Return whether one process ran the clients of a run."""
    return any(run.opening.message.transport == SIMULATED for run in records.runs)


def _rounds(records: Records) -> int:
    return sum(len(run.rounds) for run in records.runs)


def _counts(records: Records) -> Iterator[tuple[str, Estimate]]:
    runs = records.runs
    taking = {client for run in runs for client in took_part(run)}
    closes = [each.close.message for run in runs for each in run.rounds]
    counts = {
        "rounds": _rounds(records),
        "clients": len(taking),
        "clients_simulated": len(taking) if simulated(records) else 0,
        "population": max(run.opening.message.population for run in runs),
        "entries": sum(len(close.entries) for close in closes),
        "clients_dropped": sum(len(close.dropped) for close in closes),
        "messages_refused": sum(len(close.refused) for close in closes),
        "attempts_abandoned": sum(len(list(run.attempts)) - len(run.rounds) for run in runs),
    }
    for name, count in counts.items():
        yield name, Estimate.exact(count, "1", "lines of the log")
    times = Counter(entry.message.client for run in runs for entry in run.entries)
    population = counts["population"]
    if times:
        # Clients that never took part count as zeros; otherwise always selecting the same few would look equal.
        shares = [*times.values(), *[0] * (population - len(times))]
        yield "participation_gini", Estimate.exact(gini(shares), "1", f"Gini coefficient over {population} clients")


def _bytes(records: Records) -> Iterator[tuple[str, Estimate]]:
    closes = [each.close.message for run in records.runs for each in run.rounds]
    up, down = sum(close.bytes_up for close in closes), sum(close.bytes_down for close in closes)
    yield "bytes_up", Estimate.exact(up, "B", SIGNED)
    yield "bytes_down", Estimate.exact(down, "B", SIGNED)
    if closes:
        yield BYTES, Estimate.exact((up + down) / len(closes), "B", f"mean over {len(closes)} rounds, both ways")
    entries = sum(len(close.entries) for close in closes)
    if entries:
        yield (
            RATIO,
            Estimate.exact((up + down) / _float32_bytes(records), "1", "over float32 both ways"),
        )
        yield "bytes_up_per_entry", Estimate.exact(up / entries, "B", f"mean over {entries} entries")


def _float32_bytes(records: Records) -> int:
    """Return the bytes of the same entries with the whole model as float32, to each selected client and back."""
    return sum(
        FLOAT32_BYTES * run.opening.message.parameters * (len(each.begin.selected) + len(each.entries))
        for run in records.runs
        for each in run.rounds
    )


def _servers(run: FederatedRun) -> list[Spent]:
    last = [] if run.end is None else [run.end.message.spent]
    return [*(each.close.message.spent for each in run.rounds), *last]


def _compute(records: Records) -> Iterator[tuple[str, Estimate]]:
    clients = [entry.message.spent for run in records.runs for entry in run.entries]
    servers = [server for run in records.runs for server in _servers(run)]
    on_clients, on_servers = (sum(cost.cpu_s for cost in part) for part in (clients, servers))
    yield "client_cpu_s", Estimate.exact(on_clients, "s", f"{SIGNED}, as each client states it")
    yield "server_cpu_s", Estimate.exact(on_servers, "s", "as the server states it")
    if on_clients + on_servers > 0:
        method = "CPU-seconds of clients over those of clients and server"
        # A simulation uses another name, so that a scorecard does not read it as work done by clients.
        name = f"simulated_{SHARE}" if simulated(records) else SHARE
        yield name, Estimate.exact(on_clients / (on_clients + on_servers), "1", method)
    for name, part in (("client_energy_j", clients), ("server_energy_j", servers)):
        if (found := _energy(part, SIGNED)) is not None:
            yield name, found
    total = _energy([*clients, *servers], "sum over clients and server")
    if total is not None:
        yield "energy_j", total
        if rounds := _rounds(records):
            yield ENERGY, total.scaled(1 / rounds)


def _energy(parts: Sequence[Spent], method: str) -> Estimate | None:
    """Return the sum of joules; None unless every part that used CPU time states them."""
    stated = [(part.energy_j, EvidenceLevel(part.level)) for part in parts if part.energy_j is not None]
    # A part without CPU time needs no joules.
    if not stated or any(part.energy_j is None and part.cpu_s > 0 for part in parts):
        return None
    total = sum(joules for joules, _ in stated)
    return Estimate(total, total, total, "J", len(stated), method, weakest(level for _, level in stated))


def _privacy(records: Records) -> Iterator[tuple[str, Estimate]]:
    """Yield the client-level epsilon, composed over all runs; none if a run adds no noise.

    The log names the clients that took part, so there is no amplification by sampling: the rate is 1.
    """
    noisy = [(run.opening.message.privacy, len(run.rounds)) for run in records.runs]
    stated = [(privacy, rounds) for privacy, rounds in noisy if privacy is not None and rounds]
    # A run without noise protects nobody, so no epsilon holds over all runs.
    if not stated or len(stated) < len(records.runs):
        return
    # The largest delta is used, because every run's claim also holds at a larger delta.
    delta = max(privacy.delta for privacy, _ in stated)
    # The rate is 1: the server knows which clients were selected, so sampling does not amplify privacy.
    releases = [(SubsampledGaussian(privacy.noise_multiplier, 1.0, rounds), 1) for privacy, rounds in stated]
    found = spent(releases, delta, "add-remove")
    method = f"Rényi accountant, delta {delta:g}, add or remove one client, without amplification by sampling"
    yield "client_epsilon", Estimate.exact(found.epsilon, "1", method)
    yield "client_delta", Estimate.exact(delta, "1", "as stated")


def _central(records: Records) -> Iterator[tuple[str, Estimate]]:
    """Yield the comparison with a central run, if one was measured."""
    central = records.central
    if central is None:
        return
    table = central.table
    ends = difference_interval(table, 0.95)
    change = 100 * (table.candidate - table.baseline) / table.n
    method = "difference of paired proportions, score interval (Tango 1998), to central training"
    yield (
        "central_change_points",
        Estimate(change, 100 * ends.low, 100 * ends.high, "points", table.n, method),
    )
    yield from _ratios(records, central)


def _ratios(records: Records, central: Central) -> Iterator[tuple[str, Estimate]]:
    mine = dict(_compute(records))
    cpu = float(mine["client_cpu_s"]) + float(mine["server_cpu_s"])
    yield "central_cpu_ratio", Estimate.exact(cpu / central.cpu_s, "1", "CPU-seconds over those of central training")
    if central.energy_j and central.level is not None and "energy_j" in mine:
        total = mine["energy_j"]
        ratio = float(total) / central.energy_j
        level = weakest([total.evidence, EvidenceLevel(central.level)])
        yield (
            "central_energy_ratio",
            Estimate(ratio, ratio, ratio, "1", 1, "joules over those of central training", level),
        )
