"""The benchmark of confidential learning, with three local parties; without its extra it says what is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "capc.py"
# MPyC reads the command line when it is imported, so that it is only looked for here.
INSTALLED = all(importlib.util.find_spec(name) is not None for name in ("tenseal", "mpyc"))


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment, cwd=ROOT
    )


@pytest.mark.skipif(INSTALLED, reason="the extra 'encrypted' is installed")
def test_benchmark_names_its_extra_when_it_is_missing() -> None:
    told = asked()
    assert told.returncode == 0 and told.stdout.startswith("Left out: ") and "extra 'encrypted'" in told.stdout


@pytest.mark.skipif(not INSTALLED, reason="tenseal and mpyc, of the extra 'encrypted', are not installed")
def test_three_parties_answer_like_a_plain_vote_and_keep_two_channels_apart() -> None:
    told = asked("--queries", "2")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert sum(line.startswith("Confidentiality:") for line in lines) == 1
    assert sum(line.startswith("Differential privacy: epsilon") for line in lines) == 1
    assert "as the plain vote where all agree" in lines[0] and ("100.0 %; right" in lines[0] or "(0)" in lines[0])


def test_images_of_a_party_are_means_of_four_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import capc

    from certify.data import array_split

    pixels = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)
    found = capc.inputs(array_split(pixels, [0], "one"), range(1))
    assert found.shape == (1, 196)
    assert found[0, 0] == pytest.approx(pixels[0, :2, :2].astype(float).mean() / 255)
    assert found[0, 15] == pytest.approx(pixels[0, 2:4, 2:4].astype(float).mean() / 255)
