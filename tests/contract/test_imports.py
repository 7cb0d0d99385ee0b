"""The houses and the one arrow: compress may import certify, never the other way round."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "torch_pruning", "onnxscript", "pynvml", "openvino"}
ADAPTERS = {"certify/measure/runtimes", "certify/measure/meters"}
"""The only folders of the referee in which a device's or a runtime's library may be imported, inside functions."""

PURE_FORBIDDEN = {"time", "datetime", "random", "os", "subprocess", "socket", "onnxruntime", "pynvml", "psutil"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def top_level(tree: ast.Module) -> set[str]:
    body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported(ast.Module(body=body, type_ignores=[]))


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", modules("certify"), ids=lambda p: str(p.relative_to(ROOT)))
def test_certify_does_not_import_compress(path: Path) -> None:
    assert "compress" not in tops(imported(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", modules("certify"), ids=lambda p: str(p.relative_to(ROOT)))
def test_certify_imports_device_libraries_only_inside_adapters(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not HEAVY & tops(top_level(tree))
    if not any(str(path.relative_to(ROOT)).startswith(folder) for folder in ADAPTERS):
        assert not HEAVY & tops(imported(tree))


@pytest.mark.parametrize("path", modules("certify/assessments/efficiency"), ids=lambda p: str(p.relative_to(ROOT)))
def test_judging_modules_touch_no_clock_and_no_device(path: Path) -> None:
    assert not PURE_FORBIDDEN & tops(imported(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", modules("certify/assessments/efficiency"), ids=lambda p: str(p.relative_to(ROOT)))
def test_judging_modules_do_not_import_measuring_or_sealing(path: Path) -> None:
    names = imported(ast.parse(path.read_text()))
    assert not {n for n in names if n.startswith(("certify.measure", "certify.attest", "certify.cli", "certify.api"))}


def test_import_arrows_inside_each_house_have_no_cycle() -> None:
    order = {
        "certify.core.errors": 0,
        "certify.assessments.efficiency": 1,
        "certify.data": 1,
        "certify.model_file.onnx_graph": 1,
        "certify.core.schema": 1,
        "certify.present": 2,
        "certify.attest": 2,
        "certify.measure": 3,
        "certify.export": 3,
        "certify.comparison": 3,
        "certify.api": 4,
        "certify.cli": 5,
    }

    def rank(name: str) -> int | None:
        return next((order[key] for key in order if name == key or name.startswith(key + ".")), None)

    upward = []
    for path in modules("certify"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in top_level(ast.parse(path.read_text())):
            here, there = rank(own), rank(name)
            if here is not None and there is not None and there > here:
                upward.append(f"{own} -> {name}")
    assert not upward


def test_import_certify_loads_neither_torch_nor_pynvml() -> None:
    check = (
        "import sys, certify; heavy = {'torch', 'pynvml', 'onnxruntime', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy; certify.verify; certify.Estimate; certify.certify; "
        "heavy = {'torch', 'torchvision', 'pynvml'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
