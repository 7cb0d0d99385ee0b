"""Checks for parts of your own: run :func:`check_meter` on a meter, in a test of your package."""

from certify.testing.checks import CheckFailed
from certify.testing.meter import CHECKS, check_meter

__all__ = ["CHECKS", "CheckFailed", "check_meter"]
