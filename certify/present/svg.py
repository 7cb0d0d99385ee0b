"""SVG elements of label and badge; every text goes through the escaping here."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from certify.core.text import clean

FONTS = "Lato, Helvetica, Arial, sans-serif"
REGULAR, BOLD, BLACK = 400, 700, 900

INK = "#111111"
QUIET = "#4a4a4a"
PAPER = "#ffffff"


def element(name: str, content: str | None = None, **attributes: object) -> str:
    """One element; underscores in attribute names stand for hyphens, None leaves an attribute out."""
    parts = (f" {key.replace('_', '-')}={quoteattr(_plain(value))}" for key, value in attributes.items()
             if value is not None)  # fmt: skip
    head = f"<{name}{''.join(parts)}"
    return f"{head}/>" if content is None else f"{head}>{content}</{name}>"


def _plain(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else clean(value)


def text(
    words: str, x: float, y: float, size: float, weight: int = REGULAR, colour: str = INK, anchor: str | None = None
) -> str:
    """A line of text with its baseline at y; ``anchor`` is ``middle`` or ``end``, None starts it at x."""
    return element(
        "text", escape(clean(words)), x=x, y=y, font_size=size, font_weight=weight, fill=colour, text_anchor=anchor
    )


def box(
    x: float, y: float, width: float, height: float, radius: float = 0, stroke: float = 2, dashed: bool = False,
    fill: str = "none",
) -> str:  # fmt: skip
    """An outlined rectangle."""
    return element(
        "rect", x=x, y=y, width=width, height=height, rx=radius, fill=fill, stroke=INK, stroke_width=stroke,
        stroke_dasharray="10 6" if dashed else None,
    )  # fmt: skip


def polygon(points: Iterable[tuple[float, float]], fill: str, stroke: float = 0) -> str:
    """A filled polygon, outlined in ink where ``stroke`` is not 0."""
    corners = " ".join(f"{x:g},{y:g}" for x, y in points)
    if not stroke:
        return element("polygon", points=corners, fill=fill)
    return element("polygon", points=corners, fill=fill, stroke=INK, stroke_width=stroke, stroke_linejoin="round")


def rule(x1: float, x2: float, y: float, stroke: float = 2) -> str:
    """A horizontal line."""
    return element("line", x1=x1, y1=y, x2=x2, y2=y, stroke=INK, stroke_width=stroke)


def document(width: int, height: int, title: str, description: str, body: Iterable[str]) -> str:
    """The whole file; screen readers speak ``title`` and ``description``."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title desc" font-family="{FONTS}">'
    )
    title_line = element("title", escape(clean(title)), id="title")
    description_line = element("desc", escape(clean(description)), id="desc")
    return "\n".join([head, title_line, description_line, *body, "</svg>"]) + "\n"
