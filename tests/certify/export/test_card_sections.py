"""The model card: filled from evidence and declarations, "Not stated." where both are silent, and read back again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from certify.assessment.claims import Claims, EditionClaim, SignerClaim
from certify.assessment.record_file import ModelDigests
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.declarations.card import from_card
from certify.assessments.declarations.declaration import FORMAT
from certify.assessments.declarations.records import DataFacts, Header, Named, PartCounts, Records
from certify.attest.certificate import Certificate
from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.export import export
from certify.testing.assessment import Trial

DIGEST = "ab" * 32


def declared(**values: Any) -> Certificate:
    header = Header("2026-01-02T03:04:05Z", "0.1.0", ModelDigests(DIGEST, DIGEST), DataFacts("d", DIGEST, True))
    content = yaml.safe_dump({"declaration": FORMAT, "people": "judged", "faces": "no", **values}).encode()
    counts = PartCounts("test", 9, DIGEST, {"a": 4, "b": 5}, {"sex": {"f": 9, "m": None}})
    records = Records.of_file(header, content, (Named("class", ("a", "b")), counts))
    return Trial(Declarations(), Declarations().dump(records), "2026", {}).certificate()


@pytest.fixture(scope="module")
def groups() -> Any:
    """Figures by group, as a statement of them has them."""
    change = Estimate(2.06, 0.87, 3.32, "points", 400, "Tango")
    claims = Claims(
        assessment="social", title="Groups of people", digest=DIGEST, leanmark="0.1.0", created="2026-01-02T03:04:05Z",
        model="m", model_metadata=None, edition=EditionClaim("2026", DIGEST), outcome="claimed",
        text="1 of 2 cells worse", reasons=(), notes=("Men lose.",),
        figures={
            "cell_001_candidate": replace(change, unit="1"), "cell_001_change_points": change, "cell_001_p": change,
        },
        findings=(Finding("cells_add_up", "pass", "They do."),), evidence_digest=DIGEST, evidence_bytes=1,
        lineage_digest=None, companions={}, signer=SignerClaim("ed25519", DIGEST), headlines={}, limits=(),
        words={"cell_001_change_points": "men, false negatives, change"},
    )  # fmt: skip
    return SimpleNamespace(claims=claims, content=b"{}")


def card(certificates: dict[str, Certificate], *others: Any, lineage: Any = None) -> str:
    return export(certificates["graded"], "hf-model-card", lineage, others).content


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_card_says_not_stated_and_holds_no_placeholder_when_nothing_is_declared(
    certificates: dict[str, Certificate],
) -> None:
    text = card(certificates)
    assert section(text, "Uses").count("Not stated.") == 2
    assert "Not measured." in section(text, "Bias, Risks, and Limitations")
    assert "More Information" not in text and "What the maker says" not in text


def test_card_keeps_the_makers_words_apart_from_figures_when_there_are_declarations(
    certificates: dict[str, Certificate],
) -> None:
    said = declared(
        context={"intended_use": "Sorting *letters*", "not_for": ["credit"], "who_is_harmed": "late payers"},
        labelling={"pay": 12}, answers={"man": "a place"},
    )  # fmt: skip
    text = card(certificates, said)
    assert "Sorting \\*letters\\*" in section(text, "Uses") and "- credit" in section(text, "Uses")
    harm = section(text, "Bias, Risks, and Limitations")
    assert "- **Who is harmed**: late payers" in harm and "- **How likely**: Not stated." in harm
    own = section(text, "What the maker says")
    assert own.startswith("\nIn the maker's words; nothing in this section was measured")
    assert "- **Pay**: 12" in own and "- **man**: a place" in own and "- **Test in use**: Not stated." in own
    assert "Safe Face" not in text
    counted = section(text, "Data, as counted")
    assert "test: 9 samples, 4 to 5 samples in each of 2 classes" in counted and "sex: f 9, m withheld" in counted
    assert text.count("What the maker says") == 1


def test_card_has_results_by_group_in_its_index_when_they_were_measured(
    certificates: dict[str, Certificate], groups: Any
) -> None:
    text = card(certificates, groups)
    front = yaml.safe_load(text.split("---\n")[1])
    results = [one for model in front["model-index"] for result in model["results"] for one in result["metrics"]]
    found = {one["type"]: (one["name"], one["value"]) for one in results if one["type"].startswith("cell_")}
    assert found == {
        "cell_001_candidate": ("cell_001_candidate", 2.06),
        "cell_001_change_points": ("men, false negatives, change", 2.06),
    }
    assert "1 of 2 cells worse" in section(text, "Bias, Risks, and Limitations")
    assert "men, false negatives, change | 2.06" in section(text, "Groups of people")


def test_card_shows_contradictions_among_the_risks(certificates: dict[str, Certificate], groups: Any) -> None:
    said = declared(people="none")
    found = section(card(certificates, said, groups), "Bias, Risks, and Limitations")
    assert "### Contradicted" in found and "groups of people were measured" in found
    assert "### Contradicted" not in card(certificates, said)


def test_card_describes_how_the_model_was_made_when_the_lineage_is_available(
    certificates: dict[str, Certificate], lineage: Any
) -> None:
    made = section(card(certificates, lineage=lineage), "How it was made")
    assert "structured\\_prune version 1" in made and "validation accuracy 0.5" in made
    assert "Not stated: there is no signed lineage" in section(card(certificates), "How it was made")


def test_declarations_read_back_from_the_card_written_from_them(
    certificates: dict[str, Certificate],
) -> None:
    context = {"intended_use": "Sorting [letters] <b> & 1_2", "not_for": ["credit", "policing"],
               "what_could_go_wrong": "A letter is late."}  # fmt: skip
    text = card(certificates, declared(context=context))
    assert from_card(text.encode(), "README.md").to_json()["context"] == context
