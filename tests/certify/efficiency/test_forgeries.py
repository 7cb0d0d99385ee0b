"""Evidence that nobody can have recorded trips the finding of its kind, alone, and earns no letter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from forgeries import FORGERIES, Forgery

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence


def _findings(evidence: Evidence, edition: Edition) -> dict[str, str]:
    return {one.name: one.sentence for one in judge_guards(evidence, edition) if one.outcome != "pass"}


each_forgery = pytest.mark.parametrize("forgery", FORGERIES, ids=[f"{f.finding}: {f.what}" for f in FORGERIES])


@each_forgery
def test_finding_fails_alone_when_evidence_is_forged(
    forgery: Forgery, make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    honest = make_evidence(level=forgery.level)
    assert _findings(honest, edition) == {}
    forged = forgery.forge(honest)
    found = _findings(forged, edition)
    assert list(found) == [forgery.finding], found
    assert forgery.words in found[forgery.finding]
    assert grade(derive(forged, edition), edition).letter is None


@each_forgery
def test_forged_evidence_earns_a_letter_when_its_finding_alone_is_disabled(
    forgery: Forgery, make_evidence: Callable[..., Evidence], edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = forgery.forge(make_evidence(level=forgery.level))
    monkeypatch.setitem(GUARDS, forgery.finding, lambda evidence, edition: GUARDS["outputs_finite"](evidence, edition))
    assert grade(derive(forged, edition), edition).letter is not None
