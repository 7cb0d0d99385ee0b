"""Comparing certificates: which can be compared, which model is better, and whether one may pass a gate."""

from __future__ import annotations

from certify.comparison.comparison import Comparison, compare
from certify.comparison.gate import Gate, GateResult, evaluate_policy

__all__ = ["Comparison", "Gate", "GateResult", "compare", "evaluate_policy"]
