"""The runner of mutants, on a toy module with one good and one bad test."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest
import yaml

TOY = '''
def area(width: int, height: int) -> int:
    """Checked with numbers that tell a product from everything else."""
    return width * height


def edge(width: int, height: int) -> int:
    """Checked with zeros, which tell nothing."""
    return 2 * (width + height)
'''
TOY_TESTS = """
from toy.sums import area, edge


def test_area():
    assert area(3, 5) == 15


def test_edge():
    assert edge(0, 0) == 0
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for path, text in (("toy/__init__.py", ""), ("toy/sums.py", TOY), ("tests/test_sums.py", TOY_TESTS)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_survivors_come_only_from_the_bad_test(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mutmut", reason="the extra mutants is not installed")
    part = mutants.Part(("toy/sums.py",), ("tests/test_sums.py",))
    counts, unnoticed = mutants.try_part(toy, part, count=20, seed=0, limit_s=60)
    assert counts["killed"] >= 1
    assert counts["survived"] == len(unnoticed) == sum(counts.values()) - counts["killed"]
    assert {(each.file, each.line) for each in unnoticed} == {("toy/sums.py", 9)}
    assert "return 2 * (width - height)" in {each.after for each in unnoticed}
    assert not (toy / "mutants").exists() and not (toy / "setup.cfg").exists()
    mutants.report(part, counts, unnoticed)
    assert "toy/sums.py:9" in capsys.readouterr().out


def test_nothing_is_tried_when_a_file_has_no_function(toy: Path) -> None:
    pytest.importorskip("mutmut", reason="the extra mutants is not installed")
    part = mutants.Part(("toy/__init__.py",), ("tests/test_sums.py",))
    assert mutants.try_part(toy, part, count=20, seed=0, limit_s=60) == ({}, [])


def test_run_stops_with_the_reason_when_the_tests_already_fail(toy: Path) -> None:
    pytest.importorskip("mutmut", reason="the extra mutants is not installed")
    (toy / "tests/test_sums.py").write_text(TOY_TESTS.replace("== 15", "== 16"))
    with pytest.raises(RuntimeError, match="test_area"):
        mutants.try_part(toy, mutants.Part(("toy/sums.py",), ("tests/test_sums.py",)), 20, 0, 60)


def test_sample_of_a_module_depends_on_the_seed_and_not_on_other_modules() -> None:
    one, other = ([f"{module}.x_f__mutmut_{i}" for i in range(100)] for module in ("a.b", "a.c"))
    few = mutants.sample(one, 5, seed=0)
    assert len(set(few)) == 5
    assert [name for name in mutants.sample(one + other, 5, seed=0) if name in one] == few
    assert mutants.sample(one, 5, seed=1) != few
    assert mutants.sample(one, 500, seed=0) == sorted(one)


@pytest.mark.parametrize(
    ("after", "is_noise"),
    [
        ('zip(f("XXaXX"), x, strict=True)', True),
        ('zip(f("a"), x, strict=None)', True),
        ('zip(f("a"), x, )', True),
        ('zip(f("a"), y, strict=True)', False),
        ("zip(f(None), x, strict=True)", False),
    ],
)
def test_survivor_is_noise_when_only_text_or_strictness_differs(after: str, is_noise: bool) -> None:
    assert mutants.Survivor("a.py", 1, 'zip(f("a"), x, strict=True)', after, "").is_noise is is_noise


def test_every_line_of_the_table_names_files_and_tests_that_exist() -> None:
    table = yaml.safe_load(mutants.PARTS.read_text())
    parts = mutants.load_parts(mutants.ROOT, mutants.PARTS)
    assert len(parts) == len(table), "a line of tests/mutants/parts.yaml matches no file"
    missing = [path for part in parts for path in part.tests if not (mutants.ROOT / path).exists()]
    assert not missing, f"tests/mutants/parts.yaml names tests that do not exist: {missing}"
