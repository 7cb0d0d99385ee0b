"""Exports share what torch's exporter reads of its operators."""

from __future__ import annotations

import importlib

import pytest

from compress.exchange import operator_table
from compress.exchange.operator_table import kept_operators


def test_operators_are_read_once_by_torch_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = importlib.import_module(operator_table.REGISTRATION)
    table, reads = getattr(registration, operator_table.TABLE), []

    def read() -> list[object]:
        reads.append("all")
        return []

    monkeypatch.setattr(table, operator_table.READ, read)
    for _ in range(2):
        with kept_operators():
            registration.ONNXRegistry.from_torchlib()
    assert reads == ["all"]
    assert getattr(table, operator_table.READ) is read


@pytest.mark.parametrize("name", ["REGISTRATION", "TABLE", "READ"])
def test_operators_are_read_as_ever_when_torch_keeps_them_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_table, name, "elsewhere")
    with kept_operators() as nothing:
        assert nothing is None
