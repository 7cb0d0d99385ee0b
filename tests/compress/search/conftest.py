"""Fixtures of a search over numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from compress.search.question import Question
from compress.search.study import Study
from compress.search.trial import Objective
from compress.search.turns import Turns
from tests.compress.search.numbers_bench import BOUND, JOB, NumberBench


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """Studies are not flushed to the disk at each commit: no test loses power."""

    try:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
    except ImportError:  # the extra search is not installed, and tests of studies fail or are skipped
        yield
        return

    def connect(connection, _record) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connect)
    yield
    event.remove(Engine, "connect", connect)


@pytest.fixture
def bench() -> NumberBench:
    return NumberBench()


@pytest.fixture
def turns(tmp_path) -> Turns:
    return Turns(tmp_path / "turns")


@pytest.fixture
def question(tmp_path) -> Question:
    return Question("numbers", "none", max_loss_percent=BOUND, out=tmp_path / "out", trials=12, heartbeat_s=1)


@pytest.fixture
def searched(bench, turns, question):
    """Carries out a study of a question, and gives it back."""

    def search(asked: Question | None = None, until_s: float = float("inf"), **changed) -> Study:
        asked = dataclasses.replace(asked or question, **changed)
        study = Study(asked, bench.space, JOB)
        study.work(Objective(bench, asked.max_loss_percent, turns), until_s)
        return study

    return search
