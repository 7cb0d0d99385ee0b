"""Read declarations from a model card: a README.md of the Hugging Face Hub.

Sections are found by their headings (https://huggingface.co/docs/hub/model-card-annotated). Placeholders of the Hub's
template, such as "[More Information Needed]", are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from certify.assessments.declarations.declaration import FORMAT, MAX_TEXT, Declaration
from certify.core.errors import UsageError
from certify.core.text import clean

MAX_BYTES = 1 << 20
HEADINGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("context", "intended_use"): ("direct use", "intended use", "intended uses", "primary intended uses", "uses"),
    ("context", "not_for"): ("out of scope use", "out of scope uses", "out of scope use cases"),
    ("context", "what_could_go_wrong"): (
        "bias risks and limitations", "limitations and bias", "limitations", "ethical considerations",
    ),
    ("datasheet", "test", "composition"): ("testing data", "evaluation data", "test data"),
}  # fmt: skip
"""Headings of an answer, by the keys of its question; the first with content is used."""

_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---\r?\n", re.DOTALL)
_PLACEHOLDER = re.compile(r"\[?(more information needed|optional|needs more information|not stated|n/?a|tbd|todo)\]?",
                          re.IGNORECASE)  # fmt: skip


def from_card(content: bytes, name: str) -> Declaration:
    r"""Return the declarations contained in a model card.

    Args:
        content: content of the README.md.
        name: file name, for errors.

    Raises:
        UsageError: it is too large or not UTF-8, or contains no declarations.

    Example:
        >>> from_card(b"# Net\n## Direct Use\nSorting mail.\n", "README.md").context.intended_use
        'Sorting mail.'
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"{name} is larger than {MAX_BYTES >> 20} MiB, the maximum for a model card.")
    try:
        # Some editors write a byte order mark, which would hide the front matter.
        text = _FRONT_MATTER.sub("", content.decode("utf-8-sig"), count=1)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 at byte {error.start}; save it as UTF-8.") from error
    sections: dict[str, list[str]] = {}
    for heading, lines in _sections(MarkdownIt().parse(text)):
        sections.setdefault(heading, lines)
    values: dict[str, Any] = {"declaration": FORMAT}
    for keys, headings in HEADINGS.items():
        found = next((sections[heading] for heading in headings if sections.get(heading)), None)
        if found is not None:
            _put(values, keys, found)
    if len(values) == 1:
        known = ", ".join(f"'{titles[0]}'" for titles in HEADINGS.values())
        raise UsageError(
            f"{name} has no section that answers the questions; sections that would are {known} and the like."
        )
    return Declaration.from_json(values, name)


def _put(values: dict[str, Any], keys: tuple[str, ...], lines: list[str]) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    many = keys[-1] == "not_for"
    values[keys[-1]] = [line[:MAX_TEXT] for line in lines[:64]] if many else " ".join(lines)[:MAX_TEXT]


def _sections(tokens: Sequence[Token]) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading, in lower case without punctuation, with the paragraphs and list items below it."""
    heading, lines, opened = "", list[str](), False
    for token in tokens:
        if token.type == "heading_open":
            yield heading, lines
            heading, lines, opened = "", [], True
        elif token.type == "inline" and opened:
            heading, opened = " ".join(re.findall(r"\w+", _plain(token).lower())), False
        elif token.type == "inline" and (words := _plain(token)):
            lines.append(words)
    yield heading, lines


def _plain(token: Token) -> str:
    """Return the text of a paragraph without markup; empty if it is a placeholder."""
    parts = [child.content if child.type in ("text", "code_inline") else " " if child.type.endswith("break") else ""
             for child in token.children or ()]  # fmt: skip
    text = clean("".join(parts))
    # Templates wrap placeholders in punctuation and emphasis, so these are stripped.
    return "" if _PLACEHOLDER.fullmatch(text.strip(" .*:")) else text
