"""From a certificate's predicate to the SVG of its label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.label.facts import read
from certify.label.layout import layout


def draw(predicate: Mapping[str, Any], certificate_digest: str) -> str:
    """The label of a certificate, or of a refusal; equal input gives equal text.

    Args:
        predicate: of the certificate's statement, as its schema says.
        certificate_digest: hex SHA-256 of the certificate, printed as text and as a QR code.

    Returns:
        A self-contained SVG document.

    Raises:
        CertificateError: the predicate lacks something that a label shows.
    """
    return layout(read(predicate, certificate_digest))
