"""The packages and the arrows between them: who may import whom, function-level imports included."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GROUND = frozenset({"certify.core"})
"""What every other part may import; its modules must not form a cycle among themselves either."""

ARROWS: dict[str, set[str]] = {
    "certify.model_file": set(),
    "certify.data": {"certify.model_file"},
    # Measuring and attesting stand side by side, with no arrow between them.
    "certify.measure": {"certify.data", "certify.model_file"},
    # What an assessment is, and the list of them, lies below; no assessment knows another.
    "certify.assessment": {"certify.model_file"},
    "certify.assessments": set(),
    "certify.assessments.efficiency": {"certify.assessment", "certify.data", "certify.model_file"},
    "certify.assessments.data_use": {"certify.assessment"},
    "certify.assessments.declarations": {"certify.assessment"},
    "certify.assessments.federation": {"certify.assessment"},
    "certify.assessments.privacy": {"certify.assessment", "certify.data"},
    "certify.assessments.privacy_audit": {"certify.assessment"},
    "certify.assessments.robustness": {"certify.assessment"},
    "certify.assessments.social": {"certify.assessment"},
    "certify.attest": {"certify.assessment", "certify.model_file"},
    "certify.scorecard": {"certify.assessment", "certify.attest", "certify.model_file"},
    "certify.workflows": set(),
    "certify.workflows.scoring": {
        "certify.assessment", "certify.attest", "certify.scorecard", "certify.workflows.statements",
    },
    "certify.workflows.signed_score": {"certify.attest", "certify.scorecard"},
    "certify.workflows.mark_check": {"certify.attest", "certify.scorecard"},
    "certify.workflows.mark_trust": {"certify.attest", "certify.scorecard", "certify.workflows.signed_score"},
    "certify.workflows.award": {
        "certify.attest", "certify.scorecard", "certify.workflows.scoring", "certify.workflows.signed_score",
    },
    "certify.workflows.renewal": {"certify.attest", "certify.scorecard", "certify.workflows.signed_score"},
    "certify.present": {"certify.assessment", "certify.assessments.efficiency", "certify.attest"},
    "certify.export": {
        "certify.assessment", "certify.assessments.declarations", "certify.assessments.efficiency", "certify.present",
        "certify.scorecard",
    },
    "certify.comparison": {"certify.assessment", "certify.assessments.efficiency", "certify.attest", "certify.present"},
    "certify.workflows.profile_result": {"certify.assessment", "certify.assessments.efficiency", "certify.present"},
    "certify.workflows.profiling": {
        "certify.assessments.efficiency", "certify.data", "certify.measure", "certify.present",
        "certify.workflows.profile_result",
    },
    "certify.workflows.group_audit": {
        "certify.assessment", "certify.assessments.social", "certify.data", "certify.measure", "certify.present",
        "certify.workflows.group_records",
    },
    "certify.workflows.declaration": {
        "certify.assessment", "certify.assessments.declarations", "certify.attest", "certify.data",
        "certify.model_file", "certify.workflows.statements",
    },
    "certify.workflows.certification_result": {"certify.assessments.efficiency", "certify.present"},
    "certify.workflows.group_statement": {
        "certify.assessments.social", "certify.attest", "certify.workflows.group_records",
    },
    "certify.workflows.group_records": {
        "certify.assessment", "certify.assessments.social", "certify.data", "certify.measure",
    },
    "certify.workflows.issuance": {"certify.assessment", "certify.attest", "certify.data"},
    "certify.workflows.registry_page": {
        "certify.assessment", "certify.attest", "certify.present", "certify.scorecard",
        "certify.workflows.mark_trust", "certify.workflows.renewal",
    },
    "certify.workflows.regrade": {
        "certify.assessment", "certify.assessments.efficiency", "certify.attest", "certify.data",
        "certify.model_file", "certify.workflows.issuance",
    },
    "certify.workflows.remeasurement": {
        "certify.assessments.efficiency", "certify.attest", "certify.data", "certify.measure", "certify.model_file",
    },
    "certify.workflows.data_governance": {"certify.data"},
    "certify.workflows.receipt_check": {"certify.assessments.federation", "certify.attest"},
    "certify.workflows.use_control": {"certify.assessments.data_use", "certify.attest", "certify.data"},
    "certify.workflows.robustness_statement": {
        "certify.assessment", "certify.assessments.robustness", "certify.attest", "certify.data",
        "certify.workflows.robustness_records", "certify.workflows.statements",
    },
    "certify.workflows.robustness_records": {
        "certify.assessment", "certify.assessments.robustness", "certify.data", "certify.measure",
        "certify.model_file", "certify.workflows.trigger_check", "certify.workflows.witness_check",
    },
    "certify.workflows.witness_game": {
        "certify.assessments.robustness", "certify.attest", "certify.data", "certify.measure", "certify.model_file",
        "certify.workflows.witness_check",
    },
    "certify.workflows.trigger_check": {
        "certify.assessments.robustness", "certify.data", "certify.measure", "certify.workflows.witness_check",
    },
    "certify.workflows.witness_check": {"certify.data", "certify.measure"},
    "certify.workflows.statements": {"certify.assessment", "certify.attest", "certify.present"},
    "certify.api": {
        "certify.assessments.efficiency", "certify.assessments.social", "certify.attest", "certify.data",
        "certify.measure", "certify.model_file", "certify.present", "certify.workflows.certification_result",
        "certify.workflows.group_records", "certify.workflows.group_statement", "certify.workflows.issuance",
        "certify.workflows.profiling",
    },
    "certify.cli": {
        "certify.api", "certify.assessment", "certify.assessments.declarations", "certify.assessments.efficiency",
        "certify.attest", "certify.comparison", "certify.data", "certify.export", "certify.measure",
        "certify.model_file", "certify.present", "certify.scorecard", "certify.workflows.award",
        "certify.workflows.certification_result", "certify.workflows.data_governance",
        "certify.workflows.declaration", "certify.workflows.group_audit", "certify.workflows.mark_trust",
        "certify.workflows.profile_result", "certify.workflows.profiling", "certify.workflows.receipt_check",
        "certify.workflows.registry_page", "certify.workflows.regrade", "certify.workflows.remeasurement",
        "certify.workflows.renewal", "certify.workflows.robustness_statement", "certify.workflows.scoring",
        "certify.workflows.statements", "certify.workflows.use_control", "certify.workflows.witness_game",
    },
    "certify.testing": {"certify.assessment", "certify.assessments.efficiency", "certify.attest", "certify.measure"},
    "certify": set(),
    # The maker is one part here; test_compress.py holds the arrows inside of it.
    "compress": {
        "certify.api", "certify.assessment", "certify.assessments.data_use", "certify.assessments.efficiency",
        "certify.assessments.federation", "certify.assessments.privacy", "certify.assessments.privacy_audit",
        "certify.attest", "certify.data", "certify.measure", "certify.model_file", "certify.present",
        "certify.testing", "certify.workflows.certification_result", "certify.workflows.statements",
        "certify.workflows.witness_check",
    },
    "compress.cli": {
        "certify.attest", "certify.cli", "certify.data", "certify.measure", "certify.model_file",
        "certify.workflows.scoring", "certify.workflows.use_control", "compress",
    },
}  # fmt: skip
"""What each part may import besides itself and GROUND; a module is of the longest name here that it begins with."""

TYPE_ONLY: dict[str, set[str]] = {
    "certify.export": {"certify.attest"},
    "certify.api": {"certify.workflows.profile_result"},
    "certify.workflows.certification_result": {"certify.assessment", "certify.attest"},
    "certify": {
        "certify.api", "certify.attest", "certify.comparison", "certify.data", "certify.measure", "certify.present",
        "certify.workflows.certification_result", "certify.workflows.declaration", "certify.workflows.group_audit",
        "certify.workflows.robustness_statement", "certify.workflows.statements",
    },
}  # fmt: skip
"""What a part may import under TYPE_CHECKING in addition: an annotation loads nothing."""

FUNCTION_LEVEL = {"certify": 2, "compress": 0}
"""Most imports of own modules inside functions, outside of package doors (``__init__.py``) and ``cli`` folders."""

DOOR = {"certify", "certify.__version__"}
"""What anybody may take from the door: the version, or the package to find it in."""

HEAVY = {"torch", "torchvision", "torch_pruning", "onnxscript", "pynvml", "openvino"}
ADAPTERS = ("certify.measure.runtimes", "certify.measure.meters")
"""The only packages of the referee in which a device's or a runtime's library may be imported, inside functions."""

PURE_FORBIDDEN = {"time", "datetime", "random", "os", "subprocess", "socket", "onnxruntime", "pynvml", "psutil"}


@dataclass(frozen=True)
class Import:
    """One imported name, and whether it is loaded with the ``module``, in a ``function``, or for a ``type`` only."""

    name: str
    when: str
    line: int

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def read_imports(source: str, package: str = "") -> list[Import]:
    """All imports of a source text; ``from a import b`` gives ``a.b``, relative ones start at ``package``."""
    return list(_walk(ast.parse(source), package.split("."), "module"))


def _walk(node: ast.AST, package: list[str], when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, when, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            start = package[: len(package) - child.level + 1] if child.level else []
            base = ".".join([*start, *([child.module] if child.module else [])])
            yield from (Import(f"{base}.{alias.name}", when, child.lineno) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _walk(ast.Module(child.body, []), package, "type")
            yield from _walk(ast.Module(child.orelse, []), package, when)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and when == "module":
            yield from _walk(child, package, "function")
        else:
            yield from _walk(child, package, when)


@functools.cache
def tree(package: str) -> dict[str, list[Import]]:
    """Imports of all modules of a top package, by module; a door goes by its package's name with ``.__init__``."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts)] = read_imports(path.read_text(), ".".join(parts[:-1]))
    assert len(found) > 50
    return found


def part_of(name: str) -> str | None:
    """The line of the table that a module or a name in it belongs to."""
    known = [part for part in (*ARROWS, *GROUND) if name == part or name.startswith(part + ".")]
    return max(known, key=len, default=None)


def listed(lines: list[str]) -> str:
    return "\n  ".join(["", *lines])


def offending(package: str, wrong: set[str], whens: tuple[str, ...] = ("module", "function", "type")) -> list[str]:
    """Imports of a package's modules whose top name is one of those, as "module:line -> name"."""
    return [
        f"{module}:{each.line} -> {each.name}"
        for module, imports in {**tree("certify"), **tree("compress")}.items()
        for each in imports
        if f"{module}.".startswith(package + ".") and each.top in wrong and each.when in whens
    ]


def test_imports_are_classified_when_a_source_has_all_kinds() -> None:
    source = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from c import D
else:
    import e
try:
    from . import f
except ImportError:
    from ..g import h
class K:
    import l
    def m(self):
        from n import o
        if TYPE_CHECKING:
            import p
"""
    found = {each.name: each.when for each in read_imports(source, "top.sub")}
    del found["typing.TYPE_CHECKING"]
    assert found == {
        "a.b": "module", "c.D": "type", "e": "module", "top.sub.f": "module", "top.g.h": "module", "l": "module",
        "n.o": "function", "p": "type",
    }  # fmt: skip


def test_certify_does_not_import_compress() -> None:
    wrong = offending("certify", {"compress"})
    assert not wrong, listed(wrong)


def test_certify_imports_device_libraries_only_inside_adapters() -> None:
    early = offending("certify", HEAVY, ("module",))
    outside = [line for line in offending("certify", HEAVY) if not line.startswith(tuple(f"{a}." for a in ADAPTERS))]
    assert not early + outside, listed(early + outside)


JUDGING = ("certify.assessment", "certify.assessments")


def test_judging_modules_touch_no_clock_and_no_device() -> None:
    wrong = [line for part in JUDGING for line in offending(part, PURE_FORBIDDEN)]
    assert not wrong, listed(wrong)


def test_judging_modules_do_not_import_measuring_or_sealing() -> None:
    far = ("certify.measure", "certify.attest", "certify.cli", "certify.api")
    found = [line for part in JUDGING for line in offending(part, {"certify"})]
    wrong = [line for line in found if line.split(" -> ")[1].startswith(far)]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("package", ["certify", "compress"])
def test_imports_follow_the_arrows_of_the_table(package: str) -> None:
    wrong = []
    for module, imports in tree(package).items():
        here = part_of(module) or package
        for each in imports:
            there = part_of(each.name)
            if there in (None, here) or there in GROUND or each.name in DOOR:
                continue
            if there in ARROWS[here] or (each.when == "type" and there in TYPE_ONLY.get(here, set())):
                continue
            wrong.append(f"{module}:{each.line} -> {each.name} ({each.when})")
    assert not wrong, f"neither in ARROWS nor, for types, in TYPE_ONLY:{listed(wrong)}"


def test_table_has_no_cycle_and_no_unused_arrow() -> None:
    taken: dict[str, set[str]] = {part: set() for part in (*ARROWS, *GROUND)}
    for module, imports in {**tree("certify"), **tree("compress")}.items():
        here = part_of(module) or ""
        taken[here] |= {there for each in imports if (there := part_of(each.name)) and there != here}
    ground = {part: taken[part] for part in GROUND}
    tuple(graphlib.TopologicalSorter({**ARROWS, **ground}).static_order())  # raises CycleError
    unused = [
        f"{here} -> {there}"
        for table in (ARROWS, TYPE_ONLY)
        for here, arrows in table.items()
        for there in sorted(arrows - taken[here])
    ]
    assert not unused, f"delete these arrows from the table:{listed(unused)}"


def test_every_part_of_certify_has_a_line_in_the_table() -> None:
    assert {path.stem for path in (ROOT / "certify").glob("*.py")} == {"__init__", "api"}
    folders = {path.parent.name for path in (ROOT / "certify").glob("*/__init__.py")}
    folders |= {f"assessments.{path.parent.name}" for path in (ROOT / "certify/assessments").glob("*/__init__.py")}
    folders |= {f"workflows.{path.stem}" for path in (ROOT / "certify/workflows").glob("[a-z]*.py")}
    missing = {f"certify.{name}" for name in {*folders, "api"}} ^ {n for n in (*ARROWS, *GROUND) if n[:8] == "certify."}
    assert not missing, listed(sorted(missing))


@pytest.mark.parametrize("package", FUNCTION_LEVEL)
def test_function_level_imports_of_own_modules_do_not_increase(package: str) -> None:
    lines = Counter(
        module
        for module, imports in tree(package).items()
        if not module.endswith(".__init__") and ".cli." not in module
        for line in {each.line for each in imports if each.when == "function" and each.top in FUNCTION_LEVEL}
    )
    count, most = sum(lines.values()), FUNCTION_LEVEL[package]
    assert count <= most, (
        f"{package} has {count} imports of own modules inside functions and may have {most}: move the new one to the "
        f"top of its module. When the number falls, lower FUNCTION_LEVEL to it.{listed([str(lines)])}"
    )


def test_import_certify_loads_neither_torch_nor_pynvml() -> None:
    check = (
        "import sys, certify; heavy = {'torch', 'pynvml', 'onnxruntime', 'pydantic', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy; certify.verify; certify.Estimate; certify.certify; "
        "heavy = {'torch', 'torchvision', 'pynvml'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_help_of_the_command_loads_no_validation() -> None:
    check = (
        "import sys; from click.testing import CliRunner; from certify.cli.main import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_listing_passes_and_recipes_loads_no_torch() -> None:
    check = (
        "import sys; from click.testing import CliRunner; from certify.cli.main import main; "
        "[CliRunner().invoke(main, [name], catch_exceptions=False) for name in ('passes', 'recipes')]; "
        "heavy = {'torch', 'onnxruntime'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
