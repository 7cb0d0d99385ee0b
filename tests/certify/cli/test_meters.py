from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from certify.cli import meters as program
from certify.measure.meters import METERS

Run = Callable[..., Result]


def _rows(leanmark: Run) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(leanmark("meters", "--json").stdout)
    return rows


def test_meters_lists_all_with_reasons_when_asked_for_json(leanmark: Run) -> None:
    rows = _rows(leanmark)
    assert [row["name"] for row in rows["meters"]] == list(METERS.own)
    for row in rows["meters"]:
        assert row["available"] == (row["reason"] is None)
        assert row["scope"] and row["level"] and row["resolution"] and row["privilege"]
        for device, chosen in rows["used_for"].items():
            assert (chosen is not None and row["name"] in chosen["name"].split("+")) == (device in row["used_for"])
    assert rows["used_for"]["cpu"].keys() == {"name", "level", "scope"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_meters_splits_no_word_when_the_terminal_is_narrow(
    leanmark: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = _rows(leanmark)
    text = leanmark("meters").stdout
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width
    shown = set(text.split())
    for row in rows["meters"]:
        for key in ("name", "level", "scope", "resolution", "privilege", "reason"):
            assert set((row[key] or "").split()) <= shown
    for device in ("processor", "GPU"):
        assert f"For a model on the {device}: " in text


def test_table_gives_the_remaining_width_to_wrapping_columns() -> None:
    row = {"name": "m", "available": True, "level": "counter", "scope": "board", "resolution": "a b c d e f g h",
           "privilege": "right on a file"}  # fmt: skip
    assert len(program.table([row], 120).splitlines()) == 2
    narrow = program.table([row], 1).splitlines()
    assert len(narrow) == 4
    assert {*"abcdefgh", "right", "on", "file"} <= set(" ".join(narrow).split())
