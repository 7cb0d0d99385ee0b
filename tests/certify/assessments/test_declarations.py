"""Declarations: what is required, what is not stated, what contradicts them, and that files are read strictly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certify.assessment.assessment import profile_of
from certify.assessment.claims import Claims, EditionClaim, SignerClaim, contradictions
from certify.assessment.record_file import ModelDigests
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.declarations.card import from_card
from certify.assessments.declarations.claims import DeclarationClaims
from certify.assessments.declarations.declaration import CLAUSES, FORMAT, Declaration, parse_declaration
from certify.assessments.declarations.edition import load_edition
from certify.assessments.declarations.questions import QUESTIONS, applicable, silent
from certify.assessments.declarations.records import DataFacts, Header, Named, Overlap, PartCounts, Records
from certify.assessments.declarations.words import words_of
from certify.assessments.declarations.writing import write_declaration
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, UsageError
from certify.core.schema import load_schema
from certify.present.statements import front
from certify.testing import check_assessment
from certify.testing.assessment import Trial
from certify.workflows.declaration import withheld

EDITION = load_edition()
DIGEST = "ab" * 32
CLEAR = {"people": "none", "faces": "no"}
ANSWERED = {number: {"answer": "no", "text": "not promised"} for number in CLAUSES}


def yaml_of(**values: Any) -> bytes:
    return yaml.safe_dump({"declaration": FORMAT, **values}, allow_unicode=True).encode()


def records(
    declared: Mapping[str, Any] = CLEAR, data: str = "digits", classes: tuple[str, ...] = ("zero", "one"),
    columns: tuple[str, ...] = (), read: bool = True,
) -> Records:  # fmt: skip
    header = Header("2026-01-02T03:04:05Z", "0.1.0", ModelDigests(DIGEST, DIGEST), DataFacts(data, DIGEST, read))
    seen = [Named("class", classes), *([Named("column", columns)] if columns else [])] if read else []
    counts = PartCounts("test", 10, DIGEST, {"zero": 4, "one": 6}, {"sex": {"f": 9, "m": None}})
    return Records.of_file(header, yaml_of(**declared), (*seen, counts, Overlap("calibration", "test", 0)))


def judged(made: Records) -> dict[str, tuple[str, str]]:
    return {one.name: (one.outcome, one.sentence) for one in profile_of(Declarations(), made, EDITION).guards}


def figures(made: Records) -> dict[str, float]:
    return {name: one.value for name, one in profile_of(Declarations(), made, EDITION).estimates.items()}


def claims(declared: Mapping[str, Any]) -> DeclarationClaims:
    found = Trial(Declarations(), Declarations().dump(records(declared)), "2026", {}).certificate().claims
    assert isinstance(found, DeclarationClaims)
    return found


def stated(assessment: str, text: str = "2 of 14 cells worse", **other: Any) -> Claims:
    made = Claims(
        assessment=assessment, title="t", digest=DIGEST, leanmark="0.1.0", created="2026-01-02T03:04:05Z", model="m",
        model_metadata=None, edition=EditionClaim("2026", DIGEST), outcome="claimed", text=text, reasons=(), notes=(),
        figures={}, findings=(), evidence_digest=DIGEST, evidence_bytes=1, lineage_digest=None, companions={},
        signer=SignerClaim("ed25519", DIGEST), headlines={}, limits=(), test_digest=DIGEST,
    )  # fmt: skip
    return replace(made, **other)


def test_assessment_keeps_every_promise_of_an_assessment() -> None:
    everything = {
        **CLEAR, "context": {"intended_use": "sorting", "not_for": ["credit"]}, "answers": {"one": "a digit"},
        "signed_by": [{"name": "Ada", "role": "maker"}],
    }  # fmt: skip
    check_assessment(Declarations(), Declarations().dump(records(everything)), "2026")


@pytest.mark.parametrize("declared", [{}, {"people": "unknown", "faces": "unknown"}])
def test_people_and_faces_count_as_strictest_when_missing_or_unknown(declared: dict[str, str]) -> None:
    evidence = records(declared)
    assert (evidence.declared.people_taken_as, evidence.declared.faces_taken_as) == ("judged", "analysed")
    found = judged(evidence)
    assert found["people"][0] == found["faces"][0] == "unknown"
    assert figures(evidence)["recourse_asked"] == 3 and figures(evidence)["safe_face_asked"] == 11
    assert Declarations().outcome(profile_of(Declarations(), evidence, EDITION), EDITION).refused


@pytest.mark.parametrize("faces", ["incidental", "analysed"])
@pytest.mark.parametrize("missing", ["1.1", "4.3"])
def test_statement_is_refused_when_a_clause_about_faces_is_not_answered(faces: str, missing: str) -> None:
    clauses = {number: one for number, one in ANSWERED.items() if number != missing}
    evidence = records({"people": "judged", "faces": faces, "safe_face": clauses})
    outcome = Declarations().outcome(profile_of(Declarations(), evidence, EDITION), EDITION)
    assert outcome.refused and f"clauses {missing} of the Safe Face Pledge" in outcome.reasons[0]
    whole = records({"people": "judged", "faces": faces, "safe_face": ANSWERED})
    assert not Declarations().outcome(profile_of(Declarations(), whole, EDITION), EDITION).refused
    assert judged(whole)["safe_face"][1].startswith("All 11 clauses are answered: 0 yes, 11 no, 0 not applicable.")


def test_clause_that_says_yes_is_named_when_it_has_no_evidence() -> None:
    clauses = {**ANSWERED, "1.2": {"answer": "yes"}, "1.3": {"answer": "yes", "evidence": "report.pdf"}}
    sentence = judged(records({"people": "none", "faces": "incidental", "safe_face": clauses}))["safe_face"][1]
    assert sentence.endswith("No evidence is named for 1.2.")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"data": "celeba/64"}, "the name of the data 'celeba/64'"),
        ({"classes": ("person", "car")}, "the class 'person'"),
        ({"classes": ("YoungWomen", "x")}, "the class 'YoungWomen'"),
        ({"columns": ("race",)}, "the column 'race'"),
        ({"columns": ("site",)}, "the column 'site'"),
        ({"data": "arrays:adult.npz"}, "the name of the data 'arrays:adult.npz'"),
    ],
)
def test_people_none_is_contradicted_when_a_name_speaks_of_people(where: dict[str, Any], found: str) -> None:
    evidence = records(**where)
    outcome, sentence = judged(evidence)["people_consistent"]
    assert outcome == "fail" and found in sentence
    profile = profile_of(Declarations(), evidence, EDITION)
    result = Declarations().outcome(profile, EDITION)
    assert result.text.startswith("CONTRADICTED in people") and not result.refused and sentence in result.notes
    assert profile["contradictions"].value >= 1
    assert judged(records({"people": "judged", "faces": "no"}, **where))["people_consistent"][0] == "pass"


def test_faces_no_is_contradicted_when_a_name_speaks_of_faces_and_not_of_people_alone() -> None:
    faces = {"people": "judged", "faces": "no"}
    assert judged(records(faces, classes=("face powder", "x")))["faces_consistent"][0] == "fail"
    assert judged(records(faces, data="UTKFace-2"))["faces_consistent"][0] == "fail"
    assert judged(records(faces, columns=("race",), classes=("income", "x")))["faces_consistent"][0] == "pass"


@pytest.mark.parametrize("key", ["Face powder", "face"])
def test_contradiction_is_answered_when_the_maker_says_why(key: str) -> None:
    evidence = records({**CLEAR, "answers": {key: "a box of powder"}}, classes=("face powder", "x"))
    found = judged(evidence)
    assert found["people_consistent"][0] == found["faces_consistent"][0] == "pass"
    assert "the maker answers 1 of 1" in found["names"][1]
    assert figures(evidence)["contradictions"] == 0 and figures(evidence)["questions_raised"] == 1


def test_silent_names_prove_nothing_and_unread_data_leave_the_check_open() -> None:
    assert judged(records(data="cifar10", classes=("cat", "dog")))["names"][0] == "pass"
    outcome, sentence = judged(records(read=False))["names"]
    assert outcome == "unknown" and "were not read" in sentence


@pytest.mark.parametrize("name", ["personal computer", "faceted", "menu", "glass", "subhuman"])
def test_word_is_not_found_when_it_is_part_of_another(name: str) -> None:
    assert not {*EDITION.people_words, *EDITION.face_words} & set(words_of(name))


def test_answers_are_counted_by_section() -> None:
    evidence = records(
        {**CLEAR, "context": {"intended_use": "a", "how_likely": "b"}, "datasheet": {"test": {"uses": "c"}}}
    )
    found = figures(evidence)
    assert (found["context_answered"], found["context_asked"]) == (2, 7)
    assert (found["datasheet_answered"], found["datasheet_asked"]) == (1, 14)
    assert (found["recourse_asked"], found["safe_face_asked"]) == (0, 0)
    assert found["answered"] == 5 and found["asked"] == len(applicable(evidence.declared))
    assert "intended use" not in judged(evidence)["context"][1] and "who is harmed" in judged(evidence)["context"][1]


def test_bias_clause_is_contradicted_when_no_groups_were_measured() -> None:
    said = claims({"people": "judged", "faces": "analysed", "safe_face": {**ANSWERED, "2.1": {"answer": "yes"}}})
    (wrong,) = contradictions([said, stated("robustness")])
    assert wrong.name == "bias_evaluated" and "no figures by group" in wrong.sentence
    assert not contradictions([said, stated("social")])
    assert contradictions([stated("social", outcome="refused"), said])
    assert "CONTRADICTED" in front(said, [said]) and "CONTRADICTED" not in front(said, [said, stated("social")])


def test_people_none_is_contradicted_when_groups_were_measured() -> None:
    (wrong,) = contradictions([claims(CLEAR), stated("social")])
    assert wrong.name == "groups_measured"
    assert not contradictions([claims(CLEAR)])


def test_front_says_that_groups_are_missing_when_people_are_judged() -> None:
    said = claims({"people": "judged", "faces": "no"})
    assert front(said).endswith("People are judged, but no figures by group are stated.")
    assert not contradictions([said])


def test_data_are_contradicted_when_other_statements_are_of_others() -> None:
    (wrong,) = contradictions([claims(CLEAR), stated("robustness", test_digest="cd" * 32)])
    assert wrong.name == "same_data" and "robustness" in wrong.sentence
    assert not contradictions([claims(CLEAR), stated("robustness", test_digest=None)])


def test_declarations_have_no_figure_that_is_more_than_a_count_of_answers() -> None:
    found = profile_of(Declarations(), records(), EDITION).estimates
    assert all(one.method == "count" and one.unit == "1" for one in found.values())


COMPLETE: dict[str, Any] = {"declaration": FORMAT}
for _one in QUESTIONS:
    _one.put(COMPLETE, _one.choices[0] if _one.choices else ["x"] if _one.many else "x")


@pytest.mark.parametrize(
    ("without", "figure"),
    [
        (("context", "how_likely"), "context_complete"),
        (("recourse", "contest"), "context_complete"),
        (("datasheet", "calibration", "uses"), "datasheets_complete"),
        (("safe_face", "3.2"), "pledge_complete"),
        (("safe_face", "2.1"), "bias_evaluation_claimed"),
        (("stakeholders", "heard"), "affected_people_asked"),
    ],
)
def test_declared_figure_is_zero_when_an_answer_is_missing(without: tuple[str, ...], figure: str) -> None:
    def read(declared: Mapping[str, Any]) -> dict[str, float]:
        certificate = Trial(Declarations(), Declarations().dump(records(declared)), "2026", {}).certificate()
        return {name: one.low for name, one in Declarations().figures(certificate.predicate).items()}

    whole = {**json.loads(json.dumps(COMPLETE)), "people": "judged", "faces": "analysed"}
    assert read(whole)[figure] == 1 and read(whole)["contradictions"] == 0
    *keys, last = without
    place = whole
    for key in keys:
        place = place[key]
    del place[last]
    assert read(whole)[figure] == 0


@pytest.mark.parametrize(
    ("declared", "where", "found"),
    [
        (CLEAR, {}, (1, 1, 1)),
        ({"people": "depicted", "faces": "no"}, {}, (0, 1, 1)),
        ({"people": "judged", "faces": "incidental"}, {}, (0, 0, 0)),
        ({}, {}, (0, 0, 0)),
        (CLEAR, {"columns": ("race",)}, (0, 0, 1)),
        (CLEAR, {"data": "celeba"}, (0, 0, 0)),
    ],
)
def test_people_and_faces_count_as_strictest_when_they_are_contradicted(
    declared: dict[str, str], where: dict[str, Any], found: tuple[int, int, int]
) -> None:
    content = Declarations().dump(records(declared, **where))
    made = Declarations().figures(Trial(Declarations(), content, "2026", {}).certificate().predicate)
    assert tuple(made[name].value for name in ("people_none", "people_not_judged", "faces_no")) == found


def test_maker_words_stand_in_sections_as_they_were_written() -> None:
    said = claims({**CLEAR, "context": {"not_for": ["credit", "policing"]}, "decision": {"deployed": "not yet"}})
    found = {title: dict(rows) for title, rows in said.own_words}
    assert found["Use and harm"] == {"Not for": "credit; policing"}
    assert found["The decision to use it"] == {"Deployed": "not yet"}
    assert "Labelling work" not in found


def test_booleans_and_numbers_are_text_when_yaml_reads_them_as_such() -> None:
    declared = parse_declaration(
        b"declaration: leanmark/declarations/1\nfaces: no\nlabelling: {pay: 12.5, exposure: no}\n"
        b"safe_face: {1.1: {answer: yes}}\n", "d.yaml"
    )  # fmt: skip
    assert declared.faces == "no" and declared.labelling.pay == "12.5" and declared.labelling.exposure == "no"
    assert declared.safe_face["1.1"].answer == "yes"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"people: none\n", "d.yaml, line 1: must begin with 'declaration: leanmark/declarations/1'"),
        (yaml_of(peple="none"), "did you mean 'people'"),
        (yaml_of(people="some"), "people of the declarations must be 'none', 'depicted', 'judged' or 'unknown'"),
        (yaml_of(context={"intended": "x"}), "did you mean 'intended_use'"),
        (yaml_of(context={"not_for": "credit"}), "must be a list"),
        (yaml_of(safe_face={"5.1": {"answer": "yes"}}), "'1.1'"),
        (yaml_of(safe_face={"1.1": {"answer": "signed"}}), "'yes', 'no' or 'not applicable'"),
        (yaml_of(signed_by=[{"role": "x"}]), "lacks the key 'name'"),
        (yaml_of(context={"intended_use": "x" * 2001}), "2000"),
        (b"declaration: [\n", "not valid YAML"),
        (b"x" * 300_000, "larger than 256 KiB"),
    ],
)
def test_file_is_refused_with_a_sentence_when_it_is_malformed(content: bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_declaration(content, "d.yaml")
    assert sentence in str(error.value) and str(error.value).startswith("d.yaml")


SCHEMA = load_schema("declarations-1", "certify.assessments.declarations")


def fits(values: Any) -> bool:
    schema = {"$ref": "#/$defs/declaration", "$defs": SCHEMA["$defs"]}
    return jsonschema.Draft202012Validator(schema).is_valid(values)


def test_schema_has_every_question_and_no_other() -> None:
    whole = COMPLETE
    assert fits(whole) and not silent(Declaration.from_json(whole))
    defined = SCHEMA["$defs"]["declaration"]["properties"]
    assert set(defined) - set(whole) == {"answers", "signed_by"}
    assert Declaration.from_json(whole).to_json() == whole


@pytest.mark.parametrize(
    "values",
    [{"people": "some"}, {"faces": "yes"}, {"x": 1}, {"context": {"x": "y"}}, {"context": {"not_for": []}},
     {"safe_face": {"1.1": {}}}, {"safe_face": {"9.9": {"answer": "yes"}}}, {"decision": {"deployed": "maybe"}},
     {"audit": {"by": ""}}, {"signed_by": [{}]}, {"answers": {"x": ""}}],
)  # fmt: skip
def test_schema_and_reader_refuse_the_same_when_values_are_bad(values: dict[str, Any]) -> None:
    values = {"declaration": FORMAT, **values}
    assert not fits(values)
    with pytest.raises(UsageError):
        Declaration.from_json(values)


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), st.sampled_from(["yes", "no", "not applicable"]))
def test_written_file_reads_back_the_same_when_texts_are_of_any_kind(text: str, many: list[str], answer: str) -> None:
    values = {
        "declaration": FORMAT, "people": "judged", "context": {"intended_use": text, "not_for": many},
        "datasheet": {"test": {"uses": text}}, "answers": {text: many[0]}, "signed_by": [{"name": text}],
        "safe_face": {"2.1": {"answer": answer, "text": text}},
    }  # fmt: skip
    declared = Declaration.from_json(values)
    assert parse_declaration(write_declaration(declared).encode(), "w.yaml") == declared


def test_template_asks_everything_and_states_nothing() -> None:
    text = write_declaration()
    assert parse_declaration(text.encode(), "t.yaml") == Declaration(FORMAT)
    assert all(one.asks in text for one in QUESTIONS)
    assert "signed the pledge" not in text.lower() and max(map(len, text.splitlines())) <= 120


def test_records_are_refused_when_the_file_in_them_was_altered() -> None:
    content = Declarations().dump(records({**CLEAR, "context": {"intended_use": "sorting mail"}}))
    with pytest.raises(CertificateError, match="not those of its digest"):
        Declarations().parse(content.replace(b"sorting mail", b"sorting male"), "r.jsonl")
    lines = content.splitlines(keepends=True)
    with pytest.raises(CertificateError, match="holds 0 declarations"):
        Declarations().parse(lines[0], "r.jsonl")
    with pytest.raises(CertificateError, match="holds 2 declarations"):
        Declarations().parse(b"".join([lines[0], lines[1], lines[1]]), "r.jsonl")


def test_statement_holds_the_digest_of_the_file_and_of_the_test_data() -> None:
    evidence = records()
    certificate: Certificate = Trial(Declarations(), Declarations().dump(evidence), "2026", {}).certificate()
    assert certificate.predicate["file"]["sha256"] == evidence.file.sha256
    assert certificate.predicate["data"]["test_digest"] == DIGEST == certificate.claims.test_digest
    assert Declarations().facts(certificate.predicate).test_data == DIGEST
    assert certificate.predicate["data"]["parts"][0]["groups"] == {"sex": {"f": 9, "m": None}}


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({"a": 5, "b": 5}, {"a": 5, "b": 5}),
        ({"a": 90, "b": 9, "c": 4}, {"a": 90, "b": None, "c": None}),
        ({"a": 90, "b": 3, "c": 4}, {"a": 90, "b": None, "c": None}),
        ({"a": 4}, {"a": None}),
    ],
)
def test_small_groups_are_withheld_so_that_no_difference_tells_them(
    counts: dict[str, int], shown: dict[str, int | None]
) -> None:
    assert withheld(Counter(counts), 5) == shown


CARD = b"""---
license: mit
tags: [x]
---
# Net
<!-- Provide a summary -->
## Uses
### Direct Use
Sorting *mail* by `postcode`.

### Downstream Use [optional]
[More Information Needed]
### Out-of-Scope Use
- credit
- policing
## Bias, Risks, and Limitations
[More Information Needed]
### Recommendations
Test again.
```
## Limitations
not a heading
```
## Evaluation
#### Testing Data
Letters of 2019.
"""


def test_card_gives_what_it_says_and_nothing_for_placeholders() -> None:
    assert from_card(CARD, "README.md").to_json() == {
        "declaration": FORMAT,
        "context": {"intended_use": "Sorting mail by postcode.", "not_for": ["credit", "policing"]},
        "datasheet": {"test": {"composition": "Letters of 2019."}},
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"# Net\nA net.\n", "no section that answers"), (b"\xff\xfe", "is not UTF-8"), (b"# x\n" * 300_000, "larger")],
)
def test_card_is_refused_with_a_sentence_when_it_cannot_be_used(content: bytes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        from_card(content, "README.md")


def test_json_of_a_declaration_holds_only_what_is_stated() -> None:
    declared = Declaration.from_json({"declaration": FORMAT, "context": {"intended_use": "a"}})
    assert (
        json.dumps(declared.to_json()) == '{"declaration": "leanmark/declarations/1", "context": {"intended_use": "a"}}'
    )
