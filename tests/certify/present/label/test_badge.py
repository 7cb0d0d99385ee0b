from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from certify.assessments.efficiency.assessment import Efficiency
from certify.cli.main import main
from certify.core.errors import CertificateError
from certify.present.label import badge as draw_badge
from certify.present.label import render
from certify.present.text import width

DIGEST = "0123456789abcdef" * 4
SVG = "{http://www.w3.org/2000/svg}"
Make = Callable[..., dict[str, Any]]


def badge(predicate: dict[str, Any], digest: str) -> str:
    return draw_badge(Efficiency().claims(predicate, digest))


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_badge_shows_saving_marked_and_no_letter_when_energy_is_modelled(predicate: Make) -> None:
    assert texts(badge(predicate(), DIGEST)) == [
        "leanmark", "4.2× less energy (modelled)", "on Xeon 8581C, 2 threads", "self-declared",
    ]  # fmt: skip


def test_badge_has_no_mark_when_energy_is_metered(predicate: Make) -> None:
    assert texts(badge(predicate(letter="A", level="counter"), DIGEST)) == [
        "leanmark",
        "4.2× less energy",
        "on Xeon 8581C, 2 threads",
        "self-declared",
    ]


def test_badge_says_more_energy_when_model_became_more_expensive(predicate: Make) -> None:
    made = badge(predicate(letter="G", level="counter", ratio=(1.31, 1.25, 1.365)), DIGEST)
    assert texts(made) == ["leanmark", "1.31× more energy", "on Xeon 8581C, 2 threads", "self-declared"]


def test_badge_claims_nothing_when_refused(predicate: Make) -> None:
    assert texts(badge(predicate(letter=None, reasons=("Why.",)), DIGEST)) == ["leanmark", "not graded"]


def test_badge_has_a_title_and_keeps_its_text_inside(predicate: Make) -> None:
    root = ElementTree.fromstring(badge(predicate(), DIGEST))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Modelled saving of resnet50: 4.2× less energy"
    end = float(root.attrib["width"])
    for node in root.iter(f"{SVG}text"):
        middle, half = float(node.attrib["x"]), width(node.text or "", 13, bold=True) / 2
        assert 0 <= middle - half <= middle + half <= end
    assert render(badge(predicate(), DIGEST)) == render(badge(predicate(), DIGEST))


def test_badge_raises_certificate_error_when_predicate_lacks_grade(predicate: Make) -> None:
    values = predicate()
    del values["grade"]
    with pytest.raises(CertificateError, match="grade"):
        badge(values, DIGEST)


def test_badge_is_written_next_to_the_model_when_no_path_is_given(
    certify_small: Callable[..., Any], tmp_path: Path
) -> None:
    certified = certify_small()
    done = CliRunner().invoke(main, ["badge", str(certified.path)])
    assert done.exit_code == 0, done.output
    assert texts((certified.path.parent / "badge.svg").read_text())[0] == "leanmark"
    assert Path(done.stdout.strip()).name == "badge.svg"
