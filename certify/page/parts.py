"""The few pieces that the report's sections are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.present.svg import joined, tag

MISSING = "–"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: unique in the page; links lead to it.
        title: its heading.
        content: what stands below it; None is left out.
    """

    name: str
    title: str
    content: tuple[str | None, ...]

    def markup(self) -> Markup:
        """The part with its heading."""
        return tag("section", tag("h2", self.title), *self.content, id=self.name)


def figure(drawing: Markup | None, caption: str) -> Markup | None:
    """A drawing with its caption; None without a drawing."""
    return None if drawing is None else tag("figure", tag("figcaption", caption), drawing)


def figures(*drawn: Markup | None) -> Markup | None:
    """Drawings side by side where there is room; None without any."""
    kept = [drawing for drawing in drawn if drawing is not None]
    return tag("div", *kept, class_="figures") if kept else None


def table(head: Sequence[str], rows: Iterable[Sequence[str | None]], *, numbers: bool = True) -> Markup:
    """A table that scrolls by itself where the screen is narrow.

    Args:
        head: headings of the columns.
        rows: a cell is text, Markup, or None for what is missing; the first is the row's name.
        numbers: whether all but the first column are set flush right.
    """
    body = []
    for name, *cells in rows:
        body.append(tag("tr", tag("th", name, scope="row"), *(tag("td", cell or MISSING) for cell in cells)))
    titles = tag("tr", *(tag("th", title, scope="col") for title in head))
    kind = "numbers" if numbers else None
    whole = tag("table", tag("thead", titles), tag("tbody", *body), class_=kind)
    return tag("div", whole, class_="scroll", tabindex="0", role="group", aria_label=f"Table: {', '.join(head)}")


def facts(pairs: Iterable[tuple[str, str | None]]) -> Markup:
    """Names and values below each other; a pair without a value is left out."""
    return tag("dl", *(joined(tag("dt", name), tag("dd", value)) for name, value in pairs if value))


def two_lines(main: str, small: str | None) -> Markup:
    """A figure, and below it in small print its interval."""
    return joined(main or MISSING, tag("small", small) if small else None)


def bullets(lines: Iterable[str]) -> Markup | None:
    """A list; None where it would be empty."""
    items = [tag("li", line) for line in lines]
    return tag("ul", *items) if items else None
