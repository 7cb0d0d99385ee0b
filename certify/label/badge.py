"""A badge for a README: the letter and the saving on one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from certify.label.facts import Facts, read
from certify.label.layout import SCALE
from certify.label.svg import BLACK, BOLD, INK, PAPER, document, element, text
from certify.label.text import width

HEIGHT, SIZE, SPACE, RADIUS = 24, 13, 9, 5
NAME = "leanmark"
REFUSED, REFUSED_GROUND = "not graded", "#e2e2e2"


def badge(predicate: Mapping[str, Any], certificate_digest: str) -> str:
    """The badge of a certificate, or of a refusal; equal input gives equal text.

    Args:
        predicate: of the certificate's statement.
        certificate_digest: hex SHA-256 of the certificate, spoken by a screen reader.

    Returns:
        A self-contained SVG document.

    Raises:
        CertificateError: the predicate lacks something that a badge shows.
    """
    facts = read(predicate, certificate_digest)
    parts = [(NAME, PAPER, INK, BOLD), *_said(facts)]
    drawn, x = [], 0.0
    for words, ink, ground, weight in parts:
        wide = width(words, SIZE, bold=True) + 2 * SPACE
        drawn.append(element("rect", x=x, width=wide, height=HEIGHT, fill=ground))
        drawn.append(text(words, x + wide / 2, HEIGHT / 2 + 4.5, SIZE, weight, ink, anchor="middle"))
        x += wide
    corners = element("clipPath", element("rect", width=x, height=HEIGHT, rx=RADIUS), id="corners")
    frame = element("rect", x=0.5, y=0.5, width=x - 1, height=HEIGHT - 1, rx=RADIUS, fill="none", stroke=INK)
    body = [corners, element("g", "".join(drawn), clip_path="url(#corners)"), frame]
    return document(math.ceil(x), HEIGHT, facts.title, facts.description, body)


def _said(facts: Facts) -> list[tuple[str, str, str, int]]:
    """Words, ink, ground and weight of the parts after the name."""
    if facts.letter is None or facts.energy is None:
        return [(REFUSED, INK, REFUSED_GROUND, BOLD)]
    saving = f"{facts.energy.figure} {facts.energy.meaning}" + (" (modelled)" if facts.modelled else "")
    return [(facts.grade, INK, dict(SCALE)[facts.letter], BLACK), (saving, INK, PAPER, BOLD)]
