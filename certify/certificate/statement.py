"""What is signed: an in-toto Statement (https://in-toto.io/Statement/v1) with a predicate of leanmark's own.

The predicate holds what the measurement found and the digests of everything that it was found from. Its schema is
published as ``certify/schema/certificate-1.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import rfc8785

from certify.certificate.envelope import parse_canonical
from certify.errors import CertificateError
from certify.schema import validate

if TYPE_CHECKING:
    from certify.certificate.keys import PublicKey
    from certify.data.preprocess import Preprocess
    from certify.evidence import Evidence
    from certify.judge.edition import Edition
    from certify.judge.grade import Grade
    from certify.judge.profile import Profile

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://leanmark.org/secure/compute-efficiency/v1"
PREDICATE_VERSION = 1
SUBJECT_NAME = "model.onnx"


@dataclass(frozen=True)
class Binding:
    """What a certificate is about besides its evidence.

    Attributes:
        model: name of the model, for people.
        file_digest: of the normalised file.
        content_digest: of what it says.
        evidence: hex SHA-256 and size in bytes of the evidence file.
        lineage: hex SHA-256 of lineage.json, None where there is none.
        companions: hex SHA-256 of further files, by name.
        renderer: what draws the label as a picture, with its version.
        signer: the key that will sign.
    """

    model: str
    file_digest: str
    content_digest: str
    evidence: tuple[str, int]
    lineage: str | None
    companions: Mapping[str, str]
    renderer: str
    signer: PublicKey


def build_statement(
    evidence: Evidence, profile: Profile, grade: Grade, edition: Edition, preprocess: Preprocess, binding: Binding
) -> bytes:
    """Canonical JSON of the statement.

    Raises:
        CertificateError: what was measured does not fit the schema.
    """
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {
                "name": SUBJECT_NAME,
                "digest": {"sha256": binding.file_digest, "leanmarkContent": binding.content_digest},
            }
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "version": PREDICATE_VERSION,
            "model": {"name": binding.model},
            "outcome": "refused" if grade.letter is None else "graded",
            "edition": {"name": edition.name, "digest": edition.digest},
            "grade": grade_json(grade),
            "profile": profile.to_json(),
            "preprocess": preprocess.to_json(),
            "evidence": {"sha256": binding.evidence[0], "bytes": binding.evidence[1]},
            "lineage": None if binding.lineage is None else {"sha256": binding.lineage},
            "companions": dict(binding.companions),
            "label": {"renderer": binding.renderer},
            "signer": {"algorithm": "ed25519", "public_key": binding.signer.hex},
            **from_header(evidence),
        },
    }
    try:
        content = rfc8785.dumps(statement)
    except ValueError as error:
        raise CertificateError(f"The statement can't be written as canonical JSON: {error}.") from error
    parse_statement(content)
    return content


def from_header(evidence: Evidence) -> dict[str, Any]:
    """The part of the predicate that repeats the evidence's header, as plain JSON values."""
    header = evidence.header
    baseline = header.models["baseline"]
    return {
        "leanmark": header.leanmark,
        "created": header.created,
        "workload": asdict(header.workload),
        "workload_digest": header.workload.digest(),
        "device": dict(header.device),
        "meter": None if header.meter is None else asdict(header.meter),
        "data": dict(header.data),
        "baseline": {
            "file_digest": baseline.file_digest,
            "content_digest": baseline.content_digest,
            "origin": header.baseline_origin,
        },
        "attempts": header.attempt,
    }


def grade_json(grade: Grade) -> dict[str, Any]:
    """A grade as plain JSON values, with its text."""
    return {**grade.to_json(), "text": grade.text}


def parse_statement(payload: bytes) -> dict[str, Any]:
    """Read a statement.

    Raises:
        CertificateError: it is not canonical JSON or does not fit the schema.
    """
    statement = parse_canonical(payload, "the statement")
    validate(statement, "certificate-1")
    if not isinstance(statement, dict):
        raise CertificateError("The statement is no JSON object.")
    return statement
