"""The label and the position of each part, in SVG user units; it is 800 units wide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from certify.assessment.claims import Claims, presenting
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.text import clean
from certify.present import wording
from certify.present.headline import Headline, accuracy_of, energy_of
from certify.present.label import qr
from certify.present.label.scale import draw_scale
from certify.present.svg import BLACK, BOLD, PAPER, QUIET, REGULAR, box, document, rule, text
from certify.present.text import shorten, width, wrap

WIDTH = 800
LEFT, RIGHT = 44, 756
INNER = RIGHT - LEFT

HEADLINES_TOP, CLAIM_LEFT, FIGURE_SIZE = 188, 424, 76
SCALE_TOP = 392
PANEL_BOTTOM = 536
STRIP_TOP = PANEL_BOTTOM + 22
TABLE_SIZE, LINE_PITCH, ROW_GAP = 17, 23, 7
VALUE_LEFT, VALUE_RIGHT = 184, 590
QR_SIZE = 150
SHORT_DIGITS = 16
"""Leading digits of the certificate's digest, enough to compare by eye."""


def draw(claims: Claims, others: Sequence[Claims] = ()) -> str:
    """Draw the label of a certificate, or of a refusal; equal input gives equal text.

    Args:
        claims: claims of the efficiency certificate, or of the statement shown instead.
        others: claims of further statements about the same model, one row each.

    Returns:
        A self-contained SVG document.

    Raises:
        CertificateError: a claim is malformed.
    """
    with presenting("a label"):
        return _label(claims, others) if isinstance(claims, EfficiencyClaims) else _stated(claims, others)


def _label(claims: EfficiencyClaims, others: Sequence[Claims]) -> str:
    strip, strip_bottom = _evidence(claims)
    table, table_bottom = _table(wording.rows(claims, others), strip_bottom + 42)
    certificate, certificate_bottom = _certificate(claims.digest, strip_bottom + 20)
    height = math.ceil(max(table_bottom, certificate_bottom)) + 40
    body = [
        box(6, 6, WIDTH - 12, height - 12, radius=22, stroke=3, fill=PAPER),
        *_header(claims, f"{'modelled' if claims.unmetered else 'measured'} saving of a neural network"),
        *(_refusal(claims) if claims.grade.letter is None else _graded(claims)),
        *strip,
        *table,
        *certificate,
    ]
    return document(WIDTH, height, wording.title(claims), wording.description(claims, others), body)


def _stated(claims: Claims, others: Sequence[Claims]) -> str:
    """Draw the label of a statement of any other assessment: its outcome, and a row per figure and sentence."""
    rows = wording.stated(claims, others)
    table, table_bottom = _table(rows, HEADLINES_TOP + 92)
    certificate, certificate_bottom = _certificate(claims.digest, HEADLINES_TOP + 70)
    height = math.ceil(max(table_bottom, certificate_bottom)) + 40
    body = [
        box(6, 6, WIDTH - 12, height - 12, radius=22, stroke=3, fill=PAPER),
        *_header(claims, clean(claims.title)),
        text(shorten(clean(claims.text), 40, INNER, bold=True), LEFT, HEADLINES_TOP + 36, 40, BLACK),
        *table,
        *certificate,
    ]
    message = ". ".join(" ".join(row) for row in rows)
    return document(WIDTH, height, clean(f"{claims.title} of {claims.model}: {claims.text}"), message, body)


def _header(claims: Claims, subject: str) -> Iterator[str]:
    yield text("leanmark", LEFT, 62, 34, BLACK)
    yield text(shorten(subject, 19, 360), LEFT + 184, 62, 19, REGULAR, QUIET)
    yield text(f"edition {clean(claims.edition.name)}", RIGHT, 48, 19, BOLD, anchor="end")
    yield text(wording.date(claims), RIGHT, 72, 19, REGULAR, QUIET, anchor="end")
    yield rule(LEFT, RIGHT, 90, 3)
    yield text(shorten(clean(claims.model), 36, INNER, bold=True), LEFT, 134, 36, BLACK)
    yield text(wording.SELF_DECLARED, LEFT, 166, 20, BOLD)


def _graded(claims: EfficiencyClaims) -> Iterator[str]:
    room = CLAIM_LEFT - LEFT - 24
    if (energy := energy_of(claims)) is not None:
        yield from _headline(energy, LEFT, room, None)
    if (accuracy := accuracy_of(claims)) is not None:
        yield from _headline(accuracy, CLAIM_LEFT, RIGHT - CLAIM_LEFT, wording.accuracies(claims))
    yield text("energy saved, in decibels, with its 95 % interval", LEFT, SCALE_TOP - 26, 17, REGULAR, QUIET)
    ratio = claims.figures[claims.names.energy_ratio]
    yield from draw_scale(ratio, SCALE_TOP, LEFT + 34, RIGHT - 34, claims.unmetered)
    yield text(shorten(wording.graded(claims), 19, INNER, bold=True), LEFT, SCALE_TOP + 106, 19, BOLD)
    yield text(shorten(wording.holds_on(claims), 17, INNER), LEFT, SCALE_TOP + 132, 17)


def _headline(headline: Headline, left: float, room: float, closing: str | None) -> Iterator[str]:
    top = HEADLINES_TOP
    # A long figure gets a smaller font; shortening it would change the number.
    size = min(FIGURE_SIZE, math.floor(FIGURE_SIZE * room / width(headline.figure, FIGURE_SIZE, bold=True)))
    yield text(headline.figure, left, top + 66, size, BLACK)
    yield text(shorten(headline.meaning, 29, room, bold=True), left, top + 102, 29, BOLD)
    yield text(shorten(headline.bound, 17, room), left, top + 128, 17)
    if closing:
        yield text(shorten(closing, 17, room), left, top + 150, 17, REGULAR, QUIET)


def _refusal(claims: EfficiencyClaims) -> Iterator[str]:
    top, size, pitch = HEADLINES_TOP, 20, 28
    bottom = PANEL_BOTTOM
    yield box(LEFT, top, INNER, bottom - top, radius=10, stroke=5)
    yield text("NOT GRADED", WIDTH / 2, top + 74, 64, BLACK, anchor="middle")
    yield text("No grade was given because", LEFT + 26, top + 112, size, REGULAR, QUIET)
    reasons = tuple(clean(reason) for reason in claims.grade.reasons)
    # The number of lines is limited, because the panel has a fixed height.
    lines = _reason_lines(reasons, size, INNER - 84, room=(bottom - top - 134) // pitch)
    for number, (starts, line) in enumerate(lines):
        y = top + 146 + number * pitch
        if starts:
            yield text("–", LEFT + 26, y, size, BOLD)
        yield text(line, LEFT + 50, y, size, BOLD if starts is None else REGULAR)


def _reason_lines(reasons: tuple[str, ...], size: float, room_width: float, room: int) -> list[tuple[bool | None, str]]:
    """Return lines of the reasons, each with whether a reason starts there (None for the closing count)."""
    lines: list[tuple[bool | None, str]] = []
    for number, reason in enumerate(reasons):
        wrapped = wrap(reason, size, room_width)
        more = len(reasons) - number - 1
        # The closing count needs a line too, unless this is the last reason.
        free = room - len(lines) - (1 if more else 0)
        if len(wrapped) > free and lines:
            left_out = len(reasons) - number
            closing = f"and {left_out} more reason{'s' if left_out > 1 else ''} in the certificate"
            return [*lines, (None, closing)]
        # A single reason that is too long is cut, because an empty refusal would be worse.
        if len(wrapped) > free:
            rest = " ".join(wrapped[free - 1 :])
            wrapped = [*wrapped[: free - 1], shorten(f"{rest} …", size, room_width)]
        lines += [(place == 0, line) for place, line in enumerate(wrapped)]
    return lines


def _evidence(claims: EfficiencyClaims) -> tuple[list[str], float]:
    """Draw the strip about the source of the energy figure, dashed and with a tilde if modelled; return its end too."""
    left = LEFT + (74 if claims.unmetered else 22)
    room = RIGHT - 18 - left
    lines = _at_most(2, wrap(wording.energy_source_detail(claims), 17, room), 17, room)
    height = 50 + 24 * len(lines)
    drawn = [box(LEFT, STRIP_TOP, INNER, height, radius=10, stroke=2.5, dashed=claims.unmetered)]
    if claims.unmetered:
        drawn.append(text("~", LEFT + 20, STRIP_TOP + height / 2 + 18, 60, BLACK))
    drawn.append(text(shorten(wording.energy_source(claims), 23, room, bold=True), left, STRIP_TOP + 32, 23, BLACK))
    drawn += [text(line, left, STRIP_TOP + 58 + 24 * number, 17) for number, line in enumerate(lines)]
    return drawn, STRIP_TOP + height


def _at_most(count: int, lines: list[str], size: float, room: float, bold: bool = False) -> list[str]:
    """Keep the first lines; an ellipsis marks the cut."""
    if len(lines) <= count:
        return lines
    return [*lines[: count - 1], shorten(" ".join(lines[count - 1 :]), size, room, bold)]


def _table(rows: Iterable[tuple[str, str]], top: float) -> tuple[list[str], float]:
    """Draw the rows of further facts; return the baseline of the last line too."""
    drawn = []
    y = top
    room = VALUE_RIGHT - VALUE_LEFT
    for name, value in rows:
        drawn.append(text(shorten(name, TABLE_SIZE, VALUE_LEFT - LEFT - 8), LEFT, y, TABLE_SIZE, REGULAR, QUIET))
        for line in _at_most(2, wrap(value, TABLE_SIZE, room, bold=True), TABLE_SIZE, room, bold=True):
            drawn.append(text(line, VALUE_LEFT, y, TABLE_SIZE, BOLD))
            y += LINE_PITCH
        y += ROW_GAP
    return drawn, y - LINE_PITCH - ROW_GAP


def _certificate(digest: str, top: float) -> tuple[list[str], float]:
    """Draw the QR code with the certificate's digest; return the baseline of the last line below it too."""
    left = RIGHT - QR_SIZE
    middle = left + QR_SIZE / 2
    below = top + QR_SIZE
    drawn = [
        qr.code(f"sha256:{digest}", left, top, QR_SIZE),
        text("certificate", middle, below + 16, 15, REGULAR, QUIET, anchor="middle"),
        text(digest[:SHORT_DIGITS], middle, below + 36, 16, BOLD, anchor="middle"),
        text("check it with", middle, below + 64, 15, REGULAR, QUIET, anchor="middle"),
        text("leanmark verify", middle, below + 84, 16, BOLD, anchor="middle"),
    ]
    return drawn, below + 84
