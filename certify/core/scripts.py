"""Texts that cannot pass for others: the "Highly Restrictive" profile of Unicode's security mechanisms (UTS #39, 5.2).

A text is of one script, or of Latin with the scripts of Japanese, Korean or Chinese. The scripts are the recommended
ones of UAX #31 (table 5); which character belongs to which, the library ``regex`` knows. Not found are texts of one
script alone that look like another (all Cyrillic "сосо"), and look-alikes within a script ("l" and "1").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import regex

SCRIPTS = (
    "Latin", "Arabic", "Armenian", "Bengali", "Bopomofo", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek",
    "Gujarati", "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana", "Kannada", "Katakana", "Khmer", "Lao", "Malayalam",
    "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan",
)  # fmt: skip
TOGETHER = (
    ("Latin", "Han", "Hiragana", "Katakana"),
    ("Latin", "Han", "Bopomofo"),
    ("Latin", "Han", "Hangul"),
    *((script,) for script in SCRIPTS),
)
"""Scripts that one text may hold."""


def _pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    names = "".join(rf"\p{{Script_Extensions={name}}}" for name in (*scripts, "Common", "Inherited"))
    return regex.compile(f"[^{names}]")


_FOREIGN = {scripts: _pattern(scripts) for scripts in TOGETHER}
"""Finds the first character of a text that belongs to none of the scripts."""


def look_alikes(text: str) -> str | None:
    """What in a text could pass for something else, in a few words; None where nothing could.

    Example:
        >>> look_alikes("ResNet-50 日本語"), look_alikes("R\u0435sNet-50")
        (None, "'\u0435' (CYRILLIC SMALL LETTER IE) among letters of another script")
    """
    readable = "".join(c for c in text if unicodedata.category(c) not in ("Cs", "Cn"))
    for character in readable:
        plain = unicodedata.normalize("NFKC", character)
        letter = unicodedata.category(character) in ("Lu", "Ll", "Nd")
        if letter and plain != character and plain.isascii() and plain.isalnum():
            return f"'{character}' ({unicodedata.name(character, 'a character')}) in the place of '{plain}'"
    found = [pattern.search(readable) for pattern in _FOREIGN.values()]
    first = [match for match in found if match is not None]
    if len(first) < len(found):
        return None
    strange = max(first, key=lambda match: match.start()).group()
    return f"'{strange}' ({unicodedata.name(strange, 'a character')}) among letters of another script"


def first_look_alike(texts: Mapping[str, str]) -> str | None:
    """A sentence about the first of some texts, by what they are, that could pass for another; None for none."""
    for what, text in texts.items():
        if (found := look_alikes(text)) is not None:
            return f"The {what} holds {found}."
    return None
