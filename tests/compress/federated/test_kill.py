"""A real SIGKILL at moments nobody chose: the run resumes after the last closed round, to the same bits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.compress.federated.conftest import Fleet

Make = Callable[..., Fleet]


def size(made: Fleet) -> int:
    path = made.folder / "federation.jsonl"
    return path.stat().st_size if path.is_file() else 0


def was_killed(made: Fleet, grown: int) -> bool:
    """Run in a process of its own and kill it once the log has grown by so many bytes; False where it ended before."""
    before, child = size(made), os.fork()
    if child == 0:
        torch.set_num_threads(1)
        made.run()
        os._exit(0)
    while size(made) < before + grown:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.001)
    time.sleep(float(np.random.default_rng().uniform(0, 0.05)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("update", ["int8", "int8-masked"])
def test_run_ends_with_the_same_bits_when_it_is_killed_again_and_again(fleet: Make, update: str) -> None:
    whole, made = fleet(update=update, rounds=6), fleet(update=update, rounds=6)
    expected = whole.run()
    random, kills = np.random.default_rng(), 0
    for _ in range(5):
        kills += was_killed(made, int(size(whole) * random.uniform(0.02, 0.25)))
    assert made.run() == expected
    assert len(made.sound().rounds) == 6 and kills
