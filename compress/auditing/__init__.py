"""Attacks on a model's training data, by twins and shadows that never ship; the referee judges what is recorded."""
