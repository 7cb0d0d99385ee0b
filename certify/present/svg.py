"""HTML and SVG in which every text is escaped unless it was generated here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

from certify.core.text import clean, printable
from certify.present.text import has_known_width
from certify.present.text import width as line_width

FONTS = "Lato, Helvetica, Arial, sans-serif"
REGULAR, BOLD, BLACK = 400, 700, 900

INK = "#111111"
QUIET = "#4a4a4a"
PAPER = "#ffffff"


def tag(name: str, /, *content: str | None, **attributes: object) -> Markup:
    """Return one element of a chart or a page.

    Args:
        name: element name.
        content: pieces in order: text is escaped, Markup is not, None is left out.
        attributes: underscores in names become hyphens, a trailing one (``class_``) is dropped; None omits an
            attribute.

    Example:
        >>> print(tag("b", "1 < 2", class_="note"))
        <b class="note">1 &lt; 2</b>
    """
    return Markup(f"<{name}{_attributes(attributes, _to_hundredths)}>{joined(*content)}</{name}>")


def joined(*content: str | None) -> Markup:
    """Join pieces as in :func:`tag`."""
    # Text not generated here is escaped, because names of models, groups and makers are untrusted.
    pieces = (part if isinstance(part, Markup) else escape(printable(part)) for part in content if part is not None)
    return Markup("".join(pieces))


def element(name: str, content: str | None = None, **attributes: object) -> str:
    """Return one element of label or badge, with ``content`` as markup; attributes as in :func:`tag`."""
    head = f"<{name}{_attributes(attributes, _exactly)}"
    return f"{head}/>" if content is None else f"{head}>{content}</{name}>"


def _attributes(attributes: Mapping[str, object], form: Callable[[object], str]) -> str:
    return "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(form(value))}"
        for key, value in attributes.items()
        if value is not None
    )


def _to_hundredths(value: object) -> str:
    """Format coordinates without the last bits, which differ between platforms and are invisible."""
    return f"{round(value, 2):g}" if isinstance(value, float) else printable(value)


def _exactly(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else clean(value)


def text(
    words: str, x: float, y: float, size: float, weight: int = REGULAR, colour: str = INK, anchor: str | None = None
) -> str:
    """Draw a line of text with its baseline at y; ``anchor`` is ``middle`` or ``end``, None starts it at x.

    The line keeps its width where a reader has none of the fonts and another one is wider.
    """
    words = clean(words)
    # Stretched to the computed width, so that a substitute font neither overflows nor moves the anchor.
    room = round(line_width(words, size, bold=weight != REGULAR), 1) if words and has_known_width(words) else None
    return element(
        "text", escape(words), x=x, y=y, font_size=size, font_weight=weight, fill=colour, text_anchor=anchor,
        textLength=room, lengthAdjust=room and "spacingAndGlyphs",
    )  # fmt: skip


# The pattern matches only what `text` writes, because quotes in names are escaped.
_FIXED_WIDTH = re.compile(r' textLength="[0-9.]+" lengthAdjust="spacingAndGlyphs"')


def with_natural_widths(svg: str) -> str:
    """Return a drawing for a renderer that has its first font, whose lines are a little shorter."""
    return _FIXED_WIDTH.sub("", svg)


def box(
    x: float, y: float, width: float, height: float, radius: float = 0, stroke: float = 2, dashed: bool = False,
    fill: str = "none",
) -> str:  # fmt: skip
    """Draw an outlined rectangle."""
    return element(
        "rect", x=x, y=y, width=width, height=height, rx=radius, fill=fill, stroke=INK, stroke_width=stroke,
        stroke_dasharray="10 6" if dashed else None,
    )  # fmt: skip


def rule(x1: float, x2: float, y: float, stroke: float = 2) -> str:
    """Draw a horizontal line."""
    return element("line", x1=x1, y1=y, x2=x2, y2=y, stroke=INK, stroke_width=stroke)


def document(width: int, height: int, title: str, description: str, body: Iterable[str]) -> str:
    """Return the complete file; screen readers announce ``title`` and ``description``."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title desc" font-family="{FONTS}">'
    )
    title_line = element("title", escape(clean(title)), id="title")
    description_line = element("desc", escape(clean(description)), id="desc")
    return "\n".join([head, title_line, description_line, *body, "</svg>"]) + "\n"
