"""Exports share what torch's exporter reads of its operators."""

from __future__ import annotations

import importlib

import pytest

from compress.exchange import operator_table
from compress.exchange.operator_table import kept_operators


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> type:
    """What torch's exporter fills for every file."""

    class Registry:
        reads = 0

        def __init__(self) -> None:
            self.functions = {"add": ["an operator"]}

        @classmethod
        def from_torchlib(cls, opset_version: int) -> Registry:
            cls.reads += 1
            return cls()

    registration = importlib.import_module(operator_table.REGISTRATION)
    monkeypatch.setattr(registration, operator_table.REGISTRY, Registry)
    return Registry


def test_operators_are_read_once_by_torch_and_given_back(registry: type) -> None:
    before = vars(registry)["from_torchlib"]
    for _ in range(2):
        with kept_operators():
            found = registry().from_torchlib(opset_version=18)
            assert found.functions == {"add": ["an operator"]}
            found.functions["add"].append("one more")
            found.functions["sub"] = []
    assert registry.reads == 1
    assert vars(registry)["from_torchlib"] is before


def test_operators_are_read_for_each_opset(registry: type) -> None:
    for opset in (18, 20):
        with kept_operators():
            registry.from_torchlib(opset_version=opset)
    assert registry.reads == 2


def test_composite_operators_are_looked_up_once_per_export(monkeypatch: pytest.MonkeyPatch) -> None:
    utilities, looked_up = importlib.import_module(operator_table.UTILITIES), []
    monkeypatch.setattr(utilities, operator_table.LISTING, lambda: looked_up.append("all"))
    for _ in range(2):
        with kept_operators():
            utilities._collect_all_valid_cia_ops()
            utilities._collect_all_valid_cia_ops()
    assert looked_up == ["all", "all"]
    getattr(utilities, operator_table.LISTING)()
    assert len(looked_up) == 3


@pytest.mark.parametrize("name", ["REGISTRATION", "REGISTRY", "READ", "UTILITIES", "LISTING"])
def test_operators_are_read_as_ever_when_torch_keeps_them_elsewhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_table, name, "elsewhere")
    with kept_operators() as nothing:
        assert nothing is None
