from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import UsageError
from certify.core.yaml_document import parse_document, read_document

GOOD = """\
# a comment
name: "2026"
rate: 1e-3
section:
  flag: true
  nothing:
  items:
    - 1
    - {a: .5, b: no}
"""


def test_plain_values_are_read_with_their_line_numbers() -> None:
    document = parse_document(GOOD, "f.yaml")
    assert document.values == {
        "name": "2026",
        "rate": 0.001,
        "section": {"flag": True, "nothing": None, "items": [1, {"a": 0.5, "b": False}]},
    }
    assert document.place("rate") == "f.yaml, line 3"
    assert document.place("section", "items", 1, "b") == "f.yaml, line 9"
    assert document.place("section", "items", 7) == "f.yaml, line 7"
    assert document.place("absent") == document.place() == "f.yaml, line 2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: duplicate key 'a'"),
        ("a:\n  b: 1\n  b: 1\n", "line 3: duplicate key 'b'"),
        ("a: &x 1\nb: *x\n", "line 1: anchors and aliases"),
        ("a: 1\nb: *x\n", "line 2: anchors and aliases"),
        ("a: 1\nb: !!int '1'\n", "line 2: tags such as"),
        ("? [a]\n: 1\n", "line 1: a key must be text"),
        ("a: 2020-01-01\n", "line 1: a must be quoted text"),
        (f"a: [{2**53}]\n", "line 1: a.0 must be an integer in"),
        (f"a: -{2**53}\n", "line 1: a must be an integer in"),
        (f"a: {'9' * 5000}\n", "not valid YAML"),
        ("a: .nan\n", "line 1: a must be a finite number"),
        ("a: -.inf\n", "line 1: a must be a finite number"),
        ("a: 1e999\n", "line 1: a must be a finite number"),
        ("- a\n", "line 1: expected a mapping"),
        ("", "line 1: expected a mapping"),
        ("a: 1\n---\nb: 1\n", "line 2: not valid YAML"),
        ("a: " + "[" * 50, "line 1: nested deeper"),
        ('a: "\\UFFFFFFFF"\n', "not valid YAML"),
        ('"a\\nb": 1\n"a\\nb": 2\n', "line 2: duplicate key 'a b'"),
    ],
)
def test_file_is_refused_with_its_line_when_it_is_not_plain_yaml(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_document(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml") and "\n" not in str(caught.value)


def test_file_is_refused_when_it_is_absent_or_large(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    with pytest.raises(UsageError, match="f.yaml cannot be read"):
        read_document(path, 1024)
    path.write_text("a: 1\n" + "#" * 1019)
    assert read_document(path, 1024).values == {"a": 1}
    path.write_text("a: 1\n" + "#" * 1020)
    with pytest.raises(UsageError, match="larger than 1 KiB"):
        read_document(path, 1024)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_noise_is_read_or_refused_in_one_sentence(noise: str | bytes) -> None:
    try:
        parse_document(noise, "f.yaml")
    except UsageError as error:
        assert "\n" not in str(error)
