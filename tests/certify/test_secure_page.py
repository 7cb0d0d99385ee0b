"""The page that follows SECure line by line: each line has an answer, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from certify.assessments.declarations.questions import QUESTIONS
from certify.cli.main import REFEREE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "recipes" / "guides" / "secure.md").read_text()
ANSWERS = {"covered", "part", "declined", "out of scope"}
ABSTRACT = (
    "carbon and social footprint", "trove of data", "unsustainable and socially extractive", "ESG-inspired",
    "socio-technical", "compute-efficient machine learning", "marginal decreases in accuracy", "federated learning",
    "idle capacity on devices", "data sovereignty", "use-based privacy", "differential privacy", "LEEDesque",
    "products and services", "standardized manner", "environmental and social impacts", "consumers",
)  # fmt: skip

CONFIG = (ROOT / "compress" / "training" / "config.py").read_text()
REMEDIES = set(re.findall(r"^    (balance|worst_group|forget): str", CONFIG, re.MULTILINE))
"""Options of ``distill``, from its source, since the referee is tested without the maker's libraries."""


def rows() -> list[list[str]]:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [one for one in cells if one[1] != "here"]


def test_every_line_has_an_answer_and_a_location_or_reason() -> None:
    assert len(rows()) > 45
    for one in rows():
        assert len(one) == 3 and one[1] in ANSWERS and one[2], one


def test_every_phrase_of_the_abstract_has_a_line() -> None:
    lines = [one[0] for one in rows()]
    assert [phrase for phrase in ABSTRACT if not any(phrase in line for line in lines)] == []


def test_everything_named_on_the_page_exists() -> None:
    paths = {".".join(one.path[:depth]) for one in QUESTIONS for depth in (1, 2)} | {one.path[-1] for one in QUESTIONS}
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", TEXT):
        assert name in paths | {"distill", "free"} | REMEDIES, name
    for name in re.findall(r"`leanmark ([a-z]+)", TEXT):
        assert name in REFEREE, name


def test_hiring_voting_and_talks_are_out_of_scope() -> None:
    for word in ("hiring", "voting", "giving talks"):
        (found,) = [one for one in rows() if one[0].startswith(word)]
        assert found[1] == "out of scope"
