"""Versions of the statement: the newest is written, every released one is read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from certify.assessment.assessment import Version
from certify.assessments.efficiency.assessment import PREDICATE_TYPE, Efficiency
from certify.attest import statement
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey
from certify.attest.statement import parse_statement
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.schema import load_schema
from certify.model_file.onnx_file.seal import seal, unsealed_bytes

PACKAGE = "certify.assessments.efficiency"
OLDER = "https://leanmark.org/secure/compute-efficiency/v0"


def older_schema() -> dict[str, Any]:
    """As the newest, but for the names of the type, of the version, and of one field."""
    schema = copy.deepcopy(load_schema("certificate-1", PACKAGE))
    schema["properties"]["predicateType"]["const"] = OLDER
    predicate = schema["$defs"]["predicate"]
    predicate["properties"]["version"]["const"] = 0
    predicate["properties"]["tries"] = predicate["properties"].pop("attempts")
    predicate["required"][predicate["required"].index("attempts")] = "tries"
    return schema


def downgraded(newest: dict[str, Any]) -> dict[str, Any]:
    predicate = {**newest["predicate"], "version": 0, "tries": newest["predicate"]["attempts"]}
    del predicate["attempts"]
    return {**newest, "predicateType": OLDER, "predicate": predicate}


def upgraded(older: dict[str, Any]) -> dict[str, Any]:
    predicate = {**older["predicate"], "version": 1, "attempts": older["predicate"]["tries"]}
    del predicate["tries"]
    return {**older, "predicateType": PREDICATE_TYPE, "predicate": predicate}


@pytest.fixture
def older_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release before the first, with a schema and an upgrade of its own."""
    schemas = {"certificate-0": older_schema()}
    monkeypatch.setattr(
        "certify.core.schema.load_schema",
        lambda name, package="certify.core.schema": schemas.get(name) or load_schema(name, package),
    )
    monkeypatch.setitem(Efficiency.versions, OLDER, Version("certificate-0", PACKAGE, upgraded))


def older_certificate(folder: Path, key: SigningKey) -> Path:
    """Puts the same certificate, as the older version would have written it, into the model and beside it."""
    newest = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
    envelope = sign(rfc8785.dumps(downgraded(newest)), key).to_bytes()
    model, bare = folder / "model.onnx", folder / "bare.onnx"
    bare.write_bytes(model.read_bytes()[: unsealed_bytes(model)])
    seal(bare, model, envelope)
    (folder / "certificate.json").write_bytes(envelope)
    (folder / "label.svg").unlink()  # draws the digest of the envelope
    return model


@pytest.mark.usefixtures("older_version")
def test_verify_reads_an_older_version_when_its_schema_is_known(folder: Path, key: SigningKey) -> None:
    verification = verify(older_certificate(folder, key), trust=[key.public])
    assert verification.exit_code == 0 and verification.derived
    schema = verification.check("schema")
    assert schema is not None and "certificate-0" in schema.sentence
    assert verification.certificate is not None
    assert verification.certificate.predicate["attempts"] == 1


def test_verify_names_the_type_when_the_version_is_not_known(folder: Path, key: SigningKey) -> None:
    verification = verify(older_certificate(folder, key), trust=[key.public])
    assert [check.name for check in verification.failed] == ["schema"]
    assert OLDER in str(verification) and "Update leanmark" in str(verification)


@pytest.mark.usefixtures("older_version")
def test_parse_statement_refuses_when_an_upgrade_does_not_fit_the_newest_schema(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
    payload = rfc8785.dumps(downgraded(newest))
    assert parse_statement(payload) == newest
    retyped = Version("certificate-0", PACKAGE, lambda one: {**one, "predicateType": PREDICATE_TYPE})
    monkeypatch.setitem(Efficiency.versions, OLDER, retyped)
    with pytest.raises(CertificateError, match="certificate-1"):
        parse_statement(payload)


def test_versions_have_exactly_one_newest() -> None:
    assert [kind for kind, version in Efficiency.versions.items() if version.upgrade is None] == [PREDICATE_TYPE]
    for kind, version in Efficiency.versions.items():
        assert load_schema(version.schema, version.package)["properties"]["predicateType"]["const"] == kind
    assert statement.PREDICATE_VERSION == 1
