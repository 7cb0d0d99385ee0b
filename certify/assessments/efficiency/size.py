"""Exact counts: bytes, parameters, multiply-adds, bytes moved, peak memory."""

from __future__ import annotations

from certify.assessments.efficiency.figures import Figures
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.run_observations import PeakMemory

RATIOS = {
    Figures.macs: Figures.macs_ratio,
    Figures.bytes_moved: Figures.bytes_moved_ratio,
    Figures.parameters: Figures.parameters_ratio,
    Figures.bytes: Figures.bytes_ratio,
}


def size_estimates(evidence: Evidence) -> dict[str, Estimate]:
    """Return counts of the models and their ratios candidate / baseline; incomplete counts are left out."""
    memory = evidence.observed(PeakMemory) or PeakMemory({})
    estimates: dict[str, Estimate] = {}
    for arm in evidence.arms:
        facts = evidence.header.models[arm]
        if facts.counted_share == 1:  # a part of the multiply-adds would be mistaken for all of them
            estimates[Figures.macs(arm)] = Estimate.exact(facts.macs, "1", "counted from the graph, one sample")
            if facts.bytes_moved is not None:
                method = "operands of multiplying operators, counted from the graph, one sample"
                estimates[Figures.bytes_moved(arm)] = Estimate.exact(facts.bytes_moved, "B", method)
        else:
            method = f"share of multiplying operators counted; not counted: {', '.join(facts.not_counted)}"
            estimates[Figures.counted_share(arm)] = Estimate.exact(facts.counted_share, "1", method)
        estimates[Figures.parameters(arm)] = Estimate.exact(facts.parameters, "1", "elements of all weights")
        estimates[Figures.bytes(arm)] = Estimate.exact(facts.bytes, "B", "size of the file")
        if (peak := memory.counts.get(arm)) is not None:
            estimates[Figures.peak_memory_bytes(arm)] = Estimate.exact(peak, "B", "peak resident memory of the worker")
    for count, ratio in RATIOS.items():
        above, below = (estimates.get(count(arm)) for arm in ("candidate", "baseline"))
        if above is not None and below is not None and below.value > 0:
            estimates[ratio] = Estimate.exact(above.value / below.value, "1", "quotient of counts")
    return estimates
