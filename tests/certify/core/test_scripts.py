"""Texts that could pass for others are named; honest ones in any language are not."""

from __future__ import annotations

import pytest

from certify.core.scripts import first_look_alike, look_alikes

HONEST = [
    "ResNet-50, trained here on mnist5k (seed 0) – 93.3 % · 5 µs, x²",
    "日本語のモデル ResNet-50、カタカナー",
    "中文模型 v2",
    "한국어 모델 small",
    "Модель обучена здесь, вер. 2",
    "μοντέλο 3",
    "مدل فارسی ۳",
    "हिन्दी मॉडल",
    "modèle entraîné à Liège, Größe ÆØÅ",
    "Intel(R) Xeon® Platinum™ 8581C 🙂",
    "می\u200cشود",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05dd",
    "ไม่ได้ที่",
    "Tie\u0302\u0301ng Vie\u0323\u0302t",
    "❤\ufe0f 👩\u200d💻",
    "№ 5, 5 ℃, Türkçe ışık, Azərbaycan",
    "",
]


@pytest.mark.parametrize("text", HONEST)
def test_nothing_is_found_when_a_text_is_honest(text: str) -> None:
    assert look_alikes(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("R\u0435sNet-50", "CYRILLIC SMALL LETTER IE"),
        ("torchvisi\u03bfn", "GREEK SMALL LETTER OMICRON"),
        ("ResNet-50 \u0430s published", "CYRILLIC SMALL LETTER A"),
        ("日本語 \u0430", "CYRILLIC SMALL LETTER A"),
        ("한국어カ", "KATAKANA LETTER KA"),
        ("\U0001d411esNet", "MATHEMATICAL BOLD CAPITAL R"),
        ("\uff32esNet", "FULLWIDTH LATIN CAPITAL LETTER R"),
        ("grade \u13aa", "CHEROKEE LETTER GO"),
        ("\u13aa\u13aa", "CHEROKEE LETTER GO"),
        ("grade \u24b6", "CIRCLED LATIN CAPITAL LETTER A"),
        ("Mobile\u216d", "ROMAN NUMERAL ONE HUNDRED"),
        ("ɢʀᴀᴅᴇ", "LATIN LETTER SMALL CAPITAL G"),
        ("\u0251lexnet", "LATIN SMALL LETTER ALPHA"),
        ("ResNet-\u01c08", "LATIN LETTER DENTAL CLICK"),
        ("ResNet\u3164-50", "the invisible U+3164 (HANGUL FILLER)"),
        ("모델\u3164", "HANGUL FILLER"),
        ("ResNet\ufe0f-50", "VARIATION SELECTOR-16"),
        ("Res\u200dNet", "ZERO WIDTH JOINER"),
        ("Res\u034fNet", "COMBINING GRAPHEME JOINER"),
        ("Res\u200bNet", "ZERO WIDTH SPACE"),
        ("50-teN\u202eseR", "RIGHT-TO-LEFT OVERRIDE"),
        ("ResNet\u00ad-50", "SOFT HYPHEN"),
        ("grade G\u0336", "COMBINING LONG STROKE OVERLAY"),
        ("grade A\u20dd", "COMBINING ENCLOSING CIRCLE"),
        ("ResNet" + "\u0315\u031b\u0340\u0341\u0358", "a mark over other characters"),
    ],
)
def test_character_is_named_when_a_text_could_pass_for_another(text: str, words: str) -> None:
    found = look_alikes(text)
    assert found is not None and words in found
    assert first_look_alike({"name": "plain", "origin": text}) == f"The origin contains {found}."
