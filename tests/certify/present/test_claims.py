"""Claims: everything that was signed and may be printed is there, and what is malformed is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import certify.core.schema
from certify.assessments.efficiency.assessment import Efficiency
from certify.core.errors import CertificateError
from certify.present.headline import accuracy_of, energy_of

EXAMPLES = Path(certify.core.schema.__file__).parent / "examples"
DIGEST = "ab" * 32
NOT_PRINTED = {"version", "label"}
"""What the predicate holds for machines alone."""


def example(kind: str) -> dict[str, Any]:
    predicate: dict[str, Any] = json.loads((EXAMPLES / f"certificate-1.{kind}.json").read_text())["predicate"]
    return predicate


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("kind", ["graded", "refused"])
def test_claims_contain_every_signed_value_of_a_published_example(kind: str) -> None:
    predicate = example(kind)
    printed = {name: value for name, value in predicate.items() if name not in NOT_PRINTED}
    claims = asdict(Efficiency().claims(predicate, DIGEST))
    claims["figures"] = {
        name: estimate.to_json() for name, estimate in Efficiency().claims(predicate, DIGEST).figures.items()
    }
    held = set(map(str, leaves(claims)))
    for value in leaves(printed):
        assert str(value) in held or str(float(value)) in held


def test_claims_have_headlines_when_graded_and_none_when_refused() -> None:
    graded, refused = (Efficiency().claims(example(kind), DIGEST) for kind in ("graded", "refused"))
    energy, accuracy = energy_of(graded), accuracy_of(graded)
    assert energy is not None and "energy" in energy.meaning
    assert accuracy is not None and "accuracy" in accuracy.meaning
    assert (energy_of(refused), accuracy_of(refused), refused.grade.letter) == (None, None, None)
    assert refused.refused and not graded.refused


@pytest.mark.parametrize("level", ["wall", "counter", "sampled", "modelled", "proxy"])
def test_claims_are_unmetered_when_level_is_a_model_or_a_proxy(level: str) -> None:
    predicate = example("graded")
    predicate["meter"]["level"] = level
    assert Efficiency().claims(predicate, DIGEST).unmetered == (level in ("modelled", "proxy"))


@pytest.mark.parametrize("name", sorted(set(example("graded")) - NOT_PRINTED - {"regrade_of"}))
def test_claims_are_refused_when_a_part_of_the_predicate_is_missing(name: str) -> None:
    predicate = example("graded")
    del predicate[name]
    with pytest.raises(CertificateError, match=name):
        Efficiency().claims(predicate, DIGEST)


def test_claims_are_refused_when_the_letter_is_not_on_the_scale() -> None:
    predicate = example("graded")
    predicate["grade"]["letter"] = "H"
    with pytest.raises(CertificateError, match="'H' is not a letter"):
        Efficiency().claims(predicate, DIGEST)


def test_claims_name_the_first_certificate_when_graded_again() -> None:
    again = {"certificate": DIGEST, "edition": "2026", "key_id": DIGEST}
    regrade = Efficiency().claims({**example("graded"), "regrade_of": again}, DIGEST).regrade_of
    assert regrade is not None and regrade.certificate == DIGEST


def test_claims_keep_other_signed_facts_about_the_data_when_a_metric_is_declared() -> None:
    predicate = example("graded")
    predicate["data"] |= {"metric": "f1", "threshold": 0.5}
    data = Efficiency().claims(predicate, DIGEST).data
    assert (data.metric, data.further) == ("f1", {"fresh": "no", "threshold": 0.5})
