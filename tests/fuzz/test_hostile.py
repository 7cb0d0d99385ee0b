"""A small, seeded slice of hostile.py (see there for the full run), and tests that it detects violations."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from graded import own_folders
from markup import Unsafe, refuse_script
from targets import Run, Target, targets

from certify.core.errors import UsageError

SLICE = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("hostile")
    with own_folders(folder):
        yield folder


@pytest.fixture(scope="module")
def readers(folder: Path) -> dict[str, Target]:
    return targets(folder)


@pytest.fixture(scope="module")
def watch(folder: Path) -> Iterator[hostile.Watch]:
    watch = hostile.Watch(folder)
    yield watch
    watch.on = False


NAMES = ("envelope", "envelope as JSON", "signed statement", "countersignature", "signed countersignature",
         "key statements", "trust store", "evidence", "signed evidence", "texts of a measurement", "lineage",
         "declarations", "declarations, signed", "records of declarations", "model card", "recipe",
         "preprocessing contract", "federated log", "federated records", "federated receipts", "ONNX bytes",
         "ONNX model", "exported program", "exported program, loaded")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_reader_raises_a_typed_error_when_input_is_hostile(
    readers: dict[str, Target], watch: hostile.Watch, name: str
) -> None:
    outcome = hostile.Outcome()
    readers[name].run(readers[name].seed)
    for number in range(SLICE):
        hostile.run_one(readers[name], hostile.input_of(readers[name], name, 7, number), watch, outcome, number)
    assert outcome.tried == SLICE
    assert not outcome.wrong


def test_every_reader_is_in_the_slice(readers: dict[str, Target]) -> None:
    assert tuple(readers) == NAMES


def test_input_is_the_same_when_generated_again(readers: dict[str, Target]) -> None:
    for name, target in readers.items():
        assert hostile.input_of(target, name, 3, 4) == hostile.input_of(target, name, 3, 4)


def _refuse(content: bytes) -> None:
    raise UsageError("no")


def _break(content: bytes) -> None:
    raise KeyError("no")


def _open_outside(content: bytes) -> None:
    Path("/etc/hostname").exists()
    with open("/etc/passwd", "rb"):  # noqa: PTH123
        pass


def _unpickle(content: bytes) -> None:
    pickle.loads(pickle.dumps(os.getpid))


@pytest.mark.parametrize(
    ("run", "what"),
    [(_refuse, ""), (_break, "KeyError"), (_open_outside, "/etc/passwd"), (_unpickle, "pickle.find_class")],
)
def test_watch_reports_forbidden_actions(watch: hostile.Watch, run: Run, what: str) -> None:
    outcome = hostile.Outcome()
    hostile.run_one(Target(lambda: b"", lambda content, rng: content, run), b"", watch, outcome, 0)
    assert bool(outcome.wrong) == bool(what)
    assert what in str(outcome.wrong)


@pytest.mark.parametrize("text", ["<script>", "<a onclick=x>", "<a href='javascript:x'>", "<img src='http://x'>"])
def test_markup_is_refused_when_a_browser_would_run_or_fetch_something(text: str) -> None:
    with pytest.raises(Unsafe):
        refuse_script(text)
    refuse_script("<a href='#x'>text</a>")
