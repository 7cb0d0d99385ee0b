"""The signed in-toto Statement (https://in-toto.io/Statement/v1), with the predicate of one of the assessments.

The predicate holds the results and the digests of everything that they were derived from. All assessments share some of
its fields (``certify/core/schema/statement-1.json``); the rest belongs to the assessment, with its own schema. The
predicate type names its version: a statement of an older version is checked against the schema of that version and then
upgraded, so that all other code knows only the newest form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import rfc8785

from certify.assessment.assessment import Assessment, Version
from certify.assessment.claims import REFUSED
from certify.assessment.outcome import Edition, Outcome
from certify.assessment.profile import Profile
from certify.assessment.registry import assessment_of
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError
from certify.core.schema import validate
from certify.core.scripts import first_look_alike

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_VERSION = 1
COMMON_SCHEMA = "statement-1"


@dataclass(frozen=True)
class Binding:
    """Contents of a statement besides its records.

    Attributes:
        model: display name of the model.
        metadata: digest of the file's metadata; None if the file is not an ONNX file.
        subject: file name.
        digests: digests of the file, by kind.
        evidence: hex SHA-256 and size in bytes of the record file.
        lineage: hex SHA-256 of lineage.json; None if there is none.
        companions: hex SHA-256 of further files, by name.
        signer: key that will sign.
        stated: further fields of the predicate, which do not follow from the records.
    """

    model: str
    metadata: str | None
    subject: str
    digests: Mapping[str, str]
    evidence: tuple[str, int]
    lineage: str | None
    companions: Mapping[str, str]
    signer: PublicKey
    stated: Mapping[str, Any] = field(default_factory=dict)


def build_statement(
    assessment: Assessment, records: Any, profile: Profile, outcome: Outcome, edition: Edition, binding: Binding
) -> bytes:
    """Return the statement as canonical JSON.

    Raises:
        CertificateError: the content violates the schema, or a text shown to readers mixes scripts.
    """
    auditor = assessment.auditor(records)
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": binding.subject, "digest": dict(binding.digests)}],
        "predicateType": assessment.predicate_type,
        "predicate": {
            "version": PREDICATE_VERSION,
            "model": {"name": binding.model, "metadata": binding.metadata},
            "outcome": REFUSED if outcome.refused else assessment.accepted,
            "edition": {"name": edition.name, "digest": edition.digest},
            assessment.result: outcome.to_json(),
            "profile": profile.to_json(),
            "evidence": {"sha256": binding.evidence[0], "bytes": binding.evidence[1]},
            "lineage": None if binding.lineage is None else {"sha256": binding.lineage},
            "companions": dict(binding.companions),
            "signer": {"algorithm": "ed25519", "public_key": binding.signer.hex},
            **({} if auditor is None else {"auditor": auditor.to_json()}),
            **binding.stated,
            # These come last, so that stated fields cannot overwrite fields that follow from records.
            **assessment.repeated(records),
        },
    }
    # Checked before signing, because every reader's check would fail.
    if (found := first_look_alike(assessment.texts(statement["predicate"]))) is not None:
        raise CertificateError(f"{found} Write it in one script, or in Latin with Japanese, Korean or Chinese.")
    try:
        content = rfc8785.dumps(statement)
    except ValueError as error:
        raise CertificateError(f"The statement cannot be written as canonical JSON: {error}.") from error
    # Read back as a verifier would, so that no unreadable statement is signed.
    parse_statement(content)
    return content


def parse_statement(payload: bytes, may_be_unknown: bool = False) -> dict[str, Any]:
    """Parse a statement of any released version into the newest form; of an unknown type too, if allowed.

    Raises:
        CertificateError: it is not canonical JSON, its type is unknown, or it violates its schema.
    """
    values = parse_canonical(payload, "the statement")
    if not isinstance(values, dict):
        raise CertificateError("The statement is not a JSON object.")
    statement: dict[str, Any] = values
    version = statement_version(statement, may_be_unknown)
    validate(statement, version.schema, version.package)
    # Each version is checked by its own schema before it is upgraded.
    while version.upgrade is not None:
        statement = version.upgrade(statement)
        version = statement_version(statement)
        validate(statement, version.schema, version.package)
    # Upgraded or not, the newest form must also have the common fields.
    validate(statement, COMMON_SCHEMA)
    return statement


def statement_version(statement: Mapping[str, Any], may_be_unknown: bool = False) -> Version:
    """Return the released version that a statement states.

    Raises:
        CertificateError: this installation does not know it.
    """
    kind = statement.get("predicateType")
    return assessment_of(kind, may_be_unknown).versions[str(kind)]
