"""The published examples fit the published schemas, and follow from the rules.

After a change of an unreleased schema, make_examples.py in this folder regenerates them.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from certify.assessment.profile import Profile
from certify.assessment.rederivation import compare_outcomes
from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.grade import grade
from certify.core.errors import CertificateError
from certify.core.schema import SCHEMAS, validate

EXAMPLES = {
    entry.name: json.loads(entry.read_text())
    for entry in (resources.files("certify.core.schema") / "examples").iterdir()
}

PACKAGES = {"certificate-1": "certify.assessments.efficiency"}
"""Schemas that an assessment keeps, with the package of each; they fit ``statement-1`` too."""


def test_examples_cover_every_schema() -> None:
    assert {name.split(".")[0] for name in EXAMPLES} == {*SCHEMAS, *PACKAGES} - {"statement-1"}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example_fits_its_schema(name: str) -> None:
    schema = name.split(".")[0]
    if schema in PACKAGES:
        validate(EXAMPLES[name], schema, PACKAGES[schema])
        validate(EXAMPLES[name], "statement-1")
    else:
        validate(EXAMPLES[name], schema)


@pytest.mark.parametrize("name", ["certificate-1.graded.json", "certificate-1.refused.json"])
def test_example_holds_the_derived_grade(name: str) -> None:
    predicate: dict[str, Any] = EXAMPLES[name]["predicate"]
    assert predicate["outcome"] == name.split(".")[1]
    edition = load_edition(predicate["edition"]["name"])
    derived = grade(Profile.from_json(predicate["profile"]), edition).to_json()
    assert all(row.match == "same" for row in compare_outcomes(predicate["grade"], derived))


@pytest.mark.parametrize("agrees", [True, False])
def test_countersignature_refuses_when_it_contradicts_itself(agrees: bool) -> None:
    example = EXAMPLES[f"countersignature-1.{'agrees' if agrees else 'disagrees'}.json"]
    predicate = {**example["predicate"], "agrees": not agrees}
    with pytest.raises(CertificateError, match="differs"):
        validate({**example, "predicate": predicate}, "countersignature-1")
