"""Measurements at whose figures no test looks, in less time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from certify.core.measuring_rules import MeasuringRules
from certify.measure import experiment, runs, short_comparison, windows
from certify.measure.plan import Plan
from certify.measure.runs import Bench

FEWER: dict[str, Any] = {"null_retries": 0, "settings_windows": 1, "latency_calls": 50, "changed_window_s": 0.01}
"""Windows of 10 ms on changed samples are those of tests/certify/measure/test_recognition.py, which judges them."""


@contextlib.contextmanager
def in_haste() -> Iterator[None]:
    """No pause before a window, one number of threads, no repeated null run, and fewer or shorter windows."""
    opened = experiment.open_bench

    def open_bench(plan: Plan, rules: MeasuringRules, *rest: Any) -> AbstractContextManager[Bench]:
        return opened(plan, replace(rules, **FEWER), *rest)

    with pytest.MonkeyPatch.context() as patch:
        for module in (experiment, short_comparison):
            patch.setattr(module, "open_bench", open_bench)
        patch.setattr(runs, "threads_to_try", lambda wanted, on_accelerator: (wanted or 1,))
        patch.setattr(short_comparison, "compare", functools.partial(short_comparison.compare, blocks=4))
        patch.setattr(windows, "SETTLE_S", 0.0)
        yield


@pytest.fixture(scope="module")
def hasty() -> Iterator[None]:
    """Measurements of a module's tests are :func:`in_haste`."""
    with in_haste():
        yield
