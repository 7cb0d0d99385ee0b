"""Evidence that nobody can have recorded trips the finding of its kind, alone, and earns no letter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from forgeries import FORGERIES, Forgery, each_window

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence
from certify.core.windows import Window


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
def test_forged_evidence_earns_a_letter_when_only_its_finding_is_disabled(
    forgery: Forgery, make_evidence: Callable[..., Evidence], edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = forgery.forge(make_evidence(level=forgery.level))
    monkeypatch.setitem(GUARDS, forgery.finding, lambda evidence, edition: GUARDS["outputs_finite"](evidence, edition))
    assert grade(derive(forged, edition), edition).letter is not None


def test_cpu_time_is_possible_when_others_take_most_of_the_machine(evidence: Evidence, edition: Edition) -> None:
    def starved(_: int, window: Window) -> dict[str, Any]:
        return {"cpu_s": 0.3 * window.duration_s, "host": {**window.host, "foreign_cpu_share": 0.8}}

    assert list(_findings(each_window(starved)(evidence), edition)) == ["device_alone"]
    hidden = each_window(lambda _, window: {"cpu_s": 0.3 * window.duration_s})
    assert list(_findings(hidden(evidence), edition)) == ["cpu_time_possible"]


def test_latencies_agree_when_a_busy_machine_makes_single_inferences_slower(
    evidence: Evidence, edition: Edition
) -> None:
    slower = tuple(replace(one, seconds=tuple(1.9 * s for s in one.seconds)) for one in evidence.latencies)
    assert _findings(replace(evidence, latencies=slower), edition) == {}


def test_latencies_agree_when_a_busy_machine_stretches_the_windows(evidence: Evidence, edition: Edition) -> None:
    shorter = tuple(replace(one, seconds=tuple(0.15 * s for s in one.seconds)) for one in evidence.latencies)
    assert list(_findings(replace(evidence, latencies=shorter), edition)) == ["latencies_agree"]
    busy = each_window(lambda _, window: {"host": {**window.host, "foreign_cpu_share": 0.7}})(evidence)
    assert list(_findings(replace(busy, latencies=shorter), edition)) == ["device_alone"]
    shortest = tuple(replace(one, seconds=tuple(0.01 * s for s in one.seconds)) for one in evidence.latencies)
    alone = each_window(lambda _, window: {"host": {**window.host, "foreign_cpu_share": 1.0}})(evidence)
    assert "latencies_agree" in _findings(replace(alone, latencies=shortest), edition)


@pytest.mark.parametrize("reading", ["foreign_cpu_share", "steal_share"])
def test_latencies_blame_the_machine_when_it_was_busy_by_its_own_record(
    reading: str, evidence: Evidence, edition: Edition
) -> None:
    """Claiming a busy machine gains nothing, because both results are refusals."""
    longer = replace(evidence, latencies=tuple(replace(one, seconds=tuple(3.34 * s for s in one.seconds))
                                               for one in evidence.latencies))  # fmt: skip
    alone = _findings(longer, edition)
    assert list(alone) == ["latencies_agree"] and "not measured on this model" in alone["latencies_agree"]
    busy = each_window(lambda _, window: {"host": {**window.host, reading: 0.4}})(longer)
    found = _findings(busy, edition)
    assert set(found) == {"latencies_agree", "device_alone" if reading == "foreign_cpu_share" else "steal_low"}
    assert "the machine was too busy" in found["latencies_agree"]
    assert grade(derive(busy, edition), edition).letter is None
    claimed = each_window(lambda _, window: {"host": {**window.host, reading: 0.09}})(longer)
    assert "not measured on this model" in _findings(claimed, edition)["latencies_agree"]
