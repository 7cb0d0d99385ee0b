"""A model that has only a statement of another assessment is drawn, reported, exported and compared by its claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import certify
from certify.assessment import registry
from certify.attest.keys import SigningKey
from certify.cli.main import main
from certify.core.errors import CertificateError, UsageError
from certify.model_file.model_file import open_model
from certify.model_file.subject import subject_digests

pytestmark = pytest.mark.usefixtures("installed")

Lone = Callable[..., Path]


@pytest.fixture
def lone(graded: Any, tmp_path: Path) -> Lone:
    """Makes a folder with the model, without its certificate, and a statement of the toy."""

    def make(name: str = "lone", **knobs: int) -> Path:
        from steadiness import Steadiness, records

        model = tmp_path / name / "model.onnx"
        model.parent.mkdir()
        with open_model(graded.path) as opened:
            opened.write_unsealed(model)
        source = tmp_path / "records.jsonl"
        source.write_bytes(Steadiness().dump(records(subject_digests(model), **knobs)))
        certify.state(model, "steadiness", source, edition="2026", signer=graded.key)
        return model

    return make


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)])


def label_outcome(model: Path, key: SigningKey) -> str:
    check = certify.verify(model, trust=[key.public]).check("label")
    assert check is not None
    return check.outcome


def test_label_is_drawn_and_checked_when_there_is_only_a_statement(lone: Lone, graded: Any) -> None:
    model = lone()
    result = run("label", model)
    assert result.exit_code == 0, result.output
    label = model.parent / "label.svg"
    drawn = label.read_text()
    for words in ("Steady under a shift", ">steady<", "0.970 (", "It says nothing about other changes"):
        assert words in drawn
    assert label_outcome(model, graded.key) == "pass"
    label.write_text(drawn.replace("0.970 (", "0.999 ("))
    assert label_outcome(model, graded.key) == "fail"


def test_image_of_another_label_fails_when_there_is_only_a_statement(lone: Lone, graded: Any) -> None:
    model = lone()
    (model.parent / "label.png").write_bytes(b"a letter")
    assert {check.name for check in certify.verify(model, trust=[graded.key.public]).failed} == {"label_picture"}


def test_label_gives_the_reasons_when_the_only_statement_is_a_refusal(lone: Lone) -> None:
    model = lone(steady=70)
    assert run("label", model).exit_code == 0
    assert "The share may be as low" in (model.parent / "label.svg").read_text()


def test_report_shows_the_statement_when_it_is_the_only_one(lone: Lone) -> None:
    page = certify.report(lone())
    assert ": steady</h1>" in page
    assert 'id="statement-steadiness"' in page and "leanmark verify model.onnx" in page
    assert "not graded" not in page and "Energy" not in page


@pytest.mark.parametrize("name", ["in-toto", "hf-model-card"])
def test_export_holds_the_statement_when_it_is_the_only_one(lone: Lone, name: str) -> None:
    result = run("export", lone(), "--format", name, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)["content"]
    assert "statements/steadiness.evidence.jsonl" in content.replace("\\", "")
    assert "nergy" not in content
    for words in ("steady", "It says nothing about other changes"):
        assert words in content


@pytest.mark.parametrize("name", ["cyclonedx", "spdx3"])
def test_export_is_refused_when_a_format_describes_measurements_alone(lone: Lone, name: str) -> None:
    result = run("export", lone(), "--format", name)
    assert result.exit_code == 1 and "statement must be of efficiency" in result.output


def test_statements_are_compared_when_they_are_of_one_assessment(lone: Lone, tmp_path: Path) -> None:
    first, second = lone("first"), lone("second", steady=90)
    result = run("compare", first, second)
    assert result.exit_code == 0 and "0.970 (" in result.output and "0.900 (" in result.output, result.output
    told = json.loads(run("compare", first, second, "--json").stdout)
    assert told["compared_by"] == {}
    assert [one["steady"]["value"] for one in told["models"]] == [0.97, 0.9]
    assert not any(one["on_pareto_front"] for one in told["models"])
    plotted = run("compare", first, second, "--plot", tmp_path / "plot.svg")
    assert plotted.exit_code == 2 and "to plot it" in plotted.output


def test_models_are_not_compared_when_their_assessments_differ(lone: Lone, graded: Any) -> None:
    with pytest.raises(UsageError, match="different assessment"):
        certify.compare(lone(), graded.path)


def test_one_assessment_alone_is_sealed() -> None:
    assert [name for name, one in registry.assessments().items() if one.sealed] == ["efficiency"]
    assert registry.sealed_assessment().name == "efficiency"


def test_assessment_is_left_out_when_it_would_seal_next_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from steadiness import TYPE, Steadiness

    registry._surveyed.cache_clear()
    monkeypatch.setattr(Steadiness, "sealed", True)
    try:
        assert registry.sealed_assessment().name == "efficiency"
        assert "steadiness" not in registry.assessments()
        with pytest.raises(CertificateError, match="room for only one"):
            registry.assessment_of(TYPE)
    finally:
        registry._surveyed.cache_clear()
