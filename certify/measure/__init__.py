"""Measuring: windows of inferences in isolated workers, meters, and the observations that guards need."""
