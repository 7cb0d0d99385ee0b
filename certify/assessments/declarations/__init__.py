"""Maker's declarations about a model: public, cross-checked, and worth no points."""
