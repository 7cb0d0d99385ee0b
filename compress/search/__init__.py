"""Trials of recipes: a study on validation data, and the certified winner."""
