"""Badge for a README: saving, class of devices and signer on one line; a letter is never drawn as a badge."""

from __future__ import annotations

import math

from certify.assessment.claims import presenting
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.present.headline import energy_of
from certify.present.svg import BOLD, INK, PAPER, QUIET, REGULAR, document, element, text
from certify.present.text import width
from certify.present.wording import description, holds_on, title

HEIGHT, SIZE, SPACE, RADIUS = 24, 13, 9, 5
NAME = "leanmark"
SELF_DECLARED = "self-declared"
REFUSED, REFUSED_GROUND = "not graded", "#e2e2e2"


def badge(claims: EfficiencyClaims) -> str:
    """Draw the badge of a certificate, or of a refusal; equal input gives equal text.

    Returns:
        A self-contained SVG document.

    Raises:
        CertificateError: a claim is malformed.
    """
    with presenting("a badge"):
        return _badge(claims)


def _badge(claims: EfficiencyClaims) -> str:
    parts = [(NAME, PAPER, INK, BOLD), *_statement(claims)]
    drawn, x = [], 0.0
    for words, ink, ground, weight in parts:
        wide = width(words, SIZE, bold=True) + 2 * SPACE
        drawn.append(element("rect", x=x, width=wide, height=HEIGHT, fill=ground))
        drawn.append(text(words, x + wide / 2, HEIGHT / 2 + 4.5, SIZE, weight, ink, anchor="middle"))
        x += wide
    corners = element("clipPath", element("rect", width=x, height=HEIGHT, rx=RADIUS), id="corners")
    frame = element("rect", x=0.5, y=0.5, width=x - 1, height=HEIGHT - 1, rx=RADIUS, fill="none", stroke=INK)
    body = [corners, element("g", "".join(drawn), clip_path="url(#corners)"), frame]
    return document(math.ceil(x), HEIGHT, title(claims), description(claims), body)


def _statement(claims: EfficiencyClaims) -> list[tuple[str, str, str, int]]:
    """Return words, colour, background and weight of the parts after the name."""
    energy = energy_of(claims)
    if energy is None:
        return [(REFUSED, INK, REFUSED_GROUND, BOLD)]
    # A badge has no strip about the source of the energy, so a modelled saving says so itself.
    saving = f"{energy.figure} {energy.meaning}" + (" (modelled)" if claims.unmetered else "")
    return [(saving, INK, PAPER, BOLD), (holds_on(claims), INK, PAPER, REGULAR), (SELF_DECLARED, QUIET, PAPER, REGULAR)]
