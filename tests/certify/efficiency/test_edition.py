from __future__ import annotations

import hashlib
from importlib import resources

import pytest
import yaml

from certify.assessments.efficiency.edition import editions, load_edition, parse_edition
from certify.assessments.efficiency.guards import GUARDS
from certify.core.errors import CertificateError, UsageError

CONTENT = (resources.files("certify.assessments.efficiency") / "editions" / "2026.yaml").read_bytes()


def test_edition_2026_has_the_rules_of_the_design_when_loaded() -> None:
    edition = load_edition("2026")
    assert editions() == ["2026"]
    assert (edition.name, edition.plan.confidence) == ("2026", 0.95)
    assert dict(edition.grading.letters) == {"A": 10, "B": 8, "C": 6, "D": 4, "E": 2, "F": 0}
    assert (edition.grading.last_letter, edition.grading.best_modelled_letter) == ("G", "B")
    assert (edition.grading.energy_weight, edition.grading.loss_weight, edition.grading.largest_loss_percent) == (
        10,
        2,
        5,
    )
    assert (edition.plan.minimum_blocks, edition.plan.null_tolerance, edition.thresholds.minimum_test_samples) == (
        10,
        0.05,
        500,
    )
    assert (edition.plan.latency_calls, edition.plan.latency_time_s, edition.plan.longest_window_s) == (500, 20, 60)
    assert edition.digest == hashlib.sha256(CONTENT).hexdigest()
    assert edition.constants == yaml.safe_load(CONTENT)


def test_guards_that_may_be_unknown_exist_when_named_by_the_edition() -> None:
    assert set(load_edition("2026").grading.may_be_unknown) <= set(GUARDS)


@pytest.mark.parametrize(
    ("meter", "seconds"),
    [
        ("nvml", 5.0),
        ("rapl-powercap", 1.0),
        ("rapl-perf", 1.0),
        ("hwmon", 5.0),
        ("zeus", 5.0),
        ("vcpu-watts", 0.1),
        ("nvml+rapl-powercap", 5.0),
        ("replay:nvml", 5.0),
        ("replay:rapl-perf", 1.0),
        (None, 1.0),
    ],
)
def test_window_length_follows_the_meter_when_it_is_known(meter: str | None, seconds: float) -> None:
    assert load_edition("2026").plan.window_seconds(meter) == seconds


@pytest.mark.parametrize(("score", "letter"), [(1e9, "A"), (10.0, "A"), (9.99, "B"), (0.0, "F"), (-0.1, "G")])
def test_letter_follows_score_when_on_and_off_boundaries(score: float, letter: str) -> None:
    assert load_edition("2026").grading.letter(score) == letter


def test_unknown_edition_names_the_nearest_when_asked_for() -> None:
    with pytest.raises(UsageError, match="did you mean '2026'"):
        load_edition("2025")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence": None}, "line .*: plan.confidence of the edition must be a valid number, got None"),
        ({"confidence": "high"}, "confidence"),
        ({"confidence": 1.5}, "plan.confidence of the edition must be less than 1, got 1.5"),
        ({"minimum_blocks": 10.5}, "minimum_blocks"),
        ({"minimum_blocks": True}, "minimum_blocks"),
        ({"minimum_blocks": -1}, "minimum_blocks"),
        ({"letters": {"A": 1.0, "B": 2.0}}, "fall in score"),
        ({"letters": {"A": "x"}}, "letters"),
        ({"best_modelled_letter": "Z"}, "best_modelled_letter"),
        ({"may_be_unknown": "all"}, "may_be_unknown"),
        ({"window_s": {"nvml": 5.0}}, "default"),
        ({"assumed_autocorrelation": 1.0}, "must be less than 1"),
        ({"name": "2027"}, "its name is '2027'"),
        ({"surprise": 1}, "surprise"),
        ({"plan": {"surprise": 1}}, "Unknown key of plan of the edition 'surprise'"),
        (
            {"plan": {**yaml.safe_load(CONTENT)["plan"], "edition": "2026"}},
            "Unknown key of plan of the edition 'edition'",
        ),
        ({"null_time_s": float("inf")}, "null_time_s must be a finite number"),
        ({"plan": [1]}, "must be a mapping"),
    ],
)
def test_edition_is_refused_when_a_constant_is_wrong(change: dict[str, object], words: str) -> None:
    values = yaml.safe_load(CONTENT)
    for name, value in change.items():
        section = next((part for part in values.values() if isinstance(part, dict) and name in part), values)
        section[name] = value
    with pytest.raises(CertificateError, match=words):
        parse_edition(yaml.safe_dump(values).encode(), "2026")


@pytest.mark.parametrize("content", [b"a: [", b"- 1", b""])
def test_edition_is_refused_when_it_is_not_a_mapping(content: bytes) -> None:
    with pytest.raises(CertificateError, match="Edition 2026"):
        parse_edition(content, "2026")


def test_edition_is_refused_when_a_constant_is_missing() -> None:
    values = yaml.safe_load(CONTENT)
    del values["plan"]["null_tolerance"]
    with pytest.raises(CertificateError, match="null_tolerance"):
        parse_edition(yaml.safe_dump(values).encode(), "2026")
