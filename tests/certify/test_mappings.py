from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from certify.assessments.efficiency.figures import ArmFigure, Figure, Figures
from certify.cli.main import main
from certify.core.evidence import ARMS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "recipes" / "guides" / "mappings.md").read_text()


def test_mappings_name_only_what_a_certificate_holds() -> None:
    schema = json.loads((ROOT / "certify/assessments/efficiency/certificate-1.json").read_text())
    figures = {name for name, kind in vars(Figures).items() if isinstance(kind, Figure)}
    figures |= {f"{name}_{arm}" for name, kind in vars(Figures).items() if isinstance(kind, ArmFigure) for arm in ARMS}
    fields = set(re.findall(r'"(\w+)": \{', json.dumps(schema))) | {"lineage.json", "certify", "compress", "report"}
    named = set(re.findall(r"`([\w.]+)`", TEXT))
    assert "energy_j_candidate" in named and named <= figures | fields


@pytest.mark.parametrize("option", ["--carbon-intensity", "--embodied"])
def test_mappings_name_options_that_commands_have(option: str) -> None:
    assert option in TEXT
    for command in ("certify", "report"):
        assert option in CliRunner().invoke(main, [command, "--help"]).stdout


def test_mappings_say_what_they_rest_on() -> None:
    assert "secondary sources\nonly" in TEXT and "not legal advice" in TEXT
