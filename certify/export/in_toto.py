"""in-toto: a statement with a test-result predicate (https://in-toto.io/attestation/test-result/v0.1).

The guards are its tests, and the letter is one more. The certificate, itself a signed in-toto statement, is attached
whole. The statement is written through in-toto's own protobuf messages, which refuse a field that they do not know;
it is not signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from certify.export.source import Source

if TYPE_CHECKING:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
RESULTS = {"pass": "passed_tests", "unknown": "warned_tests", "fail": "failed_tests"}
"""Where a guard's outcome stands: what nobody can know is a warning."""

GRADE_TEST = "grade_given"
METER_TEST = "energy_metered"


def write(source: Source) -> str:
    """The statement as JSON."""
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1.statement import Statement

    tests = _tests(source)
    result = TestResult(result=_result(tests), configuration=[part.pb for part in _configuration(source)], **tests)
    predicate = MessageToDict(result)
    statement = Statement([_subject(source).pb], PREDICATE_TYPE, predicate)
    statement.validate()
    return json.dumps(MessageToDict(statement.pb), indent=2, allow_nan=False) + "\n"


def _result(tests: Mapping[str, list[str]]) -> str:
    if tests["failed_tests"]:
        return "FAILED"
    return "WARNED" if tests["warned_tests"] else "PASSED"


def _tests(source: Source) -> dict[str, list[str]]:
    """Names of what passed, what can't be known or was not metered, and what failed."""
    tests: dict[str, list[str]] = {name: [] for name in RESULTS.values()}
    for path, _ in source.guards():
        outcome = source.take(*path, "outcome")
        tests[RESULTS[outcome]].append(source.take(*path, "name"))
    tests["failed_tests" if source.take("outcome") == "refused" else "passed_tests"].append(GRADE_TEST)
    metered = source.look("meter") is not None and not source.unmetered
    tests["passed_tests" if metered else "warned_tests"].append(METER_TEST)
    return tests


def _subject(source: Source) -> ResourceDescriptor:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    digest = {"sha256": source.file_digest()}
    if (content := source.content_digest()) is not None:
        digest["leanmarkContent"] = content
    annotations = {"model": source.take("model"), "grade": source.take("grade")}
    return ResourceDescriptor(name=source.subject_name(), digest=digest, annotations=annotations)


def _configuration(source: Source) -> Iterator[ResourceDescriptor]:
    """What the tests were run with, and the certificate."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    yield ResourceDescriptor(
        name="certificate.json", digest={"sha256": source.digest}, content=source.envelope, media_type=ENVELOPE_TYPE
    )
    yield _digested(f"edition {source.take('edition', 'name')}", source.take("edition", "digest"))
    yield _digested("evidence.jsonl", source.take("evidence", "sha256"))
    if (lineage := source.take("lineage", "sha256")) is not None:
        yield _digested("lineage.json", lineage)
    for name in source.look("companions"):
        yield _digested(name, source.take("companions", name))
    yield _digested("baseline", source.take("baseline", "file_digest"), {"origin": source.take("baseline", "origin")})
    yield _digested("test samples", source.take("data", "test_digest"), source.take("data"))
    yield _digested("workload", source.take("workload_digest"), source.take("workload"))
    yield ResourceDescriptor(name="preprocessing contract", annotations=source.take("preprocess"))
    yield ResourceDescriptor(name="device", annotations=source.take("device"))
    if source.look("meter") is not None:
        yield ResourceDescriptor(name="energy meter", annotations=source.take("meter"))


def _digested(name: str, sha256: str, annotations: Mapping[str, Any] | None = None) -> ResourceDescriptor:
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

    return ResourceDescriptor(name=name, digest={"sha256": sha256}, annotations=dict(annotations or {}))
