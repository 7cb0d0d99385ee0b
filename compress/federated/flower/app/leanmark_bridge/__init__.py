"""Hands messages from leanmark's coordinator to leanmark's clients, and answers back."""
