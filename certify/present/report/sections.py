"""Data for the report's template."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """Section of the page.

    Attributes:
        name: anchor, unique in the page.
        title: heading.
        content: argument of the template's macro ``KIND_section``.
        kind: macro that draws it. Default: the one named like the section.
    """

    name: str
    title: str
    content: object
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    """Chart with its caption."""

    drawing: Markup
    caption: str


def figures(*charts: tuple[Markup | None, str]) -> tuple[Figure, ...]:
    """Return the drawable charts, each with its caption."""
    return tuple(Figure(drawing, caption) for drawing, caption in charts if drawing is not None)
