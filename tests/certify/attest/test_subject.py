"""A certified file that cannot contain a seal, with its certificate next to it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import certify
from certify.attest.audit import audit
from certify.attest.certificate import Certificate
from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.files import sha256_file
from certify.data.contract_slot import normalise
from certify.data.preprocess import Preprocess
from certify.model_file.pt2.archive import read_exported
from certify.model_file.pt2.facts import count_exported
from certify.model_file.subject import subject_digests
from certify.workflows.issuance import issue
from certify.workflows.regrade import issue_regrade, regrade

WEIGHT = np.arange(24, dtype=np.float32)


def write_program(path: Path) -> None:
    """What torch writes of a linear layer, in its plainest form."""

    def tensor(*sizes: int) -> dict[str, Any]:
        return {"dtype": 7, "sizes": [{"as_int": size} for size in sizes]}

    node = {
        "target": "torch.ops.aten.linear.default",
        "inputs": [{"name": "input", "arg": {"as_tensor": {"name": "x"}}},
                   {"name": "weight", "arg": {"as_tensor": {"name": "w"}}}],
        "outputs": [{"as_tensor": {"name": "y"}}],
    }  # fmt: skip
    graph = {"nodes": [node], "tensor_values": {"x": tensor(1, 8), "w": tensor(3, 8), "y": tensor(1, 3)}}
    signature = {
        "input_specs": [{"parameter": {"parameter_name": "w", "arg": {"name": "w"}}},
                        {"user_input": {"arg": {"as_tensor": {"name": "x"}}}}],
        "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "y"}}}}],
    }  # fmt: skip
    meta = {**tensor(3, 8), "storage_offset": {"as_int": 0}, "strides": [{"as_int": 8}, {"as_int": 1}]}
    weights = {"config": {"w": {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}}}
    program = {"graph_module": {"graph": graph, "signature": signature}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("net/models/model.json", json.dumps(program))
        archive.writestr("net/data/weights/model_weights_config.json", json.dumps(weights))
        archive.writestr("net/data/constants/model_constants_config.json", json.dumps({"config": {}}))
        archive.writestr("net/data/weights/weight_0", WEIGHT.tobytes())


@pytest.fixture
def program(
    tmp_path: Path,
    certified_evidence: Callable[..., Evidence],
    observed_in: Callable[[Path, Path], dict[str, Any]],
    key: SigningKey,
    make_contract: Callable[..., Preprocess],
) -> Path:
    """A certified program of another runtime."""
    source = tmp_path / "exported.pt2"
    write_program(source)
    evidence = certified_evidence(observations=observed_in(source, source))
    found, counts = subject_digests(source), count_exported(read_exported(source))
    facts = replace(
        evidence.header.models["candidate"],
        file_digest=found["sha256"],
        content_digest=found["leanmarkContent"],
        bytes=source.stat().st_size,
        macs=counts.macs,
        parameters=counts.parameters,
        bytes_moved=counts.bytes_moved,
    )
    header = replace(evidence.header, models={**evidence.header.models, "candidate": facts})
    issue(source, replace(evidence, header=header), None, make_contract(), {}, tmp_path / "program", key)
    return tmp_path / "program" / "model.pt2"


def test_verify_is_valid_when_the_certificate_is_next_to_an_unsealed_file(program: Path, key: SigningKey) -> None:
    certificate = Certificate.read(program.parent / "certificate.json")
    assert certificate.subject_digest["sha256"] == sha256_file(program)
    assert Certificate.read(program) == certificate
    verification: Any = verify(program, trust=[key.public])
    assert verification.exit_code == 0 and verification.derived
    assert verification.check("sidecar_identical").outcome == "skipped"
    assert verification.check("subject_facts").outcome == "pass"
    assert audit(program).agrees


def test_certify_puts_a_program_and_its_baseline_next_to_the_certificate(
    tmp_path: Path,
    certified_evidence: Callable[..., Evidence],
    observed_in: Callable[[Path, Path], dict[str, Any]],
    make_contract: Callable[..., Preprocess],
    key: SigningKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("small.pt2", "large.pt2"):
        write_program(tmp_path / name)

    def measured(sources: Any, normal: tuple[Path, Path], contracts: Any, *_: Any, **__: Any) -> Evidence:
        evidence = certified_evidence(observations=observed_in(*sources))
        facts = {}
        for arm, source, path, contract in zip(("baseline", "candidate"), sources, normal, contracts, strict=True):
            normalise(source, path, contract)
            found = subject_digests(path)
            known = evidence.header.models[arm]
            facts[arm] = replace(
                known, file_digest=found["sha256"], content_digest=found["leanmarkContent"], bytes_moved=None,
                bytes=path.stat().st_size, macs=count_exported(read_exported(path)).macs, parameters=24,
            )  # fmt: skip
        return replace(evidence, header=replace(evidence.header, models=facts))

    monkeypatch.setattr("certify.api._measure", measured)
    out, contract, data = tmp_path / "out", make_contract(), {"test": (np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))}
    result = certify.certify(
        tmp_path / "small.pt2", baseline=tmp_path / "large.pt2", data=data, out=out, preprocess=contract, signer=key
    )
    assert set(result.files) >= {"model.pt2", "baseline.pt2", "certificate.json", "evidence.jsonl"}
    assert result.model == out / "model.pt2" and str(result.model) in repr(result)
    assert verify(result.model, trust=[key.public]).check("companions").outcome == "pass"
    assert "<html" in result.report()
    write_program(out / "baseline.pt2")  # without the contract, so another file
    assert {check.name for check in verify(result.model, trust=[key.public]).failed} == {"companions"}


def test_verify_fails_when_an_unsealed_file_is_changed(program: Path, key: SigningKey) -> None:
    good = program.read_bytes()
    weights = good.index(WEIGHT.tobytes())
    for changed, name in (
        (good.replace(b"net/models", b"met/models"), "file_digest"),  # says the same
        (good[:weights] + b"\x01" + good[weights + 1 :], "content_digest"),
        (good[:-9], "content_digest"),
    ):
        program.write_bytes(changed)
        assert {check.name for check in verify(program, trust=[key.public]).failed} == {name}
    (program.parent / "certificate.json").unlink()
    with pytest.raises(CertificateError, match="No certificate was found"):
        verify(program)


def test_verify_fails_when_certificates_of_both_kinds_are_swapped(program: Path, folder: Path) -> None:
    sealed, unsealed = folder / "certificate.json", program.parent / "certificate.json"
    assert "content_digest" in {check.name for check in verify(program, certificate=sealed).failed}
    assert {"sidecar_identical"} <= {check.name for check in verify(folder / "model.onnx", unsealed).failed}


def test_regrade_copies_the_file_when_it_cannot_be_sealed(program: Path, key: SigningKey, tmp_path: Path) -> None:
    issue_regrade(regrade(program, "2026"), tmp_path / "later", key)
    assert (tmp_path / "later" / "model.pt2").read_bytes() == program.read_bytes()
    assert verify(tmp_path / "later" / "model.pt2", trust=[key.public]).exit_code == 0
