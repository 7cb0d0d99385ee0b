"""The tables of what others ask for: every place exists, the guide is what the data say, and a model fills them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from certify.assessments.declarations.questions import QUESTIONS
from certify.assessments.efficiency.figures import ArmFigure, Figure, Figures
from certify.assessments.efficiency.guards import GUARDS
from certify.cli.main import main
from certify.core.evidence import ARMS
from certify.export.mappings import FIXED, schemes, tables
from certify.workflows.declaration import declare

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "recipes" / "guides" / "mappings.md").read_text()
PLACES = sorted({place for scheme in schemes().values() for row in scheme.rows for place in row.places})
PATHS = {".".join(one.path[:depth]) for one in QUESTIONS for depth in (1, 2)} | {"signed_by"}
EFFICIENCY = {name for name, kind in vars(Figures).items() if isinstance(kind, Figure)} | {
    f"{name}_{arm}" for name, kind in vars(Figures).items() if isinstance(kind, ArmFigure) for arm in ARMS
}


def in_the_source_of(assessment: str, name: str) -> bool:
    stem = re.sub(r"_\d+_", "_{eps}_", name).replace("_candidate", "_{arm}")
    sources = (path.read_text() for path in (ROOT / "certify/assessments" / assessment).glob("*.py"))
    return any(f'"{one}"' in text for text in sources for one in (name, stem))


@pytest.mark.parametrize("place", PLACES)
def test_location_exists(place: str) -> None:
    kind, _, rest = place.partition(".")
    if kind == "declared":
        assert rest in PATHS
    elif kind == "finding":
        assessment, _, name = rest.partition(".")
        assert name in GUARDS if assessment == "efficiency" else in_the_source_of(assessment, name)
    elif kind == "efficiency":
        assert rest in EFFICIENCY
    elif rest:
        assert in_the_source_of(kind, rest)
    else:
        assert place in FIXED


def test_guide_contains_the_tables_of_the_data() -> None:
    assert TEXT.endswith(f"\n{tables().rstrip()}\n"), "write it again: python -m certify.export.mappings"


def test_every_row_names_a_location_or_says_why_it_is_not_covered() -> None:
    for scheme in schemes().values():
        for row in scheme.rows:
            assert row.places if row.answered != "no" else row.why
            assert row.answered == "yes" or row.why
            assert "|" not in row.asked + row.why
    assert {"annex-iv", "annex-xi", "gpai-form", "aisvs", "iso-42001", "nist-ai-rmf", "sci"} <= set(schemes())


@pytest.mark.parametrize("option", ["--carbon-intensity", "--embodied"])
def test_mappings_name_options_that_commands_have(option: str) -> None:
    assert option in TEXT
    for command in ("certify", "report"):
        assert option in CliRunner().invoke(main, [command, "--help"]).stdout


def test_mappings_cite_their_sources() -> None:
    assert "secondary sources\nonly" in TEXT and "not legal advice" in TEXT


def test_tables_are_filled_with_figures_and_words_of_a_model(certify_small: Callable[..., Any], tmp_path: Path) -> None:
    graded = certify_small()
    before = CliRunner().invoke(main, ["mappings", str(graded.path), "--scheme", "annex-iv"])
    assert before.exit_code == 0, before.output
    rows = {line.split(" | ")[0]: line for line in before.stdout.splitlines()}
    assert rows["| intended purpose (1(a))"].endswith("not for: not stated | not stated |")
    assert "relative loss percent: 0.07 %" in rows["| metrics of accuracy (2(g), 3)"]
    assert rows["| instructions for use (1(h))"] == "| instructions for use (1(h)) | - | not covered: the product's |"
    assert "SCI" not in before.stdout
    words = tmp_path / "d.yaml"
    words.write_text("declaration: leanmark/declarations/1\nfaces: no\ncontext: {intended_use: 'Sorting | letters'}\n")
    declare(graded.path, words, signer=graded.key)
    after = CliRunner().invoke(main, ["mappings", str(graded.path), "--out", str(tmp_path / "m.md")])
    assert after.exit_code == 0, after.output
    text = (tmp_path / "m.md").read_text()
    assert "intended use: Sorting \\| letters; not for: not stated | part: in the maker's words |" in text
    assert "test unseen: pass." in text and "not legal advice" in text.lower()


def test_mappings_name_the_nearest_when_the_scheme_is_unknown(certify_small: Callable[..., Any]) -> None:
    result = CliRunner().invoke(main, ["mappings", str(certify_small().path), "--scheme", "anex-iv"])
    assert result.exit_code == 2 and "did you mean 'annex-iv'" in result.output
