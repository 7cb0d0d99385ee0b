"""The examples in docstrings, run where they need no training."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import compress

PACKAGE = Path(compress.__file__).parent
EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if re.search(r"^\s+>>> ", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_give_the_documented_output(path: Path) -> None:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
