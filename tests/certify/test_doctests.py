"""The examples in the referee's docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_examples_in_docstrings_give_the_documented_output() -> None:
    written = [path for path in sorted((ROOT / "certify").rglob("*.py")) if ">>> " in path.read_text()]
    assert written
    failed = {}
    for path in written:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        result = doctest.testmod(module)
        collected = sum(len(test.examples) for test in doctest.DocTestFinder().find(module))  # skipped ones too
        if result.failed or not collected:
            failed[name] = result
    assert not failed
