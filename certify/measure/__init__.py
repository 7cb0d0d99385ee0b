"""Measuring: windows of inferences in isolated workers, meters, and everything a guard wants to know of them."""
