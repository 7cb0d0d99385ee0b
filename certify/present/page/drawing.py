"""The page as one SVG: a row for each statement with its figures and signers, and the notice for the public."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from certify.core.text import clean
from certify.present.page.content import Page, Row
from certify.present.svg import BLACK, BOLD, PAPER, QUIET, REGULAR, box, document, rule, text
from certify.present.text import shorten, wrap

WIDTH, LEFT, RIGHT = 800, 44, 756
ROOM = RIGHT - LEFT
SIZE, PITCH = 17, 23
LONGEST = 4
"""Maximum lines of a paragraph; the HTML page shows the rest."""


class Pen:
    """Pen that draws lines of text from top to bottom.

    Args:
        top: vertical position at which to start.
    """

    def __init__(self, top: float) -> None:
        self.y = top
        self.drawn: list[str] = []

    def line(self, words: str, size: float = SIZE, weight: int = REGULAR, quiet: bool = False) -> None:
        """Draw a paragraph, wrapped."""
        pitch = size * PITCH / SIZE
        lines = wrap(clean(words), size, ROOM, bold=weight != REGULAR)
        if len(lines) > LONGEST:
            rest = " ".join(lines[LONGEST - 1 :])
            lines = [*lines[: LONGEST - 1], shorten(rest, size, ROOM, bold=weight != REGULAR)]
        for line in lines:
            self.y += pitch
            self.drawn.append(text(line, LEFT, self.y, size, weight, QUIET if quiet else "#111111"))

    def gap(self, height: float = 10) -> None:
        """Leave a gap."""
        self.y += height

    def rule(self, stroke: float = 1.5) -> None:
        """Draw a horizontal line."""
        self.y += 14
        self.drawn.append(rule(LEFT, RIGHT, self.y, stroke))


def svg_page(page: Page) -> str:
    """Draw the page; equal input gives equal text."""
    pen = Pen(90)
    pen.line(page.model, 30, BLACK)
    pen.line(page.who, 19, BOLD)
    for sentence in page.contradicted:
        pen.line(f"Contradicted: {sentence}", SIZE, BOLD)
    if page.awarded is not None:
        pen.gap()
        pen.line(f"{page.awarded.level}, awarded by {page.awarded.known_as}", 26, BLACK)
        pen.line(f"{page.awarded.points}; {page.awarded.done}; in force until {page.awarded.until}", SIZE)
    for row in page.rows:
        pen.rule()
        _draw(pen, row)
    pen.rule(3)
    _answers(pen, page.notice)
    if page.maker:
        pen.rule()
        pen.line("What the maker says; nobody checked it", 20, BOLD)
        _answers(pen, page.maker)
    pen.rule()
    pen.line(f"certificate {page.digest}", 14, REGULAR, quiet=True)
    # The height is known only after the last line, because text wraps.
    height = int(pen.y) + 44
    body = [
        box(6, 6, WIDTH - 12, height - 12, radius=22, stroke=3, fill=PAPER),
        text("leanmark", LEFT, 62, 34, BLACK),
        text("certificate of a neural network", LEFT + 184, 62, 19, REGULAR, QUIET),
        text(page.date, RIGHT, 62, 19, REGULAR, QUIET, anchor="end"),
        rule(LEFT, RIGHT, 80, 3),
        *pen.drawn,
    ]
    return document(WIDTH, height, f"Certificate of {page.model}", " ".join(_read_aloud(page)), body)


def _answers(pen: Pen, pairs: Iterable[tuple[str, str]]) -> None:
    for question, answer in pairs:
        pen.gap(4)
        pen.line(question, SIZE, BOLD)
        pen.line(answer)


def _draw(pen: Pen, row: Row) -> None:
    pen.gap(2)
    pen.line(f"{row.title}: {row.outcome}", 20, BOLD)
    for name, value in row.figures:
        pen.line(f"{name}: {value}")
    pen.line(row.says, 15, REGULAR, quiet=True)


def _read_aloud(page: Page) -> Iterable[str]:
    """Yield the sentences of the page for screen readers."""
    yield page.who
    yield from page.contradicted
    if page.awarded is not None:
        yield f"{page.awarded.level}, awarded by {page.awarded.known_as}."
    yield from _rows_aloud(page)
    yield from (f"{question} {answer}" for question, answer in page.notice)
    yield from (f"The maker says: {question} {answer}" for question, answer in page.maker)


def _rows_aloud(page: Page) -> Iterator[str]:
    for row in page.rows:
        figures = "; ".join(f"{name}: {value}" for name, value in row.figures)
        yield f"{row.title}: {row.outcome}. {figures}. Says {row.says}."
