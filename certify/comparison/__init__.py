"""Several certificates beside each other: which can be compared, how they stand, and whether one may pass a gate."""

from __future__ import annotations

from certify.comparison.compare import Comparison, compare
from certify.comparison.gate import Gate, Passage, pass_gate

__all__ = ["Comparison", "Gate", "Passage", "compare", "pass_gate"]
