"""QR code as one SVG path."""

from __future__ import annotations

import functools

import segno

from certify.present.svg import INK, PAPER, element

QUIET_ZONE = 4
"""Empty modules required by ISO/IEC 18004 on every side."""


def code(content: str, x: float, y: float, size: float) -> str:
    """Draw ``content`` as a square of ``size`` with its upper left corner at (x, y), including the quiet zone.

    Uses error correction level M or better, and the smallest version that fits the content.
    """
    path, modules = _drawn(content)
    scale = f"translate({x:g} {y:g}) scale({size / modules:.6g})"
    ground = element("rect", width=modules, height=modules, fill=PAPER)
    # Anti-aliased edges would leave light seams between adjoining rectangles.
    drawn = element("path", d=path, fill=INK, shape_rendering="crispEdges")
    return element("g", ground + drawn, transform=scale)


@functools.lru_cache(maxsize=16)  # verifying draws a label as SVG and as PNG, mostly at the cost of this code
def _drawn(content: str) -> tuple[str, int]:
    """Return the path of the dark modules, and the number of modules on a side with the quiet zone."""
    # Micro QR codes are excluded, because many phone cameras cannot read them.
    matrix = segno.make(content, error="m", micro=False).matrix
    path = "".join(
        f"M{column + QUIET_ZONE} {row + QUIET_ZONE}h{length}v1h-{length}z"
        for row, line in enumerate(matrix)
        for column, length in _runs(line)
    )
    return path, len(matrix) + 2 * QUIET_ZONE


def _runs(line: bytearray | tuple[int, ...]) -> list[tuple[int, int]]:
    """Return start and length of each run of dark modules."""
    runs: list[tuple[int, int]] = []
    for column, dark in enumerate(line):
        if not dark:
            continue
        if runs and sum(runs[-1]) == column:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((column, 1))
    return runs
