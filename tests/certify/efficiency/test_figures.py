from __future__ import annotations

import copy
import json

from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import ArmFigure, Figure, Figures
from certify.assessments.efficiency.profile import derive
from certify.core.estimate import Estimate
from certify.core.evidence import ARMS, Evidence

ONE = Estimate.exact(1.0, "1", "a test")


def test_every_figure_of_a_profile_is_named_when_evidence_is_complete(evidence: Evidence, edition: Edition) -> None:
    kinds = vars(Figures).items()
    named = {name for name, kind in kinds if isinstance(kind, Figure)}
    named |= {f"{name}_{arm}" for name, kind in kinds if isinstance(kind, ArmFigure) for arm in ARMS}
    assert {name for name in derive(evidence, edition).estimates if not name.startswith("class_")} <= named


def test_figure_is_a_name_on_the_class_and_an_estimate_on_an_instance() -> None:
    figures = Figures({Figures.energy_ratio: ONE, Figures.bytes("baseline"): ONE})
    assert list(figures) == ["energy_ratio", "bytes_baseline"]
    assert figures.energy_ratio is figures.bytes("baseline") is ONE
    assert figures.null_ratio is figures.bytes("candidate") is None


def test_figures_include_the_classes_until_written(evidence: Evidence, edition: Edition) -> None:
    profile = derive(evidence, edition)
    figures = Figures.of(profile.estimates)
    assert figures is profile.estimates and len(figures.classes) == 10
    assert copy.deepcopy(figures).classes == figures.classes
    read = Profile.from_json(json.loads(json.dumps(profile.to_json())))
    assert read == profile and Figures.of(read.estimates).classes == ()
