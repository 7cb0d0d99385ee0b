"""``leanmark table`` prints what blocks cost, and the same table as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from compress.cli import table
from compress.costs.cost_table import CONVERSIONS

MODEL = (
    "compress.testing.networks:Deep", "--data", "compress.testing.networks:blobs", "--target", "cpu-vnni",
    "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5",
)  # fmt: skip


@pytest.fixture
def invoke(timer, monkeypatch):
    timer.integer = 0.5
    monkeypatch.setenv("COLUMNS", "120")

    def run(*options):
        return CliRunner().invoke(table.command, [*MODEL, *options], catch_exceptions=False)

    return run


def test_table_lists_each_width_and_format_and_then_the_conversions(invoke):
    result = invoke()
    assert result.exit_code == 0
    rows = [line.replace("│", "").split() for line in result.stdout.splitlines()]
    assert result.stdout.startswith("int8 in fake 1, 1 thread, on made up")
    begin = next(number for number, row in enumerate(rows) if row[:5] == ["blocks.0", "and", "4", "alike", "full"])
    assert [row[-4:] for row in rows[begin : begin + 2]] == [
        ["full", "2.88", "28.80", "1.00"], ["dropped", "0.00", "0.00", "0.00"]
    ]  # fmt: skip
    assert rows[begin + 2 : begin + 4] == [["full", "float", "5.76", "57.60", "2.00"], [CONVERSIONS, *["0.00"] * 3]]
    assert rows[begin + 4][:2] == ["stem", "full"]
    assert "kinds of blocks were measured" in result.stdout


def test_table_names_the_runtime_that_it_was_measured_in(invoke):
    found = json.loads(invoke("--json").stdout)["conditions"]
    assert (found["runtime"], found["target_runtime"]) == ("fake", "onnxruntime-cpu")


def test_floats_have_no_conversions(invoke):
    result = invoke("--precision", "float")
    assert result.exit_code == 0
    assert result.stdout.startswith("float in fake 1")
    assert CONVERSIONS not in result.stdout


def test_json_has_the_costs_and_a_second_table_comes_from_the_cache(invoke, timer):
    first = json.loads(invoke("--json").stdout)
    assert first["conditions"]["precision"] == "int8"
    (kind,) = (each for each in first["blocks"] if len(each["blocks"]) == 5)
    assert set(kind["costs"]) == {"full", "dropped", "full float", CONVERSIONS}
    timer.batches.clear()
    assert json.loads(invoke("--json").stdout) == first
    assert [batch[0] for batch in timer.batches] == ["whole"], "only the whole is measured, beside full blocks"
    assert "read from the cache" in invoke().stdout
