"""CycloneDX 1.7: the document of :mod:`certify.export.cyclonedx` in the newer version."""

from __future__ import annotations

from certify.export.cyclonedx import INCLUDED, INCLUDED_IF_GRADED, document
from certify.export.source import ExportSource

__all__ = ["INCLUDED", "INCLUDED_IF_GRADED", "write"]


def write(source: ExportSource) -> str:
    """Return the bill of materials as JSON; see :func:`certify.export.cyclonedx.document`."""
    return document(source, "1.7")
