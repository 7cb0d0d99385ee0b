"""in-toto: a statement with a test-result predicate (https://in-toto.io/attestation/test-result/v0.1).

Each guard is a test, and so is the letter. The certificate, itself a signed in-toto statement, is attached
in full. The statement is written through in-toto's own protobuf messages, which reject unknown fields;
it is not signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.export.source import ExportSource, Further
from certify.export.wording import signed_fields

if TYPE_CHECKING:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
RESULTS = {"pass": "passed_tests", "unknown": "warned_tests", "fail": "failed_tests"}
"""Result list of each guard outcome: an unknown is a warning."""

INCLUDED = (
    "subject", "model", "grade", "result", "outcome", "edition", "profile.guards.*.name", "profile.guards.*.outcome",
    "evidence.sha256", "lineage.sha256", "companions", "baseline.file_digest", "baseline.origin", "data", "workload",
    "workload_digest", "preprocess", "device", "meter",
)  # fmt: skip
"""Fields of the statement that the document contains."""

INCLUDED_IF_GRADED: tuple[str, ...] = ()
GRADE_TEST = "grade_given"
STATEMENT_TEST = "statement_given"
METER_TEST = "energy_metered"


def write(source: ExportSource) -> str:
    """Return the statement as JSON."""
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1.statement import Statement

    tests = _tests(source)
    # Protobuf messages reject unknown fields, so the result is built from them and converted to plain JSON.
    result = TestResult(result=_result(tests), configuration=[part.pb for part in _configuration(source)], **tests)
    predicate = MessageToDict(result)
    statement = Statement([_subject(source).pb], PREDICATE_TYPE, predicate)
    statement.validate()
    # Keys are sorted, because the order of protobuf maps is not defined.
    return json.dumps(MessageToDict(statement.pb), indent=2, allow_nan=False, sort_keys=True) + "\n"


def _result(tests: Mapping[str, list[str]]) -> str:
    if tests["failed_tests"]:
        return "FAILED"
    return "WARNED" if tests["warned_tests"] else "PASSED"


def _tests(source: ExportSource) -> dict[str, list[str]]:
    """Return tests that passed, warned (unknown or not metered) and failed, including those of further statements."""
    claims = source.claims
    tests: dict[str, list[str]] = {name: [] for name in RESULTS.values()}
    for finding in claims.findings:
        tests[RESULTS[finding.outcome]].append(finding.name)
    tests["failed_tests" if claims.refused else "passed_tests"].append(
        # The letter is a test as well, so that a policy on failed tests also stops a refusal.
        GRADE_TEST if isinstance(claims, EfficiencyClaims) else STATEMENT_TEST
    )
    if isinstance(claims, EfficiencyClaims):
        metered = claims.meter is not None and not claims.unmetered
        # Modelled energy is a warning, not a failure: the certificate is valid, but nothing was metered.
        tests["passed_tests" if metered else "warned_tests"].append(METER_TEST)
    for other in source.others:
        name = other.claims.assessment
        for finding in other.claims.findings:
            tests[RESULTS[finding.outcome]].append(f"{name}.{finding.name}")
        tests["failed_tests" if other.claims.refused else "passed_tests"].append(f"{name}.{STATEMENT_TEST}")
    return tests


def _subject(source: ExportSource) -> ResourceDescriptor:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    claims = source.claims
    digest = {"sha256": source.file_digest, "leanmarkContent": source.content_digest}
    annotations: dict[str, Any] = {"model": {"name": claims.model, "metadata": claims.model_metadata}}
    if isinstance(claims, EfficiencyClaims):
        annotations["grade"] = {**claims.grade.to_json(), "text": claims.text}
    else:
        annotations["result"] = Further(claims, source.envelope).to_json()
    return ResourceDescriptor(name=source.subject, digest=digest, annotations=annotations)


def _configuration(source: ExportSource) -> Iterator[ResourceDescriptor]:
    """Yield the configuration of the tests, and the certificate."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    claims = source.claims
    own, evidence = source.files
    yield ResourceDescriptor(
        # The signed envelope itself, so that a reader can verify it without the files next to the model.
        name=own,
        digest={"sha256": claims.digest},
        content=source.envelope,
        media_type=ENVELOPE_TYPE,
    )
    for other in source.others:
        yield ResourceDescriptor(
            name=other.name,
            digest={"sha256": other.claims.digest},
            content=other.envelope,
            media_type=ENVELOPE_TYPE,
            annotations=other.to_json(),
        )
    yield _digested(f"edition {claims.edition.name}", claims.edition.digest)
    yield _digested(evidence, claims.evidence_digest)
    if claims.lineage_digest is not None:
        yield _digested("lineage.json", claims.lineage_digest)
    for name, digest in claims.companions.items():
        yield _digested(name, digest)
    if isinstance(claims, EfficiencyClaims):
        yield from _circumstances(claims)


def _circumstances(claims: EfficiencyClaims) -> Iterator[ResourceDescriptor]:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    yield _digested("baseline", claims.baseline.file_digest, {"origin": claims.baseline.provenance})
    yield _digested("test samples", claims.data.test_digest, claims.data.to_json())
    yield _digested("workload", claims.workload_digest, signed_fields(claims.workload))
    yield ResourceDescriptor(name="preprocessing contract", annotations=dict(claims.preprocess))
    yield ResourceDescriptor(name="device", annotations=dict(claims.device))
    if claims.meter is not None:
        yield ResourceDescriptor(name="energy meter", annotations=signed_fields(claims.meter))


def _digested(name: str, sha256: str, annotations: Mapping[str, Any] | None = None) -> ResourceDescriptor:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return ResourceDescriptor(name=name, digest={"sha256": sha256}, annotations=dict(annotations or {}))
