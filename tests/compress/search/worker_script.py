"""A process that works on a study of numbers: OUT, number of trials, seconds that a trial takes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from compress.search.question import Question
from compress.search.study import Study
from compress.search.trial import Objective
from compress.search.turns import Turns
from tests.compress.search.numbers_bench import BOUND, JOB, NumberBench


class SlowBench(NumberBench):
    """Writes the number of each trial into a file when it begins, and takes its time."""

    def __init__(self, out: Path, seconds: float) -> None:
        super().__init__()
        self._out, self._seconds = out, seconds

    @contextlib.contextmanager
    def output_of(self, recipe, callbacks=()):
        with (self._out / "begun.txt").open("a") as begun:
            begun.write(f"{recipe.name}\n")
        time.sleep(self._seconds)
        with super().output_of(recipe, callbacks) as made:
            yield made


def main() -> None:
    """Work until there are enough trials."""
    out, trials, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    question = Question("numbers", "none", max_loss_percent=BOUND, out=out, trials=trials, heartbeat_s=1)
    bench = SlowBench(out, seconds)
    turns = Turns(out / f"turns-{os.getpid()}")  # as on machines of their own
    Study(question, bench.space, JOB).work(Objective(bench, BOUND, turns), float("inf"))


if __name__ == "__main__":
    main()
