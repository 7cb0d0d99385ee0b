"""The command of the zoo on one tiny network: its row, going on, its limits, and that its table admits what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo
from table import complete, markdown, pruned, ran

PLENTY = zoo.Limits(600, 8)
NET = """
from torch import nn

def net(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""
ROW = {
    "model": "m",
    "build": {"input": [64, 64]},
    "prune": {"macs_share": 0.5},
    "export": {"difference": 1e-6, "declined": None},
    "count": {"macs_share": 0.5, "agree": True},
    "mask": {"difference": 1e-6, "spread": 0.5},
    "quantize": {"quantized": 3, "kept_float": 1},
    "int8": {"cosine": 0.99, "agreement": 1.0},
}


def test_architecture_has_a_row_and_is_skipped_when_it_has_one(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out" / "zoo.jsonl"
    zoo.cover(["own_nets:net"], path, PLENTY)
    row = zoo.state(path)["own_nets:net"]
    assert complete(row), row
    assert row["count"]["macs_share"] <= 0.6
    assert row["mask"]["moved"] > 100 * row["mask"]["difference"]
    assert row["int8"]["cosine"] > 0.9
    assert row["cpu_seconds"] > 0 and row["peak_gib"] > 0

    monkeypatch.setattr(zoo, "run", lambda name, limits: {"model": name, "failed": "no", "cpu_seconds": 0})
    zoo.cover(["own_nets:net", "other"], path, PLENTY)
    assert complete(zoo.state(path)["own_nets:net"])
    assert zoo.state(path)["other"]["failed"] == "no"
    assert len(path.read_text().splitlines()) == 2
    zoo.cover(["own_nets:net", "other"], path, PLENTY, again=True)
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (zoo.Limits(0.2, 8), "took more than 0.2 s of processor time"),
        (zoo.Limits(600, 0.03), "took more than 0.03 GiB of memory"),
    ],
)
def test_process_is_killed_and_the_row_says_so_when_it_exceeds_its_limits(limits, why):
    row = zoo.run("resnet18", limits)
    assert row["failed"] == why
    assert row["cpu_seconds"] < 30
    assert not complete(row)


def test_process_is_killed_when_it_hangs(tmp_path, monkeypatch):
    script = tmp_path / "waits.py"
    script.write_text("import time\ntime.sleep(60)")
    monkeypatch.setattr(zoo, "__file__", str(script))
    monkeypatch.setattr(zoo, "WALL_FACTOR", 0.01)
    assert zoo.run("m", zoo.Limits(30, 8))["failed"] == "took longer than 0.3 s"


def test_row_holds_the_last_line_when_the_process_dies(tmp_path, monkeypatch):
    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit('something odd')")
    monkeypatch.setattr(zoo, "__file__", str(script))
    assert zoo.run("m", PLENTY)["failed"] == "ended with 1: something odd"


def test_state_uses_the_last_row_and_skips_a_truncated_line(tmp_path):
    path = tmp_path / "zoo.jsonl"
    lines = [json.dumps({"model": "m", "failed": "once"}), json.dumps(ROW), '{"model": "n", "bui']
    path.write_text("\n".join(lines))
    assert zoo.state(path) == {"m": ROW}
    assert zoo.state(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("stage", "change", "is_pruned", "has_run", "remark"),
    [
        ("prune", {"declined": "odd | heads"}, False, True, "not pruned: odd / heads"),
        ("count", {"macs_share": 0.7}, False, True, ""),
        ("count", {"agree": False}, False, True, "the file's MACs can't be compared with torch's"),
        ("mask", {"difference": 0.01}, False, True, "differs from the masked original"),
        ("mask", {"spread": 1e-4}, False, True, "while outputs differ by 1.0e-04 between images"),
        ("quantize", {"declined": "no weights"}, True, False, "not quantized: no weights"),
    ],
)
def test_table_notes_when_a_stage_is_incomplete(stage, change, is_pruned, has_run, remark):
    assert complete(ROW)
    row = {**ROW, stage: {**ROW[stage], **change}}
    if stage == "prune":
        del row["mask"]
    assert (pruned(row), ran(row)) == (is_pruned, has_run)
    text = markdown("zoo", ["m", "n"], {"m": row})
    assert f"2 architectures, 1 tried; {int(is_pruned)} pruned" in text and f"{int(has_run)} through" in text
    assert remark in text and "| n | | | | | | | not tried |" in text


def test_table_says_why_when_there_was_no_masked_original():
    row = {**ROW, "mask": {"why": "other names"}}
    assert not pruned(row)
    assert "not compared with the masked original: other names" in markdown("zoo", ["m"], {"m": row})


def test_table_names_the_stage_and_the_reason_when_one_failed():
    row = {"model": "m", "at": "export", "build": ROW["build"], "failed": "ModelError: no"}
    assert "failed at export: ModelError: no" in markdown("zoo", ["m"], {"m": row})
    assert not ran(row)


def test_script_is_where_its_process_is_started():
    assert Path(zoo.__file__).is_file()
