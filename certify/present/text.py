"""Width of a line of text, and fitting it: shortened with an ellipsis, or wrapped.

A label is drawn without a layout engine, and the reader's machine may set it in Lato, Helvetica or Arial. The widths
below are, per character, those of the widest of the three fonts, so that text that fits here fits there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

ELLIPSIS = "…"

# Advance widths of the characters from space to tilde, in thousandths of the font size: the larger of Lato and
# Helvetica (Arial has the same widths), first in regular weight, then the largest of
# Lato Bold, Lato Black and Helvetica Bold.
_REGULAR = (
    278, 343, 397, 580, 580, 889, 703, 230, 333, 333, 400, 584, 278, 347, 278, 373, 580, 580, 580, 580, 580, 580,
    580, 580, 580, 580, 278, 278, 584, 584, 584, 556, 1015, 680, 667, 722, 753, 667, 611, 778, 756, 307, 500, 681,
    556, 920, 756, 798, 667, 798, 722, 667, 611, 730, 680, 1019, 667, 667, 624, 300, 375, 300, 580, 556, 333, 556,
    559, 500, 559, 556, 337, 556, 556, 256, 254, 524, 256, 833, 556, 556, 556, 559, 403, 500, 373, 556, 512, 766,
    504, 512, 500, 334, 300, 334, 584,
)  # fmt: skip
_BOLD = (
    278, 376, 474, 580, 580, 889, 723, 245, 333, 333, 400, 584, 278, 370, 278, 400, 580, 580, 580, 580, 580, 580,
    580, 580, 580, 580, 333, 333, 584, 584, 584, 611, 975, 737, 722, 722, 748, 667, 611, 778, 756, 320, 556, 722,
    611, 939, 756, 800, 667, 800, 722, 667, 611, 728, 737, 1071, 712, 677, 617, 333, 404, 333, 584, 556, 333, 556,
    611, 556, 611, 556, 362, 611, 611, 285, 283, 576, 285, 889, 611, 611, 611, 611, 413, 556, 400, 611, 556, 813,
    573, 556, 500, 389, 300, 389, 584,
)  # fmt: skip
_SIGNS = {**dict.fromkeys("×−±–", 584), ELLIPSIS: 1000}
_OTHER = 760  # accented letters, signs and other alphabets
_IDEOGRAPH = 1000


def width(text: str, size: float, bold: bool = False) -> float:
    """Return an upper bound of the width of a line in any of the label's fonts, in the unit of ``size``."""
    table = _BOLD if bold else _REGULAR
    return size * sum(_advance(c, table) for c in text) / 1000


def has_known_width(text: str) -> bool:
    """Return whether the width of each character is known, rather than a bound for all alphabets.

    Example:
        >>> has_known_width("1.9× less"), has_known_width("Größe")
        (True, False)
    """
    return all(" " <= character <= "~" or character in _SIGNS for character in text)


def _advance(character: str, table: tuple[int, ...]) -> int:
    if " " <= character <= "~":
        return table[ord(character) - 32]
    if character in _SIGNS:
        return _SIGNS[character]
    # Combining marks are drawn over the character before them.
    if unicodedata.combining(character):
        return 0
    return _IDEOGRAPH if unicodedata.east_asian_width(character) in ("W", "F") else _OTHER


def shorten(text: str, size: float, room: float, bold: bool = False, keep_end: bool = False) -> str:
    """Cut a line to at most ``room``, at its end or in its middle; an ellipsis marks the cut."""
    if width(text, size, bold) <= room:
        return text
    if keep_end:
        # Both ends get half of the room, because names of operators often differ only at their ends.
        half = (room + width(ELLIPSIS, size, bold)) / 2
        last = shorten(text[::-1], size, half, bold)[::-1].lstrip(f"{ELLIPSIS} ")
        return shorten(text, size, room - width(last, size, bold), bold) + last
    left = room - width(ELLIPSIS, size, bold)
    for end, character in enumerate(text):
        left -= width(character, size, bold)
        if left < 0:
            # A space before the ellipsis would look like a missing word.
            return text[:end].rstrip() + ELLIPSIS
    return text + ELLIPSIS


def wrap(text: str, size: float, room: float, bold: bool = False) -> list[str]:
    """Break a text into lines at most ``room`` wide, between words if possible, else anywhere.

    Example:
        >>> wrap("energy saved in decibels", 10, 80)
        ['energy saved in', 'decibels']
    """
    lines: list[str] = []
    line = ""
    for word in _pieces(text.split(), size, room, bold):
        longer = f"{line} {word}" if line else word
        if line and width(longer, size, bold) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def _pieces(words: Iterable[str], size: float, room: float, bold: bool) -> Iterable[str]:
    """Yield the words; those wider than a whole line (paths, digests) are cut into pieces that fit."""
    for word in words:
        piece = ""
        for character in word:
            if piece and width(piece + character, size, bold) > room:
                yield piece
                piece = ""
            piece += character
        yield piece
