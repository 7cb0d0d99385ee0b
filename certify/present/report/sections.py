"""What the report's template is filled with."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: unique in the page; links lead to it.
        title: its heading.
        content: what the template's macro ``KIND_section`` is given.
        kind: which macro draws it; the one of its name by default.
    """

    name: str
    title: str
    content: object
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    drawing: Markup
    caption: str


def figures(*charts: tuple[Markup | None, str]) -> tuple[Figure, ...]:
    """The charts that could be drawn, each with its caption."""
    return tuple(Figure(drawing, caption) for drawing, caption in charts if drawing is not None)
