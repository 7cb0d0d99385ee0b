"""The maker's packages: which may import which, and what its public face shows."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import compress
from compress import passes

ROOT = Path(__file__).resolve().parents[2]

ARROWS = {
    "core": {"models"},
    "models": {"core"},
    "onnx_graph": {"core"},
    "training": {"core", "models"},
    "quantization": {"core", "models", "onnx_graph"},
    "exchange": {"core", "models", "onnx_graph", "quantization"},
    "pruning": {"core", "exchange", "models", "onnx_graph", "quantization", "training"},
    "costs": {"core", "exchange", "onnx_graph", "pruning", "quantization"},
    "private": {"core", "models", "training"},
    "federated": {"core", "exchange", "private", "training"},
    "passes": {
        "core",
        "exchange",
        "models",
        "onnx_graph",
        "costs",
        "federated",
        "private",
        "pruning",
        "quantization",
        "training",
    },
    "job": {"core", "costs", "exchange", "federated", "models", "passes", "private", "training"},
    "testing": {"core", "exchange", "passes"},
    "search": {"core", "costs", "exchange", "job", "passes", "training"},
    "attacks": {"core", "exchange", "models"},
    "auditing": {"core", "job", "models"},
    "cli": {
        "attacks",
        "auditing",
        "core",
        "costs",
        "federated",
        "job",
        "models",
        "passes",
        "search",
        "training",
    },  # fmt: skip
}
"""What each package may import of the others, in functions and for types too."""

ONLY_DOORS = {
    "core": {"models.built_model"},
    "models": {"core.foreign_code", "core.lazy", "core.model_stats", "core.samples"},
}
"""Where two packages import each other: the only modules of the other that one may import."""

LAZY = {"__init__.py", "cli"}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                f"{node.module}.{alias.name}" if node.module == "compress" else node.module for alias in node.names
            }
    return {name for name in names if name.startswith("compress.")}


def _sources() -> list[Path]:
    return [path for path in sorted((ROOT / "compress").rglob("*.py")) if path.parent != ROOT / "compress"]


def test_packages_import_only_what_the_table_allows() -> None:
    wrong = []
    for path in _sources():
        own = path.relative_to(ROOT / "compress").parts[0]
        for name in _imports(path):
            other, _, rest = name.removeprefix("compress.").partition(".")
            allowed = other == own or other in ARROWS[own]
            if own in ONLY_DOORS and other in ARROWS[own]:
                allowed = f"{other}.{rest}" in ONLY_DOORS[own]
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} -> {name}")
    assert not wrong


def test_own_modules_are_imported_at_the_top_of_a_file() -> None:
    inside = []
    for path in _sources():
        if LAZY & set(path.relative_to(ROOT / "compress").parts):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                found = {node.module or "" for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
                inside += [f"{path.name}: {name}" for name in found if name.startswith(("compress", "certify"))]
    assert not inside


def test_defaults_of_parameters_are_keywords_so_that_type_checkers_see_them() -> None:
    positional = []
    for path in _sources():
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Field" and call.args:
                positional.append(f"{path.name}: {call.lineno}")
    assert not positional


def test_nothing_heavy_is_loaded_when_compress_is_imported() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'numpy', 'pydantic', 'scipy'}"
    check = f"import sys, compress; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_every_name_of_a_lazy_package_is_found() -> None:
    names = [each.name for each in pkgutil.walk_packages(compress.__path__, "compress.") if each.ispkg]
    lazy = [package for package in map(importlib.import_module, names) if "__getattr__" in vars(package)]
    assert len(lazy) > 10
    missing = [
        f"{package.__name__}.{name}" for package in lazy for name in dir(package) if not _is_found(package, name)
    ]
    assert not missing


def _is_found(package: ModuleType, name: str) -> bool:
    try:
        return hasattr(package, name)
    except ModuleNotFoundError:
        return False


def test_every_registered_pass_is_public() -> None:
    kinds = {passes.find(name) for name in passes.names()}
    assert kinds == {getattr(compress, kind.__name__) for kind in kinds}


def test_signature_of_run_is_the_real_one() -> None:
    parameters = inspect.signature(compress.run).parameters
    assert list(parameters)[:3] == ["model", "recipe", "data"]
    assert parameters["recipe"].default == "balanced"
