from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.training import distributed, optimization
from tests.compress.training import distributed_script

SCRIPT = Path(distributed_script.__file__)


CASES = {"plain": 1e-6, "attention": 1e-6, "hint": 1e-3, "hooked": 1e-6, "worst_group": 1e-6}
"""Largest difference of a weight; hint's loss divides by a mean over the part of a batch that a process has."""


def _run_in_two_processes(out, *cases):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, SCRIPT, out, *cases],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("team") / "alone.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimization, "has_fast_bfloat16", optimization.has_fast_bfloat16)  # which the script replaces
        distributed_script.main(out, *CASES)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return _run_in_two_processes(tmp_path_factory.mktemp("team") / "both.json", *CASES, "late", "unsendable")


@pytest.mark.parametrize("case", CASES)
def test_several_processes_learn_the_same_as_one(alone, both, case):
    assert (alone["processes"], both["processes"]) == (1, 2)
    for name, weights in alone[case]["weights"].items():
        np.testing.assert_allclose(both[case]["weights"][name], weights, rtol=1e-4, atol=CASES[case], err_msg=name)


def test_no_joules_are_stated_when_other_processes_took_part(both):
    assert both["plain"]["energy"] is None


def test_all_processes_stop_when_the_time_of_the_lead_is_up(both):
    assert both["late"]["early"]


def test_error_names_what_cannot_be_sent(both):
    assert "define their classes and functions in a module" in both["unsendable"]["error"]


def test_single_process_is_the_lead(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group() as leads:
        assert leads and (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.broadcast({"a": 1}) == {"a": 1} and distributed.mean(2.5) == 2.5
