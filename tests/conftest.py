"""A job that takes seconds: what the tests of the whole way run in place of a real network."""

from __future__ import annotations

import gc
import linecache
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.warm_workers import started_workers as started_workers
from tests.warm_workers import warm_workers as warm_workers

for name in ("CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "LEANMARK_SIGNING_KEY"):
    os.environ.pop(name, None)  # tests must not depend on where they run
# Format "iri" of jsonschema, which no schema of ours has; compiling its grammar takes seconds in each process.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
os.fsync = lambda descriptor: None  # no test loses power, and thousands of flushes would wait for the disk
linecache.checkcache = lambda filename=None: None  # no source changes, and exports look at each one thousands of times
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads wait for each other in loops that take the CPU

FACTORY = '''
from dataclasses import replace

from torch import nn

from certify.data import load


def few_digits():
    """The digits with a quarter of the train samples."""
    data = load("mnist5k")
    return replace(data, train=data.train.subset(range(0, len(data.train), 4)))


def net(num_classes):
    """Three convolutions: trains on the digits in seconds, and computes enough for int8 to save energy without VNNI."""
    layers, width = [], 3
    for wide, stride in ((32, 2), (64, 2), (128, 1)):
        layers += [nn.Conv2d(width, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
'''
RECIPE = """
name: quick
description: Everything that balanced does, in less time.
passes:
  - structured_prune: {macs: 0.5, round_to: 16}
  - distill: {epochs: 2}
  - quantize_static: {samples: 64}
"""


@pytest.fixture(scope="session")
def write_small_job() -> Callable[[Path], None]:
    """Writes ``mynets.py`` (the model ``mynets:net``) and the recipe ``quick.yaml`` into a folder."""

    def write(folder: Path) -> None:
        (folder / "mynets.py").write_text(FACTORY)
        (folder / "quick.yaml").write_text(RECIPE)

    return write


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed torch before every test, so that none depends on which tests this worker ran before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Collect folders backwards in every second process: one of them compiles each file of a new clone."""
    report = yield
    if isinstance(collector, pytest.Directory) and os.environ.get("PYTEST_XDIST_WORKER", "0")[-1] in "13579":
        report.result.reverse()
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the whole way, the longest, so that no process is left alone with them at the end.

    In one order for all processes, which collect in two.
    """
    items.sort(key=lambda item: (item.path.parent != Path(__file__).parent, item.path.parts))


def pytest_collection_finish() -> None:
    """Let garbage collections pass over what the imports made: they took a seventh of the time of the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
