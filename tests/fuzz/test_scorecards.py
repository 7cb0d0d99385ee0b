"""A small, seeded slice of scorecards.py, which says how the whole is run."""

from __future__ import annotations

from pathlib import Path

from scorecards import fuzz


def test_scorecard_fuzzing_finds_no_miss_and_no_crash_in_a_short_run(tmp_path: Path) -> None:
    tally = fuzz(tmp_path, 160, seed=3)
    assert not {key: count for key, count in tally.items() if key[1] in ("missed", "crashed")}
    assert sum(count for (_, outcome), count in tally.items() if outcome == "found") > 100
