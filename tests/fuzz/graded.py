"""A small graded folder to attack, made as in the tests, and verify's answer about it."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import onnx

from certify.attest.keys import SigningKey, generate
from certify.attest.verification import Verification
from certify.attest.verify import verify
from certify.core.evidence import Evidence, ModelFacts
from certify.data.contract_slot import normalise
from certify.data.dataset import samples_digest
from certify.model_file.onnx_file.seal import seal, unsealed_bytes
from certify.model_file.pt2.archive import read_exported
from certify.model_file.pt2.facts import count_exported
from certify.model_file.subject import subject_digests
from certify.workflows.issuance import issue

TESTS = Path(__file__).resolve().parent.parent
FILES = ("model.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg", "baseline.onnx")


@functools.cache
def fixtures(where: str) -> ModuleType:
    """A module of the tests that builds models, papers or evidence."""
    name = f"leanmark_fuzz_{where.replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{where}.py")
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Graded:
    """A certified model with its papers.

    Attributes:
        folder: where everything lies.
        key: that signed.
        name: of the certified file.
    """

    folder: Path
    key: SigningKey
    name: str = "model.onnx"

    @property
    def model(self) -> Path:
        return self.folder / self.name

    def verify(self) -> Verification:
        return verify(self.model, trust=[self.key.public])

    def copy(self, to: Path, without: tuple[str, ...] = ()) -> Graded:
        """Another folder of the same, less some files."""
        shutil.copytree(self.folder, to)
        for name in without:
            (to / name).unlink(missing_ok=True)
        return Graded(to, self.key, self.name)

    def reseal(self, envelope: bytes) -> None:
        """Put another certificate into the file and beside it, as somebody would who controls everything."""
        bare = self.folder / "bare.onnx"
        bare.write_bytes(self.model.read_bytes()[: unsealed_bytes(self.model)])
        seal(bare, self.model, envelope)
        bare.unlink()
        (self.folder / "certificate.json").write_bytes(envelope)

    def unseal(self) -> None:
        """Take the certificate out of the file, so that the one beside it counts."""
        self.model.write_bytes(self.model.read_bytes()[: unsealed_bytes(self.model)])


def make(folder: Path, seed: int = 0, ratio: float = 0.3) -> Graded:
    """Build, certify and sign a small model; another seed gives another model."""
    papers = fixtures("certify/attest/conftest")
    folder.mkdir(parents=True, exist_ok=True)
    model = papers.build_model()
    if seed:
        model.graph.node[0].name = f"conv{seed}"
    onnx.save(model, folder / "foreign.onnx")
    normalise(folder / "foreign.onnx", folder / "candidate.onnx", papers.contract())
    key = generate(folder / "keys" / "k.key")
    out = folder / "graded"
    papers.write_papers(out, folder / "candidate.onnx", evidence_of(folder / "candidate.onnx", seed, ratio), key)
    return Graded(out, key)


def make_program(folder: Path) -> Graded:
    """The same of a program as torch exports it, which cannot carry a seal."""
    papers = fixtures("certify/attest/conftest")
    folder.mkdir(parents=True)
    fixtures("certify/attest/test_subject").write_program(folder / "exported.pt2")
    contract = papers.contract(input_name="x", output_name="y")
    normalise(folder / "exported.pt2", folder / "candidate.pt2", contract)
    digests = subject_digests(folder / "candidate.pt2")
    counts = count_exported(read_exported(folder / "candidate.pt2"))
    size = (folder / "candidate.pt2").stat().st_size
    facts = ModelFacts(digests["sha256"], digests["leanmarkContent"], size, counts.parameters, counts.macs, 1.0, ())
    key, out = generate(folder / "keys" / "k.key"), folder / "graded"
    issue(
        folder / "candidate.pt2", evidence_about(facts, folder / "candidate.pt2", 0, 0.3), None, contract, {}, out, key
    )
    return Graded(out, key, "model.pt2")


def evidence_of(candidate: Path, seed: int, ratio: float) -> Evidence:
    """Honest made-up evidence about a file."""
    facts: ModelFacts = fixtures("certify/attest/conftest").facts_of(candidate)
    return evidence_about(facts, candidate, seed, ratio)


def evidence_about(facts: ModelFacts, candidate: Path, seed: int, ratio: float) -> Evidence:
    """Honest made-up evidence about a model of which that is known."""
    synthetic = fixtures("certify/efficiency/synthetic")
    build = synthetic.make_evidence
    knobs = {"samples": 600, "both": 590, "ratio": ratio, "seed": seed, "latencies": 50}
    predictions = build(**knobs).predictions
    digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
    data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": 600, "test_digest": digest, "classes": 10}
    header = {"models": {"baseline": facts, "candidate": facts}, "data": data}
    observed = synthetic.observed_in(candidate, candidate)
    evidence: Evidence = build(header=header, observations=observed, **knobs)
    return evidence


@contextmanager
def own_folders(folder: Path) -> Iterator[None]:
    """No key, cache or state of the user is seen or made."""
    names = ("LEANMARK_CONFIG_HOME", "LEANMARK_CACHE_HOME", "LEANMARK_STATE_HOME")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(folder / name.lower()) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
