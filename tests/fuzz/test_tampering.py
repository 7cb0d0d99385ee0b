"""A small, seeded slice of tampering.py (see there for the full run)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import bytes_of
import honest
import onnx
import pytest
from attacks import Attacks, Change
from graded import make, own_folders
from results import Results
from tally import Tally, report, totals


def test_every_change_is_found_by_the_expected_check_in_a_short_run(tmp_path: Path) -> None:
    with own_folders(tmp_path):
        results = Results(None, {})
        Attacks(tmp_path / "attacks", count=20, seed=1).run(results)
    tallies = totals(results.parts.values())
    assert sum(tally.tried for tally in tallies.values()) > 150
    assert not {name: tally.missed + tally.elsewhere for name, tally in tallies.items() if tally.wrong}


def test_unaltered_files_raise_no_alarm_when_saved_stripped_or_moved(tmp_path: Path) -> None:
    with own_folders(tmp_path):
        tally = honest.false_alarms(tmp_path, 1)
    assert tally.tried == len(honest.TREATMENTS)
    assert not tally.wrong, tally.missed


def test_miss_is_counted_when_no_check_or_another_finds_a_change() -> None:
    tally = Tally()
    tally.judge("a", set(), {"seal"})
    tally.judge("b", {"label"}, {"seal"})
    tally.judge("c", {"label", "seal"}, {"seal"})
    assert (tally.tried, tally.wrong) == (3, 2)
    assert report({"x": tally}) == 2


@pytest.mark.parametrize("change", [bytes_of.padded, bytes_of.reordered, bytes_of.with_unknown_field])
def test_different_bytes_encode_the_same_model_when_protobuf_allows_it(tmp_path: Path, change: Change) -> None:
    with own_folders(tmp_path):
        content = make(tmp_path).model.read_bytes()
    for seed in range(20):
        other = change(content, random.Random(seed))
        assert other != content
        assert onnx.load_from_string(other).graph.node[0].name == "conv"


def test_wire_format_is_written_as_read_when_nothing_changes(tmp_path: Path) -> None:
    with own_folders(tmp_path):
        content = make(tmp_path).model.read_bytes()
    assert bytes_of.encoded(bytes_of.parsed(content)) == content


def test_run_resumes_when_it_was_stopped(tmp_path: Path) -> None:
    path, settings = tmp_path / "results.jsonl", {"count": 2, "seed": 1}
    with own_folders(tmp_path):
        Attacks(tmp_path / "first", **settings).run(Results(path, settings))
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}\n" for line in lines[:3]))
        Attacks(tmp_path / "second", **settings).run(Results(path, settings))
    again = [line for line in path.read_text().splitlines() if line]
    assert [list(json.loads(line)) for line in again] == [list(json.loads(line)) for line in lines]
    assert again[:3] == lines[:3]
    with pytest.raises(SystemExit, match="other settings"):
        Results(path, {**settings, "seed": 2})
