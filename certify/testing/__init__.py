"""Checks for your own parts: run :func:`check_meter` or :func:`check_assessment` in a test of your package."""

from certify.testing.assessment import CHECKS_OF_ASSESSMENTS, check_assessment
from certify.testing.checks import CheckFailed
from certify.testing.meter import CHECKS, check_meter

__all__ = ["CHECKS", "CHECKS_OF_ASSESSMENTS", "CheckFailed", "check_assessment", "check_meter"]
