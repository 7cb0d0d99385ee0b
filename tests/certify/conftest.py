"""Fixtures that several parts of the referee's tests share."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import onnx
import pytest
from hypothesis import settings

from certify.assessments.efficiency.assessment import Efficiency
from certify.assessments.efficiency.edition import Edition, load_edition
from certify.attest.keys import SigningKey, generate
from certify.core.evidence import Evidence
from certify.core.evidence_file import parse_evidence
from certify.data.contract_slot import normalise
from certify.data.dataset import samples_digest
from certify.data.metrics import METRICS
from certify.measure.meters import METERS
from certify.measure.runtimes import RUNTIMES
from certify.present.label.sidecars import label_of
from certify.workflows.issuance import issue
from tests.hasty import hasty as hasty

KEPT = 32
"""Evidence files whose records are kept: most tests verify the same few again and again."""

# The same examples everywhere, and no time limit on machines that others share.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session", autouse=True)
def kept_records() -> Iterator[None]:
    """Evidence with the same bytes is parsed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Efficiency, "parse", staticmethod(functools.lru_cache(KEPT)(parse_evidence)))
        yield


def _module(stem: str, folder: str = "efficiency") -> ModuleType:
    """A module of a folder of tests/certify, which is not a package."""
    name = f"leanmark_tests_{folder}_{stem}"
    if name not in sys.modules:
        path = Path(__file__).parent / folder / f"{stem}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a distribution for this process and those that it starts: entry points by group, modules by name."""

    def install(name: str, groups: Mapping[str, Mapping[str, str]], **modules: str) -> Path:
        for registry in (METERS, METRICS, RUNTIMES):
            monkeypatch.delattr(registry, "_installed")
        folder = tmp_path_factory.mktemp(name)
        described = folder / f"{name}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = [[f"[{group}]", *map(" = ".join, named.items())] for group, named in groups.items()]
        (described / "entry_points.txt").write_text("\n".join(sum(points, [])))
        for module, text in modules.items():
            monkeypatch.delitem(sys.modules, module, raising=False)
            (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        return folder

    return install


class Certified(NamedTuple):
    """A certified model in a folder of its own, and the key that signed it."""

    path: Path
    key: SigningKey


@pytest.fixture(scope="session")
def stated() -> Callable[[str], None]:
    """Fails if SECURITY.md does not state a limit in these words."""
    text = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text().split())

    def check(limit: str) -> None:
        assert limit in text, f"SECURITY.md does not say: {limit}"

    return check


@pytest.fixture(scope="session")
def make_evidence() -> Callable[..., Evidence]:
    """The builder of tests/certify/efficiency/synthetic.py: honest evidence, with a knob for each fault."""
    return _module("synthetic").make_evidence  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def observed_in() -> Callable[[Path, Path], dict[str, Any]]:
    """What an honest measurement observes in the files of a baseline and a candidate."""
    return _module("synthetic").observed_in  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def with_predictions() -> Callable[..., Evidence]:
    """Puts other answers into evidence, to samples that are scored again or changed too."""
    return _module("synthetic").with_predictions  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def noise() -> ModuleType:
    """The simulated machines of tests/certify/efficiency/noise.py."""
    return _module("noise")


@pytest.fixture(scope="session")
def evidence(make_evidence: Callable[..., Evidence]) -> Evidence:
    """Complete and honest evidence of a candidate that takes 0.3 of its baseline's energy."""
    return make_evidence()


@pytest.fixture(scope="session")
def edition() -> Edition:
    """The edition of 2026."""
    return load_edition("2026")


@pytest.fixture(scope="session")
def certify_small(
    make_evidence: Callable[..., Evidence], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Certified]:
    """Certifies the small model of tests/certify/attest/conftest.py on synthetic evidence."""
    builders = _module("conftest", "attest")
    folder = tmp_path_factory.mktemp("small")
    onnx.save(builders.build_model(), folder / "foreign.onnx")
    normalise(folder / "foreign.onnx", folder / "candidate.onnx", builders.contract())
    facts = builders.facts_of(folder / "candidate.onnx")
    key = generate(folder / "signing.key")

    def make(
        header: dict[str, Any] | None = None, lineage: dict[str, Any] | None = None, model: str = "small", **knobs: Any
    ) -> Certified:
        """Header and lineage replace fields of the honest ones; other knobs are those of make_evidence."""
        predictions = make_evidence(**knobs).predictions
        digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
        data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": len(predictions), "test_digest": digest,
                "classes": 10}  # fmt: skip
        fields = {"models": {"baseline": facts, "candidate": facts}, "data": data, **(header or {})}
        out = tmp_path_factory.mktemp("graded")
        (out / "lineage.json").write_text(json.dumps({**builders.lineage_values(), **(lineage or {})}))
        file = folder / "candidate.onnx"
        observed = {**_module("synthetic").observed_in(file, file), **knobs.pop("observations", {})}
        evidence = make_evidence(header=fields, observations=observed, **knobs)
        certificate = issue(
            folder / "candidate.onnx", evidence, out / "lineage.json", builders.contract(), {}, out, key,
            model_name=model,
        )  # fmt: skip
        (out / "label.svg").write_text(label_of(certificate))
        return Certified(out / "model.onnx", key)

    return make
