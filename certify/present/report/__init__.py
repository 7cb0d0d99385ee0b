"""The report: a self-contained HTML page about a certified model, without scripts."""

from __future__ import annotations

from certify.present.report.report import page, report
from certify.present.report.sidecars import Sidecars, read_sidecars

__all__ = ["Sidecars", "page", "read_sidecars", "report"]
