"""Definitions and declarations in CycloneDX: valid in both versions, and every reference leads somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from certify.assessment.record_file import ModelDigests
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.declarations.declaration import CLAUSES
from certify.assessments.declarations.records import DataFacts, Header, Named, Records
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.export import cyclonedx, export
from certify.export.source import Signer
from certify.scorecard.assessment import Scorecard
from certify.scorecard.edition import load_edition
from certify.scorecard.records import Counted
from certify.scorecard.records import Header as ScoreHeader
from certify.scorecard.records import Records as ScoreRecords
from certify.testing.assessment import Trial

DIGEST = "ab" * 32
VERSIONS = ["cyclonedx", "cyclonedx-1.7"]


@pytest.fixture(scope="module")
def declared() -> Certificate:
    """Clause 2.1 says yes, and nobody measured groups."""
    clauses = "".join(f'  "{number}": {{answer: yes, evidence: minutes}}\n' for number in CLAUSES)
    text = (
        "declaration: leanmark/declarations/1\npeople: judged\nfaces: analysed\n"
        f"context: {{intended_use: Sorting letters}}\nsafe_face:\n{clauses}"
    )
    header = Header("2026-01-02T03:04:05Z", "0.1.0", ModelDigests(DIGEST, DIGEST), DataFacts("d", DIGEST, True))
    records = Records.of_file(header, text.encode(), (Named("class", ("a", "b")),))
    return Trial(Declarations(), Declarations().dump(records), "2026", {}).certificate()


RULES = load_edition()


@pytest.fixture(scope="module")
def scored() -> Certificate:
    """8 dB of 10, a prerequisite missing, nothing else assessed."""
    figure = Estimate(8.5, 8.0, 9.0, "1", 90, "test").to_json()
    counted = Counted(
        "efficiency", "https://leanmark.org/secure/efficiency/v1", DIGEST, "1" * 64, "2026-01-02T03:04:05Z", "2026",
        "B", False, "", "", "", (), {"score_db": figure},
    )  # fmt: skip
    head = ScoreHeader(
        "2026-01-02T03:04:05Z", "0.1.0", ModelDigests(DIGEST, DIGEST), RULES.name, RULES.digest, {}
    )  # fmt: skip
    content = Scorecard().dump(ScoreRecords(head, (counted,)))
    return Trial(Scorecard(), content, RULES.name, {}).certificate()


@pytest.mark.parametrize("version", VERSIONS)
def test_scorecard_lists_requirements_with_points_and_levels_but_awards_none(
    certificates: dict[str, Certificate], scored: Certificate, version: str
) -> None:
    document = made(certificates, scored, version=version)
    standard = next(one for one in document["definitions"]["standards"] if one["name"] == "leanmark scorecard")
    assert standard["version"] == "secure-2026"
    asked = {one["identifier"]: one for one in standard["requirements"]}
    assert asked["scorecard.C1"]["parent"] == asked["scorecard.compute"]["bom-ref"]
    facts = {one["name"]: one["value"] for one in asked["scorecard.C1"]["properties"]}
    assert facts == {"leanmark:rule": "linear(efficiency.score_db, low, 0, 10)", "leanmark:points": "40"}
    assert {one["name"]: one["value"] for one in asked["scorecard.P3"]["properties"]}["leanmark:points"] == "0"
    assert [one["identifier"] for one in standard["levels"]] == ["certified", "silver", "gold", "platinum"]
    assert "24 of compute" in standard["levels"][3]["description"] and "metered" in standard["levels"][3]["description"]
    references_of_levels = {name for one in standard["levels"] for name in one["requirements"]}
    assert references_of_levels <= set(named(document))
    rows = {row["requirement"]: row for row in document["declarations"]["attestations"][0]["map"]}
    assert rows["requirement:scorecard:C1"]["conformance"]["score"] == pytest.approx(0.8)
    assert rows["requirement:scorecard:C1"]["confidence"]["score"] == 0.95
    assert rows["requirement:scorecard:S1"]["conformance"]["score"] == 0
    assert "score" not in rows["requirement:scorecard:S1"]["confidence"]
    assert rows["requirement:scorecard:P3"]["conformance"]["score"] == 0
    expiry = {one["propertyName"]: one["expires"] for one in document["declarations"]["evidence"]}
    assert expiry["leanmark:scorecard"] == "2028-01-02T03:04:05Z"


def test_evidence_does_not_expire_when_no_scorecard_says_when(certificates: dict[str, Certificate]) -> None:
    assert all("expires" not in one for one in made(certificates)["declarations"]["evidence"])


def made(certificates: dict[str, Certificate], *others: Certificate, version: str = "cyclonedx", **more: Any) -> Any:
    return json.loads(export(certificates["graded"], version, None, others, **more).content)


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Every reference in the declarations, by the key that it stands under."""
    for key, item in value.items() if isinstance(value, dict) else ():
        for one in item if isinstance(item, list) else [item]:
            if isinstance(one, str) and key in (
                "target",
                "evidence",
                "claims",
                "counterClaims",
                "requirement",
                "assessor",
            ):
                yield key, one
            else:
                yield from references(one)


def named(value: Any) -> Iterator[str]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from named(item)
    if isinstance(value, dict) and "bom-ref" in value:
        yield value["bom-ref"]


@pytest.mark.parametrize("version", VERSIONS)
def test_references_resolve_and_names_are_unique(
    certificates: dict[str, Certificate], declared: Certificate, version: str
) -> None:
    signers = [Signer("11" * 8, "lab", "reproduced", True), Signer("22" * 8, None, "cross-checked", False)]
    document = made(certificates, declared, version=version, signers=signers)
    assert document["specVersion"] == ("1.6" if version == "cyclonedx" else "1.7")
    names = list(named(document))
    assert len(names) == len(set(names))
    found = list(references(document["declarations"]))
    assert {key for key, _ in found} == {
        "target", "evidence", "claims", "counterClaims", "requirement", "assessor",
    }  # fmt: skip
    assert {name for _, name in found} <= set(names)


def test_maker_words_are_claims_without_measurement_and_contradictions_are_counterclaims(
    certificates: dict[str, Certificate], declared: Certificate
) -> None:
    declarations = made(certificates, declared)["declarations"]
    said = [one for one in declarations["claims"] if "Sorting letters" in one["predicate"]]
    assert [one["reasoning"] for one in said] == ["The maker's own word; nothing was measured."]
    (against,) = [one for one in declarations["claims"] if one["bom-ref"].startswith("counterclaim:")]
    assert "no figures by group are stated" in against["reasoning"]
    rows = declarations["attestations"][0]["map"]
    assert {row["requirement"].split(":")[1] for row in rows if "counterClaims" in row} == {"declarations"}
    assert any(
        item["name"] == "statements/declarations.json" for one in declarations["evidence"] for item in one["data"]
    )


def test_conformance_is_that_of_the_check_and_absent_when_unknown(certificates: dict[str, Certificate]) -> None:
    document = json.loads(export(certificates["no meter"], "cyclonedx").content)
    found = {one.name: one.outcome for one in certificates["no meter"].claims.findings}
    scores = {row["requirement"].rpartition(":")[2]: row.get("conformance", {}).get("score")
              for row in document["declarations"]["attestations"][0]["map"]}  # fmt: skip
    assert scores == {name: {"pass": 1, "fail": 0}.get(outcome) for name, outcome in found.items()}
    assert "unknown" in found.values()


def test_confidence_says_who_vouches_for_it(certificates: dict[str, Certificate]) -> None:
    alone = made(certificates)["declarations"]
    assert alone["attestations"][0]["map"][0]["confidence"]["rationale"].startswith("Self-declared")
    assert [one["thirdParty"] for one in alone["assessors"]] == [False]
    lab = Signer("11" * 8, "lab", "reproduced", True)
    both = made(certificates, signers=[lab])["declarations"]
    assert both["attestations"][0]["map"][0]["confidence"]["rationale"] == "Signed by the maker; reproduced by lab."
    assert both["assessors"][1]["thirdParty"] and "agrees" in both["attestations"][1]["summary"]
    doubt = made(certificates, signers=[Signer("22" * 8, None, "reproduced", False)])["declarations"]
    assert "disagrees with" in doubt["attestations"][1]["summary"] and not doubt["attestations"][1]["map"]
    assert doubt["attestations"][0]["map"][0]["confidence"]["rationale"].startswith("Self-declared")


@pytest.mark.parametrize("version", VERSIONS)
def test_document_is_refused_when_it_does_not_fit_the_official_schema(
    certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(cyclonedx, "declarations", lambda source: {"claims": [{"unknown": 1}]})
    with pytest.raises(CertificateError, match=r"does not conform to CycloneDX 1\.[67]"):
        export(certificates["graded"], version)
