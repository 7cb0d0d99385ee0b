"""Checks for passes: run them on your own pass with :func:`check_pass`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from certify.testing.checks import CheckFailed as CheckFailed
    from compress.testing.battery import CHECKS as CHECKS
    from compress.testing.battery import check_pass as check_pass


__getattr__, __dir__ = door(__name__, {"battery": ("CHECKS", "CheckFailed", "check_pass")})
