from __future__ import annotations

import os
from pathlib import Path

import pytest

from certify.measure import machine


def test_describe_returns_plain_values_of_this_machine() -> None:
    facts = machine.describe()
    assert facts["processors_allowed"] == len(os.sched_getaffinity(0))
    assert facts["processor"] and facts["kernel"] and facts["memory_bytes"] > 1e8
    assert all(isinstance(value, str | int | bool | list) for value in facts.values())


@pytest.mark.parametrize(("flags", "has"), [("fpu avx2", False), ("fpu avx2 avx512_vnni hypervisor", True)])
def test_describe_reads_integer_dot_products_from_the_flags(tmp_path: Path, flags: str, has: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        f"processor : 0\nmodel name\t: Some CPU\nflags\t: {flags}\n\nprocessor : 1\n"
    )
    facts = machine.describe(tmp_path)
    assert facts["processor"] == "Some CPU"
    assert facts["integer_dot_product"] is has
    assert facts["virtualisation"] == ("yes" if has else "none seen")


def test_second_threads_of_a_core_are_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu, siblings in enumerate(("0-1", "0-1", "2,3", "2,3")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert machine.cores_for(3, tmp_path) == (0, 2, 1)
    assert machine.cores_for(5, tmp_path) == (0, 2, 1, 3, 0)


@pytest.mark.parametrize(("allowed", "numbers"), [(1, (1,)), (2, (1, 2)), (3, (1, 3)), (4, (1, 2, 4)), (9, (1, 4, 9))])
def test_thread_numbers_are_one_half_and_all(monkeypatch: pytest.MonkeyPatch, allowed: int, numbers) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    assert machine.thread_numbers() == numbers
