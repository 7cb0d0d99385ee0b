"""What verification costs grows with the model: how often its bytes go through a digest, and how often it is parsed.

Counted and not timed, so that it holds on a busy machine; ``tests/benchmarks/verify_speed.py`` times 100 MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.core.evidence import Evidence, ModelFacts
from certify.data.contract_slot import normalise
from certify.data.dataset import samples_digest
from certify.data.preprocess import Preprocess
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.seal import file_digest
from certify.model_file.onnx_graph.counts import count

WEIGHT_BYTES = 4 << 20
"""Much more than all sidecar files together."""
PASSES = 2
"""One digest of the file, and one of its content."""


def large_model() -> onnx.ModelProto:
    columns = WEIGHT_BYTES // 4 // 192
    weight = np.random.default_rng(0).standard_normal((192, columns), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "head"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", columns])],
        [numpy_helper.from_array(weight, "head")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory,
    make_evidence: Callable[..., Evidence],
    observed_in: Callable[[Path, Path], dict[str, Any]],
    make_contract: Callable[..., Preprocess],
    make_papers: Callable[..., Path],
    key: SigningKey,
) -> Path:
    """A certified model of 4 MiB, without its baseline."""
    folder = tmp_path_factory.mktemp("large")
    onnx.save(large_model(), folder / "foreign.onnx")
    path = folder / "candidate.onnx"
    normalise(folder / "foreign.onnx", path, make_contract())
    model, predictions = parse_model(path), make_evidence().predictions
    counts = count(model, (3, 8, 8))
    facts = ModelFacts(
        file_digest(path), content_digest(model), path.stat().st_size, counts.parameters, counts.macs, 1.0, ()
    )
    digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
    data = {"name": "made up", "spec": "made up", "test_samples": len(predictions), "test_digest": digest,
            "classes": 10}  # fmt: skip
    header = {"models": {"baseline": facts, "candidate": facts}, "data": data}
    evidence = make_evidence(header=header, observations=observed_in(path, path))
    certified = make_papers(folder / "out", path, evidence, key)
    (folder / "out" / "baseline.onnx").unlink()
    return certified


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of what goes through SHA-256."""
    sizes: list[int] = []
    real = hashlib.sha256

    class Counted:
        def __init__(self, content: bytes = b"", **options: Any) -> None:
            self._digest = real(**options)
            self.update(content)

        def update(self, content: bytes) -> None:
            sizes.append(memoryview(content).nbytes)
            self._digest.update(content)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._digest, name)

    monkeypatch.setattr(hashlib, "sha256", Counted)
    return sizes


def test_verify_digests_the_model_twice_and_parses_it_once(
    large: Path, key: SigningKey, digested: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    real = onnx.ModelProto.ParseFromString
    monkeypatch.setattr(
        onnx.ModelProto, "ParseFromString", lambda self, content: parsed.append(len(content)) or real(self, content)
    )
    found = verify(large, trust=[key.public])
    assert found.derived, str(found)
    assert {check.outcome for check in found.checks if check.name in ("file_digest", "content_digest")} == {"pass"}
    passes = sum(digested) / WEIGHT_BYTES
    assert PASSES <= passes < PASSES + 0.5
    assert sum(parsed) < 1.5 * WEIGHT_BYTES
