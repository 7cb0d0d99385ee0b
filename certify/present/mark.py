"""Drawing of a mark: the level awarded by a scheme, by whom, and on what grounds; only believed marks are drawn.

It is not a seal or a ladder: a sheet with the level in words, and everything that a reader needs to question it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from certify.assessment.claims import Claims
from certify.core.text import clean
from certify.present.label import qr
from certify.present.svg import BLACK, BOLD, PAPER, QUIET, REGULAR, box, document, rule, text
from certify.present.text import shorten, wrap

WIDTH, LEFT, RIGHT = 800, 44, 756
VALUE, ROOM, SIZE, PITCH = 220, 380, 17, 24
QR_SIZE = 130


@dataclass(frozen=True)
class Awarded:
    """Content of a mark, in words.

    Attributes:
        level: level of the edition.
        points: points as printed.
        known_as: the reader's name for the scheme.
        scheme: description in its file: field and text.
        key: id of the scheme's key.
        done: what was done.
        until: UTC time at which the award ends.
        lists: checked lists of withdrawals; empty if there were none.
        digest: hex SHA-256 of the mark's file.
    """

    level: str
    points: str
    known_as: str
    scheme: tuple[tuple[str, str], ...]
    key: str
    done: str
    until: str
    lists: str
    digest: str


def draw_mark(claims: Claims, awarded: Awarded) -> str:
    """Draw a mark as a self-contained SVG document; equal input gives equal text.

    Args:
        claims: claims of the scorecard that the mark is about.
        awarded: content of the mark.
    """
    rows, bottom = _rows(awarded, 250)
    height = int(max(bottom, 250 + QR_SIZE + 60)) + 40
    title = f"{awarded.level}, awarded by {awarded.known_as} to {claims.model}"
    message = ". ".join(f"{name}: {value}" for name, value in _facts(awarded))
    top = 222
    body = [
        box(6, 6, WIDTH - 12, height - 12, radius=22, stroke=3, fill=PAPER),
        text("leanmark", LEFT, 62, 34, BLACK),
        text("scorecard after SECure", LEFT + 184, 62, 19, REGULAR, QUIET),
        text(f"edition {clean(claims.edition.name)}", RIGHT, 62, 19, BOLD, anchor="end"),
        rule(LEFT, RIGHT, 90, 3),
        text(shorten(clean(claims.model), 30, RIGHT - LEFT, bold=True), LEFT, 130, 30, BLACK),
        text(awarded.level, LEFT, 192, 52, BLACK),
        text(awarded.points, RIGHT, 192, 26, BOLD, anchor="end"),
        rule(LEFT, RIGHT, top - 8, 1.5),
        *rows,
        qr.code(f"sha256:{awarded.digest}", RIGHT - QR_SIZE, top + 12, QR_SIZE),
        text("mark", RIGHT - QR_SIZE / 2, top + QR_SIZE + 30, 15, REGULAR, QUIET, anchor="middle"),
        text(awarded.digest[:16], RIGHT - QR_SIZE / 2, top + QR_SIZE + 50, 13, BOLD, anchor="middle"),
    ]
    return document(WIDTH, height, clean(title), clean(message), body)


def _facts(awarded: Awarded) -> Iterator[tuple[str, str]]:
    yield "awarded by", f"{awarded.known_as}, key {awarded.key[:16]}"
    yield from ((f"its {name}", value) for name, value in awarded.scheme)
    yield "what was done", awarded.done
    yield "in force until", awarded.until
    yield "withdrawals", awarded.lists or "no list was checked"
    yield "check it with", "leanmark mark show"


def _rows(awarded: Awarded, top: float) -> tuple[list[str], float]:
    drawn, y = [], top
    for name, value in _facts(awarded):
        drawn.append(text(name, LEFT, y, SIZE, REGULAR, QUIET))
        # Three lines are enough for any real name; a longer text must not push the QR code off the sheet.
        for line in wrap(clean(value), SIZE, ROOM, bold=True)[:3]:
            drawn.append(text(line, VALUE, y, SIZE, BOLD))
            y += PITCH
        y += 6
    return drawn, y - PITCH
