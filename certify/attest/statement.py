"""What is signed: an in-toto Statement (https://in-toto.io/Statement/v1) with a predicate of leanmark's own.

The predicate holds what the measurement found and the digests of everything that it was found from. Its schema is
published as ``certify/core/schema/certificate-1.json``. The type of the predicate names its version: a statement of an
older one is checked against the schema of that version and then brought into the newest form, so that everything else
knows only one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError
from certify.core.schema import validate

if TYPE_CHECKING:
    from certify.assessments.efficiency.edition import Edition
    from certify.assessments.efficiency.grade import Grade
    from certify.assessments.efficiency.profile import Profile
    from certify.attest.keys import PublicKey
    from certify.core.evidence import Evidence
    from certify.data.preprocess import Preprocess

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://leanmark.org/secure/compute-efficiency/v1"
PREDICATE_VERSION = 1
SUBJECT_NAME = "model.onnx"


@dataclass(frozen=True)
class Version:
    """A released form of the statement.

    Attributes:
        schema: name of its published schema.
        upgrade: makes a statement of the next version from one of this; None for the newest.
    """

    schema: str
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None


VERSIONS: dict[str, Version] = {PREDICATE_TYPE: Version("certificate-1")}
"""All forms that are read, by predicate type; a released one is never taken out."""


@dataclass(frozen=True)
class Binding:
    """What a certificate is about besides its evidence.

    Attributes:
        model: name of the model, for people.
        metadata: digest of the metadata that the certified file carries; None for a file that is no ONNX file.
        subject: name of the certified file.
        digests: of the certified file, by kind.
        evidence: hex SHA-256 and size in bytes of the evidence file.
        lineage: hex SHA-256 of lineage.json, None where there is none.
        companions: hex SHA-256 of further files, by name.
        renderer: what draws the label as a picture, with its version.
        signer: the key that will sign.
        regrade_of: the certificate whose evidence is graded under another edition: its digest, edition and key id.
    """

    model: str
    metadata: str | None
    subject: str
    digests: Mapping[str, str]
    evidence: tuple[str, int]
    lineage: str | None
    companions: Mapping[str, str]
    renderer: str
    signer: PublicKey
    regrade_of: Mapping[str, str] | None = None


def build_statement(
    evidence: Evidence, profile: Profile, grade: Grade, edition: Edition, preprocess: Preprocess, binding: Binding
) -> bytes:
    """Canonical JSON of the statement.

    Raises:
        CertificateError: what was measured does not fit the schema.
    """
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": binding.subject, "digest": dict(binding.digests)}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "version": PREDICATE_VERSION,
            "model": {"name": binding.model, "metadata": binding.metadata},
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
            **({} if binding.regrade_of is None else {"regrade_of": dict(binding.regrade_of)}),
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
    """Read a statement of any released version, in the form of the newest.

    Raises:
        CertificateError: it is not canonical JSON, of a version that is not known, or does not fit its schema.
    """
    values = parse_canonical(payload, "the statement")
    if not isinstance(values, dict):
        raise CertificateError("The statement is no JSON object.")
    statement: dict[str, Any] = values
    version = statement_version(statement)
    validate(statement, version.schema)
    while version.upgrade is not None:
        statement = version.upgrade(statement)
        version = statement_version(statement)
        validate(statement, version.schema)
    return statement


def statement_version(statement: Mapping[str, Any]) -> Version:
    """The released form that a statement says it has.

    Raises:
        CertificateError: it is none that this version of leanmark knows.
    """
    kind = statement.get("predicateType")
    version = VERSIONS.get(kind) if isinstance(kind, str) else None
    if version is None:
        raise CertificateError(
            f"The statement is of type {str(kind)[:200]!r}; known are {', '.join(VERSIONS)}. "
            "A newer leanmark may know it."
        )
    return version
