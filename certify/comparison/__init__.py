"""Comparison of certificates: which are comparable, which model is better, and whether one passes a gate."""

from __future__ import annotations

from certify.comparison.comparison import Comparison, compare
from certify.comparison.gate import Gate, GateResult, evaluate_policy

__all__ = ["Comparison", "Gate", "GateResult", "compare", "evaluate_policy"]
