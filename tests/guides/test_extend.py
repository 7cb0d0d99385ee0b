"""The guide recipes/guides/extend.md: its package is installed as printed, and its tests pass."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from certify.assessment import registry as assessments
from certify.core import registry
from certify.data.metrics import METRICS
from certify.measure.meters import METERS
from certify.measure.runtimes import RUNTIMES
from compress.passes import PASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

GUIDE = Path(__file__).resolve().parents[2] / "recipes" / "guides" / "extend.md"
FILES = dict(re.findall(r'^```\w+ title="([\w./-]+)"\n(.*?)^```$', GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE))
TESTS = sorted(name for name in FILES if name.startswith("tests/"))
POINTS = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
REGISTRIES = {
    "leanmark.passes": PASSES, "leanmark.meters": METERS, "leanmark.runtimes": RUNTIMES, "leanmark.metrics": METRICS,
    "leanmark.assessments": assessments.ASSESSMENTS,
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The guide's files in a folder, with the entry points of its pyproject.toml."""
    root = tmp_path_factory.mktemp("bench")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")

    def points(group: str) -> tuple[EntryPoint, ...]:
        return tuple(EntryPoint(name, value, group) for name, value in POINTS.get(group, {}).items())

    def forget() -> None:
        assessments._surveyed.cache_clear()
        for one in REGISTRIES.values():
            one.__dict__.pop("_installed", None)
        for module in [name for name in sys.modules if name.partition(".")[0] == "bench_tools"]:
            del sys.modules[module]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setattr(registry, "_entry_points", points)
        forget()
        yield root
    forget()


def test_every_kind_of_part_is_registered_and_loaded(package: Path) -> None:
    assert set(POINTS) == set(REGISTRIES)
    for group, named in POINTS.items():
        for name, place in named.items():
            assert name in REGISTRIES[group].names()
            assert REGISTRIES[group].load(name).__module__ == place.partition(":")[0]
    assert METERS.make("plug").name == "plug" and RUNTIMES.make("onnx-reference").device == "cpu"


@pytest.mark.parametrize("name", TESTS)
def test_test_of_the_guide_passes_as_printed(package: Path, tmp_path: Path, name: str) -> None:
    module = ModuleType(Path(name).stem)
    exec(compile(FILES[name], str(package / name), "exec"), vars(module))
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    assert tests
    for test in tests:
        test(**{"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {})


def test_every_part_has_a_test() -> None:
    parts = {place.partition(":")[0].rpartition(".")[2] for named in POINTS.values() for place in named.values()}
    assert {f"tests/test_{part}.py" for part in parts} == set(TESTS)
