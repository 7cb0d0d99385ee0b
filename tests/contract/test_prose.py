"""Phrases of translated English are found in strings, docstrings, comments, names, documents and rendered help.

This file is not exempt either. So that neither this test nor a plain search finds the phrases here, each pattern has a
character class inside a word, and each sample a ``~``.
"""

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
CODE = ("certify", "compress", "tests")

INSTEAD = {
    r"\b(?:can|cannot|can't|could|couldn't|to) be ha[d]\b": "is missing, is available, cannot be read",
    r"(?<!there )(?<!that )\bis n[o] (?!longer|more\b|less\b|other\b|match\b|one\b)(?:a-z)?": "is not a",
    r"\bpictur[e]s?\b": "image, figure, drawing",
    r"\bdear[e]st\b": "most expensive",
    r"\ban[e]w\b": "again, from the start",
    r"\brecko[n]\w*": "count, compute",
    r"\bmade rea[d]y\b": "prepared",
    r"\b(?:h[e]|h[i]m|h[i]s|h[i]mself)\b(?! et al)": "they, them, their",
    r"\b(?:going|goes|go|went|gone) o[n] (?=after|at|from|with|where|training|to train|behind)": "resume, continue",
    r"\b(?:some|any)body else th[a]n\b": "someone other than",
    r"\b(?:turn|turns|turned) (?:\w+ )?aw[a]y\b": "reject",
    r"\bwhom you tru[s]t\b": "that you trust",
    r"\bat most so m[a]ny\b": "at most N",
    r"\b(?:is|are|was|were|be) t[o]ld\b": "knows, gets, is notified",
    r"\bsay(?:s)? nothing o[f]\b": "does not mention",
    r"\bfel[t] (?:least|most)\b": "contributes least, matters most",
    r"\bit sto[o]d\b|\bwhat it has sto[o]d\b": "results",
    r"\bas (?:big|many|large) as it go[e]s\b": "as large as possible",
    r"\bin (?:its|their) st[e]ad\b": "instead",
    r"\bhand-written numbers of hidd[e]n\b|\bhidden numb[e]rs\b": "hidden units",
    r"\bpu[t] (?:right|straight)\b": "fixed",
    r"\bor there are severa[l]\b": "or more than one",
    r"\brightl[y]\b": "correctly",
    r"\b(?:goes|comes?) agai[n]\b": "is removed, repeats",
    r"\b(?:entry|one|sizes?) a (?:round|ste[p])\b": "one per round, per step",
    r"\bholds? the nois[e]\b": "contain the noise",
    r"\bby a look a[t]\b": "by looking at",
    r"\bmost of them tha[t]\b": "maximum number of",
    r"\bso many (?:outputs|classe[s])\b": "that number of",
    r"\blay(?:s|ing)? (?:it|them) besid[e]\b": "store next to",
    r"\bbehind one tha[t]\b": "after one that",
    r"\bl(?:ie|ies|ay) (?:beside|her[e])\b": "is next to, is in the folder",
    r"\bwhose it is i[s]\b": "who owns it",
    r"\b(?:is|are) (?:its|the|their) maker's t[o]\b": "the maker must",
}
"""What a native engineer writes instead of each pattern. ``Known lies`` of meters is a term by decision (glossary)."""

PATTERNS = {re.compile(pattern, re.IGNORECASE): instead for pattern, instead in INSTEAD.items()}


CUT = re.compile(r"\S\.\.\.$|[^.]\.\.$|\]\.$")
"""A summary that click cut, two full stops, or a full stop after a default."""
OF_OPTION = re.compile(r"[A-Z].*\.(  \[default: [^]]+\])?", re.DOTALL)


APART = " \0 "
"""Separates texts that are searched at once; no phrase contains it."""


def hits(text: str) -> list[str]:
    """Each forbidden phrase of a text, with what to write instead."""
    flat = " ".join(text.split())
    return [f"'{found.group()}' ({instead})" for rule, instead in PATTERNS.items() for found in rule.finditer(flat)]


def words(name: str) -> str:
    """The words of a name in snake case or camel case, with spaces between them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string, docstring, suspicious comment, and function or class name of a module."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, words(node.name)
    # Tokenizing is slow, and what follows a # contains every comment.
    behind = [line.partition("#")[2] for line in source.splitlines() if "#" in line]
    for token in tokenize.generate_tokens(io.StringIO(source).readline) if hits(APART.join(behind)) else ():
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
    found = []
    for path in code():
        lines = list(texts(path))
        # All at once: each phrase is looked for once in a file, and not once in a string.
        if hits(APART.join(text for _, text in lines)):
            found += [f"{path.relative_to(ROOT)}:{line}: {hit}" for line, text in lines for hit in hits(text)]
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


def test_rendered_help_fits_80_columns_and_cuts_nothing() -> None:
    for names in [(), *_commands(main, click.Context(main))]:
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*names, "--help"]).output
        lines = shown.partition("\n\n")[2].splitlines()
        assert [line for line in lines if len(line) > 80] == [], names
        assert [line for line in lines if CUT.search(line)] == [], names


def test_every_option_is_described_by_a_sentence_before_its_default() -> None:
    for names in _commands(main, click.Context(main)):
        context, command = click.Context(main), main
        for name in names:
            command = command.get_command(context, name)  # type: ignore[attr-defined,assignment]
        options = [one for one in command.params if isinstance(one, click.Option)]
        assert [one.opts for one in options if not OF_OPTION.fullmatch(one.help or "")] == [], names


@pytest.mark.parametrize(
    ("text", "count"),
    [("lineage.json is n~o JSON", 1), ("there is no GPU", 0), ("it is no longer used", 0), ("what h~e signed", 1),
     ("the dear~est\n   layers, taken an~ew", 2), ("its bytes can't be ha~d", 1)],
)  # fmt: skip
def test_phrase_is_found_when_it_is_there(text: str, count: int) -> None:
    assert len(hits(text.replace("~", ""))) == count


@pytest.mark.parametrize(
    ("source", "lines"),
    [("def test_the_dear~est_come_first(): ...", [1]), ("x = 1\n\n\nclass NoPic~tures: ...", [4]),
     ("async def what_h~e_signed(): ...", [1]), ("def images(): ...", []), ("x = 1  # h~e\n# images\n# h~e", [1, 3])],
)  # fmt: skip
def test_phrase_is_found_when_a_function_or_class_has_it_in_its_name_or_a_comment_has_it(
    source: str, lines: list[int], tmp_path: Path
) -> None:
    module = tmp_path / "module.py"
    module.write_text(source.replace("~", ""))
    assert [line for line, text in texts(module) for _ in hits(text)] == lines
