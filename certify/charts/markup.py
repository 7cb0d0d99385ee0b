"""HTML and SVG in which every text is escaped unless it was made here."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from certify.core.text import printable

_VOID = frozenset({"br", "link", "meta"})


class Markup(str):
    """Markup that :func:`tag` made, or that is known to be whole; any other string is text."""

    __slots__ = ()


def tag(name: str, /, *content: str | None, **attributes: object) -> Markup:
    """One element.

    Args:
        name: of the element.
        content: what stands in it, in order: text is escaped, Markup is not, None is left out.
        attributes: underscores in names stand for hyphens, one at the end (``class_``) is dropped; None leaves an
            attribute out.
    """
    parts = (
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_plain(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    head = f"<{name}{''.join(parts)}>"
    return Markup(head) if name in _VOID else Markup(f"{head}{joined(*content)}</{name}>")


def joined(*content: str | None) -> Markup:
    """Several pieces one after the other, as :func:`tag` takes them."""
    pieces = (part if isinstance(part, Markup) else escape(printable(part)) for part in content if part is not None)
    return Markup("".join(pieces))


def _plain(value: object) -> str:
    """Coordinates to a hundredth of a unit, which nobody sees, so that the last bit of a platform shows nowhere."""
    return f"{round(value, 2):g}" if isinstance(value, float) else printable(value)
