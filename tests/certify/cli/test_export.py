"""``leanmark export``: what goes where, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from certify.attest.verification import Signature
from certify.core.finding import Finding
from certify.export import Export
from certify.export.source import Signer

Run = Callable[..., Result]
Make = Callable[..., Path]


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What verify finds, and what is exported; both may be changed."""
    found: dict[str, Any] = {"valid": True, "trusted": True, "lineage": "skipped"}

    def verify(path: Path, *_: Any) -> SimpleNamespace:
        return SimpleNamespace(
            path=path,
            certificate=object(),
            failed=[] if found["valid"] else [Finding("seal", "fail", "It is broken.")],
            derived=True,
            trusted=found["trusted"],
            certificates=(None,),
            signatures=found.get("signatures", ()),
            check=lambda name: SimpleNamespace(outcome=found["lineage"]),
        )

    def export(certificate: object, name: str, lineage: Any = None, others: Any = (), signers: Any = ()) -> Export:
        found["given"], found["signers"] = lineage, signers
        return Export(name, '{"a": 1}\n', ("predicate.x\x1b[31m", "predicate.y.0", "predicate.y.1"))

    monkeypatch.setattr("certify.attest.verify.verify", verify)
    monkeypatch.setattr("certify.export.export", export)
    return found


def test_export_prints_the_document_alone_and_lists_omissions_when_no_file_is_named(
    leanmark: Run, onnx_file: Make, verified: dict[str, Any]
) -> None:
    result = leanmark("export", onnx_file(), "--format", "spdx3")
    assert result.exit_code == 0, result.output
    assert result.stdout == '{"a": 1}\n'
    assert result.stderr == (
        "spdx3 cannot represent 3 fields of the certificate:\n  predicate.x [31m\n  predicate.y.* (2)\n"
    )


def test_export_writes_file_when_it_is_named(
    leanmark: Run, onnx_file: Make, verified: dict[str, Any], tmp_path: Path
) -> None:
    verified["trusted"] = False
    out = tmp_path / "model.cdx.json"
    result = leanmark("export", onnx_file(), "--format", "cyclonedx", "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_text() == '{"a": 1}\n'
    assert result.stdout == f"{out}\n"
    assert "a key you do not trust" in result.stderr
    shown = json.loads(leanmark("export", onnx_file(), "--format", "cyclonedx", "--out", out, "--json").stdout)
    assert shown == {"format": "cyclonedx", "path": str(out), "left_out": ["predicate.x\x1b[31m", "predicate.y.0",
                                                                           "predicate.y.1"]}  # fmt: skip


def test_export_includes_the_lineage_when_it_is_the_signed_one(
    leanmark: Run, onnx_file: Make, verified: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certify.attest.certificate.read_lineage", lambda path: {"name": path.name})
    leanmark("export", onnx_file(), "--format", "in-toto")
    assert verified["given"] is None
    verified["lineage"] = "pass"
    leanmark("export", onnx_file(), "--format", "in-toto")
    assert verified["given"] == {"name": "lineage.json"}


def test_export_is_refused_when_certificate_does_not_hold(
    leanmark: Run, onnx_file: Make, verified: dict[str, Any]
) -> None:
    verified["valid"] = False
    result = leanmark("export", onnx_file(), "--format", "in-toto")
    assert result.exit_code == 1
    assert "nothing is shown: It is broken." in result.stderr
    assert not result.stdout


def test_export_names_the_nearest_when_format_is_unknown(leanmark: Run, onnx_file: Make) -> None:
    result = leanmark("export", onnx_file(), "--format", "cyclone")
    assert result.exit_code == 2
    assert "did you mean 'cyclonedx'" in result.stderr


def test_export_names_countersigners(leanmark: Run, onnx_file: Make, verified: dict[str, Any]) -> None:
    verified["signatures"] = (
        Signature("maker", "11" * 8, None, True, "self-attested", True),
        Signature("verifier", "22" * 8, "lab", True, "reproduced", False),
    )
    assert leanmark("export", onnx_file(), "--format", "cyclonedx").exit_code == 0
    assert verified["signers"] == [Signer("22" * 8, "lab", "reproduced", False)]
