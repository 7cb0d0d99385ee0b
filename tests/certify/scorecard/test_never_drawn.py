"""No command and no export draws a level from statements that the maker signed, whatever files are next to it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.attest.keys import generate
from certify.cli.main import main
from certify.export import FORMATS
from certify.present.page.content import content_of
from certify.present.page.drawing import svg_page
from certify.present.page.html import html_page

LEVEL = re.compile(r"\b(silver|gold|platinum)\b", re.IGNORECASE)
AWARD = re.compile(
    r"level\W{1,4}certified|certified\W{1,4}level|awarded by (?!a (?:certification )?scheme)", re.IGNORECASE
)

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("verify",), ("verify", "--json"), ("audit",), ("audit", "--json"), ("label",), ("label", "--level"), ("badge",),
    ("report",), ("page",), ("page", "--level"), ("compare",), ("compare", "--json"), ("gate",), ("gate", "--json"),
    ("mark", "show"), ("mark", "show", "--json"), ("score", "--json"), ("renew", "--runtime", "none 1"), ("pack",),
    ("mappings",),
    *(("export", "--format", name) for name in FORMATS),
)  # fmt: skip
DRAWN = ("*.svg", "*.html", "*.md")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def graded(certify_small: Any) -> Any:
    return certify_small(header={"created": "2026-01-01T00:00:00Z"})


@pytest.fixture
def boasting(world: Any) -> Any:
    """A model whose points are enough for everything, whose maker wrote a mark and a scheme file with a second key."""
    world.count()
    second = generate(world.keys / "second.key")
    world.forged(second, level="platinum")
    world.believes(generate(world.keys / "honest-scheme.key"))  # the reader knows a scheme, and not this one
    run("trust", "add", world.maker.public.hex, "--name", "maker")
    run("trust", "add", second.public.hex, "--name", "second")
    return world


def told(text: str) -> list[str]:
    """Levels that a text draws; what an edition defines, and what a refusal says a level would need, is none."""
    try:
        values, _ = json.JSONDecoder().raw_decode(text)  # further lines tell what a format could not hold
    except ValueError:
        return [*LEVEL.findall(text), *AWARD.findall(text)]
    if isinstance(values, dict):
        values.pop("definitions", None)  # CycloneDX: the standard itself
        values.pop("next", None)  # leanmark score: what the level above would need
    return LEVEL.findall(json.dumps(values))


def test_nothing_is_drawn_by_any_command_or_export_when_only_the_maker_signed(boasting: Any) -> None:
    model, found = boasting.model, {}
    for command in COMMANDS:
        name = " ".join(command)
        result = run(*command, model) if "show" not in command else run("mark", "show", *command[2:], model)
        assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit), (name, result)
        if hits := told(result.output):
            found[name] = hits
        if "--level" in command:
            assert result.exit_code == 3, (name, result.output)
    drawn = [path for pattern in DRAWN for path in sorted(model.parent.rglob(pattern))]
    assert {path.name for path in drawn} >= {"label.svg", "badge.svg", "report.html", "page.html", "page.svg"}
    assert not (model.parent / "mark.svg").exists()
    found |= {path.name: hits for path in drawn if (hits := told(path.read_text()))}
    statement = (model.parent / "statements" / "scorecard.json").read_text()
    found |= {"scorecard.json": hits} if (hits := told(statement)) else {}
    assert not found


def test_registry_draws_no_level_when_only_the_maker_signed(boasting: Any, tmp_path: Path) -> None:
    site = tmp_path / "site"
    result = run("registry", "build", boasting.model.parent, "--out", site, "--trust", boasting.maker.public.hex)
    assert result.exit_code == 0, result.output
    found = {path.name: hits for path in sorted(site.rglob("*.html")) if (hits := told(path.read_text()))}
    assert not found and not told(result.output)
    assert "A mark that does not count" in (site / "index.html").read_text()  # the forged mark was looked at


def test_score_names_a_level_only_as_what_would_be_needed(boasting: Any) -> None:
    printed = run("score", boasting.model).output
    for line in printed.splitlines():
        if LEVEL.search(line):
            assert line.startswith("In addition to a scheme's signature, the level ") and line.endswith(" needs:")
    assert "no level" in " ".join(printed.split())


def test_page_shows_the_level_when_a_known_scheme_awards_it(world: Any) -> None:
    world.count()
    world.award()
    world.believes()
    run("trust", "add", world.maker.public.hex, "--name", "maker")
    result = run("page", world.model, "--level")
    assert result.exit_code == 0, result.output
    for ending in ("html", "svg"):
        text = (world.model.parent / f"page.{ending}").read_text()
        assert "silver" in text and "known" in text
    assert run("page", world.model).exit_code == 0
    assert not told((world.model.parent / "page.html").read_text())


# The page itself


@pytest.fixture
def page(world: Any) -> Any:
    import certify

    world.count()
    found = certify.verify(world.model)
    return content_of([one.claims for one in found.certificates], found.signatures)


def test_page_has_a_row_for_each_statement_with_who_says_so(page: Any) -> None:
    titles = {row.title: row for row in page.rows}
    assert set(titles) == {"Energy against accuracy", "Scorecard after SECure"}
    assert "derived again by someone else" in titles["Energy against accuracy"].says
    assert titles["Scorecard after SECure"].says.startswith("its maker, key ")
    assert titles["Energy against accuracy"].outcome.startswith("grade ")
    assert page.who == "Measured by its maker, and derived again by someone else. This is not a certification."


def test_page_says_what_is_not_stated_when_nothing_was_declared(page: Any) -> None:
    notice = dict(page.notice)
    assert notice["Who can I ask?"] == "Its maker does not say."
    assert "Energy and accuracy" in notice["What was measured?"]


def test_page_can_be_read_aloud_and_understood_without_colour(page: Any) -> None:
    svg, text = svg_page(page), html_page(page)
    assert 'role="img"' in svg and 'aria-labelledby="title desc"' in svg
    assert page.who in re.sub("<[^>]*>", "", svg)
    for part in ('<html lang="en">', "<main>", "<caption", 'scope="col"', 'scope="row"', "viewport"):
        assert part in text
    assert set(re.findall(r'fill="(#[0-9a-f]{6})"', svg)) <= {"#111111", "#4a4a4a", "#ffffff"}


def test_page_runs_nothing_and_fetches_nothing_when_names_are_hostile(page: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    hostile = replace(page, model="</title><script>x</script>", maker=(("<b>", "\u202e<img src=x>"),))
    for text in (html_page(hostile), svg_page(hostile)):
        assert "<script" not in text and "<img" not in text and "\u202e" not in text
    assert "default-src 'none'" in html.unescape(html_page(page))


def test_pack_holds_marks_and_attestations(world: Any) -> None:
    import zipfile

    world.count()
    world.award()
    run("trust", "add", world.maker.public.hex, "--name", "maker")
    result = run("pack", world.model.parent)
    assert result.exit_code == 0, result.output
    (made,) = world.model.parent.parent.glob("*.zip")
    assert any(name.startswith("marks/") for name in zipfile.ZipFile(made).namelist())
