from __future__ import annotations

import pytest

from certify.core.text import clean, printable, wrapped


@pytest.mark.parametrize("hostile", ["a\x00b", "a\x1bb", "a\u202eb", "a\ud800b", "a\nb", "a\u2028b", "a\ufffeb"])
def test_clean_returns_one_harmless_line_when_characters_are_forbidden(hostile: str) -> None:
    assert clean(hostile) == "a b"


def test_printable_keeps_white_space_that_clean_removes() -> None:
    assert printable("a\x1b  b\u202ec") == "a   b c"
    assert clean("a\x1b  b\u202ec") == "a b c"


def test_wrapped_lines_are_indented_and_lose_nothing_when_text_is_long_or_hostile() -> None:
    text = f"- {'long-hyphenated ' * 9}{'x' * 90}\n+ signature: forged"
    lines = wrapped(text).splitlines()
    assert " ".join(" ".join(lines).split()) == clean(text)
    assert [len(line) > 80 for line in lines].count(True) == 1 and f"  {'x' * 90}" in lines
    assert all(line.startswith("  ") for line in lines[1:])
