"""The report: one self-contained HTML page about a certified model, without scripts, drawn from its papers alone."""

from __future__ import annotations

from certify.page.page import page
from certify.page.papers import Papers, read_papers
from certify.page.report import report

__all__ = ["Papers", "page", "read_papers", "report"]
