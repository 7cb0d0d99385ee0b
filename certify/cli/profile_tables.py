"""Tables of ``leanmark profile``; pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from certify.cli.tables import comparison, single, two_lines
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.text import clean
from certify.present.numbers import percent, quantity
from certify.present.rows import NAMES, Cell, cell, change_cell
from certify.workflows.profile_result import Profiled, WorkloadProfile

MODEL = "candidate"
NODE_WIDTH = 36


def tables(result: Profiled) -> Iterator[Table | Text]:
    """Yield a table of figures, and the nodes that use most of the energy of the first workload."""
    first = result.workloads[0]
    if len(result.workloads) > 1:
        yield sweep(result)
        if any(_level(workload) is EvidenceLevel.MODELLED for workload in result.workloads):
            yield Text("Energy is modelled, not metered.")
    elif result.against is None:
        yield single(first.profile.estimates)
    else:
        yield comparison(first.profile.estimates)
    yield from _smallest(result)
    for arm in first.arms:
        if first.nodes(arm):
            model = clean(result.model if arm == MODEL else result.against)
            yield Text(f"Most expensive nodes of {model} by share of time", style="bold")
            yield nodes(first, arm)


def sweep(result: Profiled) -> Table:
    """Return one row per workload; a missing figure is a dash, and an empty column is left out."""
    columns: dict[str, list[Cell]] = {}
    for workload in result.workloads:
        for heading, figure in _figures(workload, result.against is not None).items():
            columns.setdefault(heading, []).append(figure)
    # A column without any figure, such as energy without a meter, is left out.
    filled = {heading: figures for heading, figures in columns.items() if any(figure.figure for figure in figures)}
    runtimes = [workload.runtime for workload in result.workloads]
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    if len(set(runtimes)) > 1:
        table.add_column("runtime", overflow="fold")
    for heading in ("batch", *filled):
        table.add_column(heading, justify="right")
    for row, workload in enumerate(result.workloads):
        names = [workload.runtime] if len(set(runtimes)) > 1 else []
        table.add_row(*names, str(workload.batch), *(two_lines(figures[row]) for figures in filled.values()))
    return table


def _figures(workload: WorkloadProfile, compared: bool) -> dict[str, Cell]:
    estimates, per_sample = workload.figures, workload.per_sample(MODEL)
    metered = per_sample is not None and per_sample.unit == "J"
    figures = {
        "energy per\ninference": cell(estimates.energy_j(MODEL), NAMES.energy_j),
        "energy per\nsample": cell(per_sample if metered else None, NAMES.energy_j),
        "latency\np50": cell(estimates.latency_p50_s(MODEL), NAMES.latency_p50_s),
        "samples\nper s": cell(_plain(estimates.throughput_per_s(MODEL)), ""),
        "peak\nmemory": cell(estimates.peak_memory_bytes(MODEL), NAMES.peak_memory_bytes),
        "accuracy": cell(estimates.accuracy(MODEL), NAMES.accuracy),
    }
    if compared:
        figures["energy\nratio"] = change_cell(estimates.energy_ratio, None, None)
    return figures


def nodes(workload: WorkloadProfile, arm: str) -> Table:
    """Return the most expensive nodes, with their share of time and the joules that this share corresponds to."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column(f"node, batch {workload.batch}", no_wrap=True, max_width=NODE_WIDTH)
    table.add_column("operator", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    for node in workload.nodes(arm):
        energy = "" if node.energy is None else quantity(node.energy.value, node.energy.unit)
        table.add_row(clean(node.name), clean(node.operator), percent(100 * node.share), energy)
    return table


def _smallest(result: Profiled) -> Iterator[Text]:
    known = [workload.figures.smallest_detectable_saving for workload in result.workloads]
    found = [estimate.value for estimate in known if estimate is not None]
    if found:
        # The largest value is printed, because every workload of the sweep can detect that difference.
        smallest = percent(100 * max(found), "up")
        yield Text(f"Smallest difference detectable here: {smallest}.")


def _level(workload: WorkloadProfile) -> EvidenceLevel | None:
    energy = workload.figures.energy_j(MODEL)
    return None if energy is None else energy.evidence


def _plain(rate: Estimate | None) -> Estimate | None:
    """Return a rate without its unit, which is in the heading."""
    return rate if rate is None else Estimate(rate.value, rate.low, rate.high, "", rate.n, rate.method)
