"""Rules about the source files themselves: their length, and who asks for the suffix of a model file."""

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


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    long = {path for path, length in lengths.items() if length > MOST_LINES}
    assert long == LONG, "split a new one; delete one that became short from the list"
    assert not {
        path: length
        for path, length in lengths.items()
        if re.match(r"compress/passes/[a-z]", path) and length > MOST_LINES_OF_A_PASS
    }
