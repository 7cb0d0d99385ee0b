"""Fixtures that several parts of the referee's tests share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from certify.evidence import Evidence
from certify.judge.edition import Edition, load_edition

# The same examples everywhere, and no time limit on machines that others share.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


def _synthetic() -> ModuleType:
    name = "leanmark_tests_synthetic"
    if name not in sys.modules:
        path = Path(__file__).parent / "judge" / "synthetic.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def make_evidence() -> Callable[..., Evidence]:
    """The builder of tests/certify/judge/synthetic.py: honest evidence with a knob for each thing that may go wrong."""
    return _synthetic().make_evidence  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def evidence(make_evidence: Callable[..., Evidence]) -> Evidence:
    """Complete and honest evidence of a candidate that takes 0.3 of its baseline's energy."""
    return make_evidence()


@pytest.fixture(scope="session")
def edition() -> Edition:
    """The edition of 2026."""
    return load_edition("2026")
