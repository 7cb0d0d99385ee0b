"""Rules about the source files themselves: length, suffixes of model files, and the grammar of raised errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MOST_LINES = 300
MOST_LINES_OF_A_PASS = 160
LONG: frozenset[str] = frozenset()
"""Files that may be longer, by their path; none may be added."""

KNOWS_SUFFIXES = ROOT / "certify/model_file"
SUFFIX = re.compile(r"\*?\.(onnx|pt2)", re.IGNORECASE)
NAME = re.compile(r"(?!ai\.onnx).*\.(onnx|pt2)", re.IGNORECASE)
"""Any name of such a file; "ai.onnx" is a domain of operators."""
ASKING = {"endswith", "fullmatch", "glob", "match", "removesuffix", "rglob", "search", "with_suffix"}
"""Methods whose argument is compared with, or put in place of, the end of a name."""

UNUSUAL = re.compile(r"\b(is|are) wanted\b|\bshould be\b|\bmay not be\b|\bcame\b")
"""Phrases in place of "must be" and "got"."""


def sources() -> list[Path]:
    return [path for package in ("certify", "compress") for path in sorted((ROOT / package).rglob("*.py"))]


def suffixes_in(source: str) -> list[int]:
    """Lines of literals that ask whether a file is a model.

    That is a suffix alone, or a name with a suffix in a comparison or in a method of :data:`ASKING`. A file that is
    written under a whole name ("model.onnx", f"{name}.onnx") asks nothing, and neither do docstrings, help and
    examples.
    """
    return sorted({node.lineno for node in _asking(ast.parse(source), False)})


def _asking(node: ast.AST, asks: bool) -> Iterator[ast.Constant]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            named = NAME if asks else SUFFIX
            if named.fullmatch(child.value) and (asks or not isinstance(node, ast.JoinedStr)):
                yield child
        calls = isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute) and child.func.attr in ASKING
        yield from _asking(child, asks or calls or isinstance(child, ast.Compare | ast.MatchValue))


def raised_messages(source: str) -> list[tuple[int, str]]:
    """Line and text of every error that a source raises; values that it puts in are ``{}``."""
    raised = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise) and node.exc is not None]
    return [(node.lineno, "".join(_text(node.exc))) for node in raised]


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FormattedValue):
        yield "{}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _text(child)


def broken_grammar(text: str) -> bool:
    """Whether an error is not "The 'x' ... must be ..., got ..."."""
    return bool(UNUSUAL.search(text) or ("got {}" in text and "must " not in text))


def test_literals_that_ask_for_a_suffix_are_found() -> None:
    source = '''
"""A file such as model.onnx."""
NAMES = ("model.onnx", f"{name}.onnx", "ai.onnx.ml", "leanmark gate graded/model.onnx")
MODEL = help("Path of an .onnx file.")
SUFFIXES = (".ONNX", ".py")
path.suffix == ".pt2"
path.name == "model.onnx"
domain in ("", "ai.onnx")
name.lower().endswith((f"x.onnx", ".data"))
folder.glob("*.onnx")
class Runtime:
    suffix = ".onnx"
'''
    assert suffixes_in(source) == [5, 6, 7, 9, 10, 12]


def test_only_model_file_asks_for_the_suffixes_of_model_files() -> None:
    assert suffixes_in((KNOWS_SUFFIXES / "suffixes.py").read_text())
    asking = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        if not path.is_relative_to(KNOWS_SUFFIXES)
        for line in suffixes_in(path.read_text())
    }
    assert not asking, "ask certify.model_file instead: is_onnx, has_model_suffix, kind_of, ONNX or PROGRAM"


def test_raised_errors_say_what_must_be_and_what_was_got() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sources()
        for line, text in raised_messages(path.read_text())
        if broken_grammar(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_error_in_another_grammar_is_found() -> None:
    source = """
raise ValueError(f"The 'x' must be at least 1, got {x}.")
raise ValueError("A number is wanted.")
raise ValueError("x should be " "at least 1.")
raise ValueError("x may not be 0.") from error
raise UsageError(_sentence(f"x needs 2 values, got {len(x)}."))
"""
    assert [line for line, text in raised_messages(source) if broken_grammar(text)] == [3, 4, 5, 6]


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    long = {path for path, length in lengths.items() if length > MOST_LINES}
    assert long == LONG, "split a new one; delete one that became short from the list"
    assert not {
        path: length
        for path, length in lengths.items()
        if re.match(r"compress/passes/[a-z]", path) and length > MOST_LINES_OF_A_PASS
    }
