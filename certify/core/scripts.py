"""Detection of look-alike texts by Unicode's "Highly Restrictive" profile (UTS #39, section 5.2).

A text may use one script, or Latin with the scripts of Japanese, Korean or Chinese. The scripts are the recommended
ones of UAX #31 (table 5), as implemented in the library ``regex``. Not allowed either are symbols, numerals and
phonetic letters that resemble ASCII letters, invisible characters, and marks that strike out a letter or pile up over
other lines (UTS #39, section 5.4). Texts entirely in one script that look like another (all Cyrillic "сосо"), and
look-alikes among the letters of languages in one script ("l" and "1", a dotless i), are not detected.
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
"""Sets of scripts that one text may combine."""
LETTERS, SIGNS = frozenset({"Lu", "Ll", "Nd"}), frozenset({"Nl", "So"})
"""Categories of characters that must not stand for ASCII ones; signs only for a single one, since "™" means "TM"."""
PHONETIC = "LATIN LETTER "
"""Start of the names of small capitals, clicks, and other letters that no orthography needs."""
PHONETIC_LETTERS = frozenset("\u0251\u0261\u0269")
"""Forms of a, g and i in phonetic alphabets."""

INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")
JOINERS = frozenset("\u200c\u200d\u200e\u200f\u061c\ufe0e\ufe0f")
"""Invisible characters that some scripts and emoji need; not allowed after an ASCII character."""
MOST_MARKS, OVERLAY = 4, 1
"""Maximum number of consecutive marks in any language, and the combining class of marks drawn over their letter."""


def _pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    names = "".join(rf"\p{{Script_Extensions={name}}}" for name in (*scripts, "Common", "Inherited"))
    return regex.compile(f"[^{names}]")


_FOREIGN = {scripts: _pattern(scripts) for scripts in TOGETHER}
"""Pattern of the first character of a text that belongs to none of the scripts."""


def look_alikes(text: str) -> str | None:
    """Describe the first character of a text that could be mistaken for another; None if there is none.

    Example:
        >>> look_alikes("ResNet-50 日本語"), look_alikes("R\u0435sNet-50")
        (None, "'\u0435' (CYRILLIC SMALL LETTER IE) among letters of another script")
    """
    if (hidden := _hidden(text)) is not None:
        return hidden
    # clean() shows these characters as spaces, so they cannot mislead.
    readable = "".join(c for c in text if unicodedata.category(c) not in ("Cs", "Cn"))
    for character in readable:
        plain = unicodedata.normalize("NFKC", character)
        category, name = unicodedata.category(character), unicodedata.name(character, "a character")
        meant = category in LETTERS or (category in SIGNS and len(plain) == 1)
        if meant and plain != character and plain.isascii() and plain.isalnum():
            return f"'{character}' ({name}) in place of '{plain}'"
        if name.startswith(PHONETIC) or character in PHONETIC_LETTERS:
            return f"'{character}' ({name}), a phonetic letter"
    found = [pattern.search(readable) for pattern in _FOREIGN.values()]
    first = [match for match in found if match is not None]
    # One of the allowed sets covers the whole text.
    if len(first) < len(found):
        return None
    # The allowed set that covers the longest prefix decides which character is the strange one.
    strange = max(first, key=lambda match: match.start()).group()
    return f"'{strange}' ({unicodedata.name(strange, 'a character')}) among letters of another script"


def _hidden(text: str) -> str | None:
    """Describe the first character that is invisible or hides others; None if there is none."""
    before, marks = " ", 0
    for character in text:
        name, category = unicodedata.name(character, "a character"), unicodedata.category(character)
        if INVISIBLE.match(character) and category != "Cn" and (before.isascii() or character not in JOINERS):
            return f"the invisible U+{ord(character):04X} ({name})"
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > MOST_MARKS or category == "Me" or unicodedata.combining(character) == OVERLAY:
            return f"U+{ord(character):04X} ({name}), a mark over other characters"
        before = character
    return None


def first_look_alike(texts: Mapping[str, str]) -> str | None:
    """Return a sentence about the first of some named texts that could be mistaken for another, or None."""
    for what, text in texts.items():
        if (found := look_alikes(text)) is not None:
            return f"The {what} contains {found}."
    return None
