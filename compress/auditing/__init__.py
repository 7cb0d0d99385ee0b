"""Attacks on a model's training data, with twins and shadows that never ship; the referee judges the records."""
