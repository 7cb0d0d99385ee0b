"""Counts that carry no error: bytes, parameters, multiply-adds, bytes moved, peak memory."""

from __future__ import annotations

from certify.assessments.efficiency.guards.result import number
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence


def size_estimates(evidence: Evidence) -> dict[str, Estimate]:
    """Counts of the models and their ratios candidate / baseline; what was not counted in full is left out."""
    memory = evidence.observation("peak_memory") or {}
    estimates: dict[str, Estimate] = {}
    for arm in evidence.arms:
        facts = evidence.header.models[arm]
        if facts.counted_share == 1:  # a part of the multiply-adds would pass for all of them
            estimates[f"macs_{arm}"] = Estimate.exact(facts.macs, "1", "counted from the graph, one sample")
            if facts.bytes_moved is not None:
                method = "operands of multiplying operators, counted from the graph, one sample"
                estimates[f"bytes_moved_{arm}"] = Estimate.exact(facts.bytes_moved, "B", method)
        else:
            method = (
                f"share of multiplying operators that could be counted; not counted: {', '.join(facts.not_counted)}"
            )
            estimates[f"counted_share_{arm}"] = Estimate.exact(facts.counted_share, "1", method)
        estimates[f"parameters_{arm}"] = Estimate.exact(facts.parameters, "1", "elements of all weights")
        estimates[f"bytes_{arm}"] = Estimate.exact(facts.bytes, "B", "size of the file that ran")
        if (peak := number(memory, arm)) is not None:
            estimates[f"peak_memory_bytes_{arm}"] = Estimate.exact(peak, "B", "peak resident memory of the worker")
    for name in ("macs", "bytes_moved", "parameters", "bytes"):
        above, below = estimates.get(f"{name}_candidate"), estimates.get(f"{name}_baseline")
        if above is not None and below is not None and below.value > 0:
            estimates[f"{name}_ratio"] = Estimate.exact(above.value / below.value, "1", "quotient of counts")
    return estimates
