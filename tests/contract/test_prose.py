"""Phrases of translated English that no reader meets: in strings, docstrings, comments, documents and rendered help."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from certify.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("*.md", "recipes/*.yaml", "recipes/**/*.md", "recipes/**/*.ipynb", "certify/**/*.yaml", "certify/**/*.j2")
CODE = ("certify", "compress", "tests/benchmarks", "tests/fuzz")

INSTEAD = {
    r"\b(?:can|cannot|can't|could|couldn't|to) be had\b": "is missing, is available, cannot be read",
    r"(?<!there )(?<!that )\bis no (?!longer|more\b|less\b|other\b|match\b|one\b)(?:a-z)?": "is not a",
    r"\bpictures?\b": "image, figure, drawing",
    r"\bdearest\b": "most expensive",
    r"\banew\b": "again, from the start",
    r"\breckon\w*": "count, compute",
    r"\bmade ready\b": "prepared",
    r"\b(?:he|him|his|himself)\b(?! et al)": "they, them, their",
    r"\b(?:going|goes|go|went|gone) on (?=after|at|from|with|where|training|to train|behind)": "resume, continue",
    r"\b(?:some|any)body else than\b": "someone other than",
    r"\b(?:turn|turns|turned) (?:\w+ )?away\b": "reject",
    r"\bwhom you trust\b": "that you trust",
    r"\bat most so many\b": "at most N",
    r"\b(?:is|are|was|were|be) told\b": "knows, gets, is notified",
    r"\bsay(?:s)? nothing of\b": "does not mention",
    r"\bfelt (?:least|most)\b": "contributes least, matters most",
    r"\bit stood\b|\bwhat it has stood\b": "results",
    r"\bas (?:big|many|large) as it goes\b": "as large as possible",
    r"\bin (?:its|their) stead\b": "instead",
    r"\bhand-written numbers of hidden\b|\bhidden numbers\b": "hidden units",
    r"\bput (?:right|straight)\b": "fixed",
}
"""What a native engineer writes instead of each pattern. ``Known lies`` of meters is a term by decision (glossary)."""

PATTERNS = {re.compile(pattern, re.IGNORECASE): instead for pattern, instead in INSTEAD.items()}


def hits(text: str) -> list[str]:
    """Each forbidden phrase of a text, with what to write instead."""
    flat = " ".join(text.split())
    return [f"'{found.group()}' ({instead})" for rule, instead in PATTERNS.items() for found in rule.finditer(flat)]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string, docstring and comment of a module."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def code() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


def documents() -> Iterator[tuple[Path, str]]:
    """Each document with its text; of notebooks the cells, as their outputs are what a run printed."""
    for path in (path for glob in DOCUMENTS for path in sorted(ROOT.glob(glob))):
        text = path.read_text("utf-8")
        if path.suffix == ".ipynb":
            text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        yield path, text


def test_code_has_no_phrase_of_translated_english() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {hit}" for path in code() for line, text in texts(path) for hit in hits(text)
    ]
    assert not found, "\n".join(found)


def test_documents_have_no_phrase_of_translated_english() -> None:
    found = [f"{path.relative_to(ROOT)}: {hit}" for path, text in documents() for hit in hits(text)]
    assert not found, "\n".join(found)


def _commands(group: click.Group, context: click.Context, *names: str) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from _commands(command, context, *names, name)


def test_rendered_help_has_no_phrase_of_translated_english() -> None:
    for names in _commands(main, click.Context(main)):
        shown = CliRunner().invoke(main, [*names, "--help"])
        assert shown.exit_code == 0 and not hits(shown.output), (names, hits(shown.output))


@pytest.mark.parametrize(
    ("text", "count"),
    [("lineage.json is no JSON", 1), ("there is no GPU", 0), ("it is no longer used", 0), ("what he signed", 1),
     ("the dearest\n   layers, taken anew", 2), ("its bytes can't be had", 1)],
)  # fmt: skip
def test_phrase_is_found_when_it_is_there(text: str, count: int) -> None:
    assert len(hits(text)) == count
