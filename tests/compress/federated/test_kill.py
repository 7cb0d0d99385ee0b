"""A real SIGKILL at moments nobody chose: the run resumes after the last closed round, to the same bits."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.federated.plan import Plan
from tests.compress.federated.conftest import Fleet

Make = Callable[..., Fleet]
SERVER = "forkserver"
"""Its children are forked from a process without threads: torch's own would not survive a fork of this one."""


def size(made: Fleet) -> int:
    path = made.folder / "federation.jsonl"
    return path.stat().st_size if path.is_file() else 0


def run_alone(folder: Path, plan: Plan, clients: int, threads: int) -> None:
    torch.set_num_threads(threads)
    Fleet(folder, plan, clients).run()


def was_killed(made: Fleet, grown: int) -> bool:
    """Run in another process and kill it once the log has grown by a number of bytes; False if it ended before."""
    before, context = size(made), multiprocessing.get_context(SERVER)
    child = context.Process(target=run_alone, args=(made.folder, made.plan, made.clients, torch.get_num_threads()))
    child.start()
    while size(made) < before + grown:
        if not child.is_alive():
            assert child.exitcode == 0, "the run failed before it was killed"
            return False
        time.sleep(0.001)
    time.sleep(float(np.random.default_rng().uniform(0, 0.05)))
    child.kill()
    child.join()
    return True


@pytest.mark.skipif(SERVER not in multiprocessing.get_all_start_methods(), reason="needs forkserver")
@pytest.mark.parametrize("update", ["int8", "int8-masked"])
def test_run_ends_with_the_same_bits_when_it_is_killed_again_and_again(fleet: Make, update: str) -> None:
    multiprocessing.get_context(SERVER).set_forkserver_preload(["tests.compress.federated.conftest"])
    whole, simulation = fleet(update=update, rounds=6), fleet(update=update, rounds=6)
    expected = whole.run()
    random, kills = np.random.default_rng(), 0
    for _ in range(5):
        kills += was_killed(simulation, int(size(whole) * random.uniform(0.02, 0.25)))
    assert simulation.run() == expected
    assert len(simulation.sound().rounds) == 6 and kills
