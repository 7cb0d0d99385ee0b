"""Detection of look-alike texts by Unicode's "Highly Restrictive" profile (UTS #39, section 5.2).

A text may use one script, or Latin with the scripts of Japanese, Korean or Chinese. The scripts are the recommended
ones of UAX #31 (table 5), as implemented in the library ``regex``. Texts entirely in one script that look like another
(all Cyrillic "сосо"), and look-alikes within a script ("l" and "1"), are not detected.
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
    readable = "".join(c for c in text if unicodedata.category(c) not in ("Cs", "Cn"))
    for character in readable:
        plain = unicodedata.normalize("NFKC", character)
        letter = unicodedata.category(character) in ("Lu", "Ll", "Nd")
        if letter and plain != character and plain.isascii() and plain.isalnum():
            return f"'{character}' ({unicodedata.name(character, 'a character')}) in place of '{plain}'"
    found = [pattern.search(readable) for pattern in _FOREIGN.values()]
    first = [match for match in found if match is not None]
    if len(first) < len(found):
        return None
    strange = max(first, key=lambda match: match.start()).group()
    return f"'{strange}' ({unicodedata.name(strange, 'a character')}) among letters of another script"


def first_look_alike(texts: Mapping[str, str]) -> str | None:
    """Return a sentence about the first of some named texts that could be mistaken for another, or None."""
    for what, text in texts.items():
        if (found := look_alikes(text)) is not None:
            return f"The {what} contains {found}."
    return None
