"""The public battery: leanmark's own assessment and the toy keep every promise; one that breaks one is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from certify.assessment.assessment import Version
from certify.assessments.efficiency.assessment import Efficiency
from certify.core.errors import UsageError
from certify.core.evidence import Evidence, ModelFacts
from certify.core.evidence_file import evidence_bytes
from certify.core.finding import Finding
from certify.testing import CHECKS_OF_ASSESSMENTS, CheckFailed, check_assessment

pytestmark = pytest.mark.usefixtures("installed")

DIGESTS = {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}


def test_efficiency_passes_the_battery(make_evidence: Callable[..., Evidence]) -> None:
    facts = ModelFacts("ab" * 32, "cd" * 32, 1000, 100, 200, 1.0)
    data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": 500, "test_digest": "ab" * 32, "classes": 10}
    header = {"models": {"baseline": facts, "candidate": facts}, "data": data}
    made = make_evidence(samples=500, both=484, only_baseline=1, only_candidate=1, header=header)
    stated = {"preprocess": {}, "label": {"renderer": "none"}}
    check_assessment(Efficiency(), evidence_bytes(made), "2026", stated)


def test_toy_passes_the_battery() -> None:
    from steadiness import Steadiness, records

    check_assessment(Steadiness(), Steadiness().dump(records(DIGESTS)), "2026")


def boastful(self: Any, predicate: Mapping[str, Any], digest: str) -> Any:
    from steadiness import Steadiness

    return replace(Steadiness.claims(self, predicate, digest), text="steady as a rock")


def raising(self: Any, records: Any, edition: Any) -> Any:
    if len(records.steady) != 100:
        raise RuntimeError("not a hundred")
    from steadiness import Steadiness

    return Steadiness.derive(self, records, edition)


def wavering() -> Callable[..., Any]:
    calls = iter(range(10**6))
    return lambda self, records, edition: (Finding(f"call_{next(calls)}", "pass", "It was called."),)


BROKEN: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "a name in capitals": ("names", lambda: {"name": "Steadiness"}),
    "a name that nobody registered": ("names", lambda: {"name": "steadier"}),
    "two newest versions": ("names", lambda: {"versions": {"a": Version("a", "b"), "c": Version("a", "b")}}),
    "the schema of another type": (
        "schemas", lambda: {"predicate_type": "x", "versions": {"x": Version("steadiness-1", "steadiness")}},
    ),
    "any edition": ("editions", lambda: {"load_edition": lambda self, name: _edition(name)}),
    "records written otherwise": ("records", lambda: {"dump": lambda self, records: b"{}\n"}),
    "half a subject": ("records", lambda: {"subject": lambda self, records: {"sha256": "ab" * 32}}),
    "no time": ("records", lambda: {"repeated": lambda self, records: {"leanmark": "0"}}),
    "findings that change": ("judging", lambda: {"findings": wavering()}),
    "a refusal": ("judging", lambda: {"findings": lambda *_: (Finding("a", "fail", "It is so."),)}),
    "an outcome that is not signed": ("judging", lambda: {"findings": lambda *_: (Finding("a", "note", "So."),)}),
    "claims of its own": ("statement", lambda: {"claims": boastful}),
    "an error on other records": ("altered", lambda: {"derive": raising}),
}  # fmt: skip


def _edition(name: str) -> Any:
    from steadiness import Edition

    return Edition(name)


@pytest.mark.parametrize("what", BROKEN)
def test_check_assessment_names_the_check_when_a_promise_is_broken(what: str) -> None:
    from steadiness import Steadiness, records

    check, changes = BROKEN[what]
    broken = type("Broken", (Steadiness,), changes())()
    with pytest.raises(CheckFailed, match=rf"check: {check}\)"):
        check_assessment(broken, Steadiness().dump(records(DIGESTS)), "2026")


def test_every_check_is_tripped_by_a_broken_assessment() -> None:
    assert {check for check, _ in BROKEN.values()} == set(CHECKS_OF_ASSESSMENTS)


def test_load_edition_of_the_toy_refuses_when_there_is_none() -> None:
    from steadiness import Steadiness

    with pytest.raises(UsageError):
        Steadiness().load_edition("1999")
