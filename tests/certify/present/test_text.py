from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from certify.core.text import clean
from certify.present.text import ELLIPSIS, shorten, width, wrap


@given(st.text(max_size=200), st.floats(30, 400), st.booleans())
def test_shorten_fits_the_available_width_for_any_text(text: str, room: float, bold: bool) -> None:
    assert width(shorten(clean(text), 18, room, bold), 18, bold) <= room


def test_shorten_keeps_text_when_it_fits() -> None:
    assert shorten("resnet50", 18, 400) == "resnet50"


def test_shorten_ends_in_ellipsis_when_text_is_too_long() -> None:
    short = shorten("resnet50" * 20, 18, 200)
    assert short.endswith(ELLIPSIS)
    assert short.startswith("resnet50")


@given(st.text(max_size=300), st.floats(60, 400))
def test_wrap_keeps_every_character_and_fits_for_any_text(text: str, room: float) -> None:
    cleaned = clean(text)
    lines = wrap(cleaned, 18, room)
    assert "".join(lines).replace(" ", "") == cleaned.replace(" ", "")
    assert all(width(line, 18) <= room for line in lines)


def test_shorten_and_wrap_stay_fast_when_text_is_huge() -> None:
    began = time.process_time()
    assert shorten("w" * 100_000, 18, 300).endswith(ELLIPSIS)
    assert len(wrap("w" * 100_000, 18, 300)) > 1000
    assert time.process_time() - began < 5


def test_wrap_breaks_between_words_when_there_are_words() -> None:
    assert wrap("one two three four", 20, width("one two", 20)) == ["one two", "three", "four"]


def test_width_is_that_of_the_widest_font() -> None:
    # Helvetica's "a" is 0.556 em wide and Lato's 0.507; Lato's "W" 1.019 and Helvetica's 0.944.
    assert width("a", 1000) == 556
    assert width("W", 1000) == 1019


def test_width_covers_lato_when_text_is_ascii() -> None:
    import font_lato
    from PIL import ImageFont

    printable = "".join(chr(code) for code in range(32, 127))
    for name, bold in (("Lato", False), ("LatoBold", True), ("LatoBlack", True)):
        font = ImageFont.truetype(font_lato.font_files[name], 1000, layout_engine=ImageFont.Layout.BASIC)
        for character in printable:
            assert width(character, 1000, bold) >= font.getlength(character) - 1, (name, character)
