"""The signed predicate is read in one place: renderers, exports and comparisons take claims."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "certify"
BUILDER = ROOT / "assessments/efficiency/claims.py"


def keyed_reads(tree: ast.AST) -> Iterator[int]:
    """Lines on which something named ``predicate`` is read by a key."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            owner = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            owner = node.func.value
        else:
            continue
        if "predicate" in (getattr(owner, "attr", None), getattr(owner, "id", None)):
            yield node.lineno


@pytest.mark.parametrize("folder", ["present", "export", "comparison"])
def test_renderers_read_no_predicate_by_key(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in keyed_reads(ast.parse(path.read_text()))
    }
    assert not found


@pytest.mark.parametrize("source", ["predicate['grade']", "certificate.predicate['grade']", "c.predicate.get('a')"])
def test_read_is_found_when_by_key(source: str) -> None:
    assert list(keyed_reads(ast.parse(source))) == [1]


def test_predicate_is_read_only_by_claims() -> None:
    assert list(keyed_reads(ast.parse(BUILDER.read_text())))
