"""Exported torch programs, read without torch."""
