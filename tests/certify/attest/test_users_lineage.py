"""A lineage is accepted with the files that it describes, and with no others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from certify.attest import lineage
from certify.attest.certificate import CERTIFICATE_NAME
from certify.core.errors import CertificateError, UsageError
from certify.core.files import sha256_file

GIVEN = "a" * 64
LINEAGE = {"artifacts": {"baseline.onnx": GIVEN}}


@pytest.fixture
def baseline(tmp_path):
    path = tmp_path / "baseline.onnx"
    path.write_bytes(b"without what needed no compression")
    return path


@pytest.fixture
def signed(baseline, monkeypatch):
    """What the certificate next to the baseline says of it."""
    claims = {"file_digest": sha256_file(baseline), "simplified": {"given_digest": GIVEN}}
    baseline.with_name(CERTIFICATE_NAME).write_text("{}")
    found = SimpleNamespace(predicate={"baseline": claims})
    monkeypatch.setattr(lineage.Certificate, "read", lambda path: found)
    return claims


def test_lineage_is_accepted_when_an_earlier_measurement_simplified_its_baseline(baseline, signed):
    lineage.require_same_file(LINEAGE, baseline, baseline)


@pytest.mark.parametrize(
    "change", [{"file_digest": "b" * 64}, {"simplified": {"given_digest": "b" * 64}}, {"simplified": None}]
)
def test_lineage_is_refused_when_the_certificate_speaks_of_other_files(baseline, signed, change):
    signed.update(change)
    with pytest.raises(UsageError, match="The lineage must state the digest of"):
        lineage.require_same_file(LINEAGE, baseline, baseline)


def test_lineage_is_refused_when_the_certificate_cannot_be_read(baseline, signed, monkeypatch):
    def unreadable(path):
        raise CertificateError("it is malformed")

    monkeypatch.setattr(lineage.Certificate, "read", unreadable)
    with pytest.raises(UsageError, match="The lineage must state the digest of"):
        lineage.require_same_file(LINEAGE, baseline, baseline)


def test_lineage_of_another_file_is_refused_when_there_is_no_certificate(baseline):
    with pytest.raises(UsageError, match="The lineage must state the digest of"):
        lineage.require_same_file(LINEAGE, baseline, baseline)
