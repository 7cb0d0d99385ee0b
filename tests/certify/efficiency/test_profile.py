from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rfc8785

from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence, MeterFacts
from certify.core.evidence_file import evidence_bytes, evidence_lines, parse_evidence

Maker = Callable[..., Evidence]

NAMES = {
    *(f"{stem}_{arm}" for arm in ("baseline", "candidate") for stem in (
        "energy_j", "energy_yardstick", "duration_s", "throughput_per_s", "latency_p50_s", "latency_p90_s",
        "latency_p99_s", "accuracy", "macs", "bytes_moved", "parameters", "bytes", "peak_memory_bytes",
    )),
    "energy_ratio", "null_ratio", "smallest_detectable_saving", "duration_ratio", "relative_loss_percent",
    "accuracy_difference_points", "agreement", "majority_share", "mcnemar_p", "mcnemar_mid_p", "lost_samples",
    "gained_samples", "macs_ratio", "bytes_moved_ratio", "parameters_ratio", "bytes_ratio", "classes_worse",
    *(f"class_{label}_{stem}" for label in range(10) for stem in (
        "accuracy_baseline", "accuracy_candidate", "difference_points", "p",
    )),
}  # fmt: skip


def test_profile_holds_every_figure_when_evidence_is_complete(evidence: Evidence, edition: Edition) -> None:
    assert set(derive(evidence, edition).estimates) == NAMES


def test_profile_is_the_same_when_derived_from_the_written_file(evidence: Evidence, edition: Edition) -> None:
    first, again = derive(evidence, edition), derive(parse_evidence(evidence_bytes(evidence)), edition)
    assert first == again
    assert grade(first, edition) == grade(again, edition)


def test_profile_is_the_same_when_windows_are_shuffled(evidence: Evidence, edition: Edition) -> None:
    order = np.random.default_rng(0).permutation(len(evidence.windows))
    shuffled = dataclasses.replace(evidence, windows=tuple(evidence.windows[i] for i in order))
    mine, theirs = derive(evidence, edition), derive(shuffled, edition)
    assert mine.guards == theirs.guards
    for name, estimate in mine.estimates.items():
        assert theirs.estimates[name].high == pytest.approx(estimate.high, rel=1e-9), name


@pytest.mark.parametrize("run", ["null", "main", "yardstick"])
def test_profile_changes_when_one_window_is_altered(run: str, evidence: Evidence, edition: Edition) -> None:
    index = next(i for i, w in enumerate(evidence.windows) if w.run == run)
    windows = list(evidence.windows)
    windows[index] = dataclasses.replace(windows[index], energy_j=1.001 * (windows[index].energy_j or 0.0))
    altered = derive(dataclasses.replace(evidence, windows=tuple(windows)), edition)
    honest = derive(evidence, edition)
    changes = [(altered.estimates[name].value, e.value) for name, e in honest.estimates.items()]
    assert any(not math.isclose(after, before, rel_tol=1e-9) for after, before in changes)


def test_estimates_contain_the_truth_when_noise_is_known(make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(make_evidence(ratio=0.4, seed=3), edition).estimates
    truths = {
        "energy_ratio": 0.4,
        "duration_ratio": 0.4,
        "null_ratio": 1.0,
        "energy_j_baseline": 2.0,
        "energy_j_candidate": 0.8,
        "energy_yardstick_baseline": 0.5,
        "energy_yardstick_candidate": 0.2,
        "duration_s_baseline": 0.2,
        "throughput_per_s_candidate": 12.5,
        "macs_ratio": 0.5,
        "bytes_ratio": 0.13,
        "parameters_ratio": 0.48,
    }
    for name, truth in truths.items():
        assert estimates[name].low <= truth <= estimates[name].high, name
    assert estimates["accuracy_baseline"].value == pytest.approx(1454 / 1500)
    assert estimates["agreement"].value == pytest.approx(1493 / 1500)
    assert estimates["relative_loss_percent"].value == pytest.approx(100 / 1454)
    assert estimates["accuracy_difference_points"].value == pytest.approx(-100 / 1500)
    assert estimates["majority_share"].value == pytest.approx(0.1)


def test_smallest_saving_is_half_the_null_width_when_the_null_run_exists(evidence: Evidence, edition: Edition) -> None:
    estimates = derive(evidence, edition).estimates
    null = estimates["null_ratio"]
    assert estimates["smallest_detectable_saving"].value == pytest.approx((null.high - null.low) / 2)


@pytest.mark.parametrize("level", ["wall", "counter", "sampled", "modelled", "proxy"])
def test_energy_has_the_level_of_its_meter(level: str, make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(make_evidence(level=level), edition).estimates
    energy = {name for name in NAMES if "energy" in name} | {"null_ratio", "smallest_detectable_saving"}
    counted = "sampled" if level == "wall" else level  # no meter of this package reads at the wall: it is a plug-in
    assert {estimates[name].evidence for name in energy} == {EvidenceLevel(counted)}
    assert {estimates[name].evidence for name in NAMES - energy} == {EvidenceLevel.DIRECT}


@pytest.mark.parametrize("level", ["direct", "guessed"])
def test_profile_is_refused_when_the_level_of_the_meter_is_none(
    level: str, make_evidence: Maker, edition: Edition
) -> None:
    with pytest.raises(CertificateError, match=level):
        derive(make_evidence(level=level), edition)


def test_energy_is_absent_when_there_was_no_meter(make_evidence: Maker, edition: Edition) -> None:
    profile = derive(make_evidence(level=None), edition)
    assert not {name for name in profile.estimates if "energy" in name or "null" in name}
    assert "duration_ratio" in profile.estimates
    result = grade(profile, edition)
    assert result.letter is None
    assert any("No energy figure" in reason for reason in result.reasons)


def test_unrecorded_figures_are_absent_when_parts_are_missing(make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence(observations={"peak_memory": {"baseline": 4e8}}, latencies=0)
    bare = dataclasses.replace(evidence, predictions=())
    names = set(derive(bare, edition).estimates)
    assert "peak_memory_bytes_baseline" in names
    gone = ("latency", "accuracy", "agreement", "relative_loss", "peak_memory_bytes_candidate")
    assert not {name for name in names if name.startswith(gone)}


def test_loss_is_absent_when_baseline_got_nothing_right(make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(make_evidence(both=0, only_baseline=0, only_candidate=0), edition).estimates
    assert "relative_loss_percent" not in estimates
    assert estimates["accuracy_baseline"].low == 0.0


def test_yardstick_multiples_are_absent_when_it_was_not_run(evidence: Evidence, edition: Edition) -> None:
    without = tuple(w for w in evidence.windows if w.run != "yardstick")
    names = derive(dataclasses.replace(evidence, windows=without), edition).estimates
    assert not {name for name in names if "yardstick" in name}


def test_net_energy_subtracts_idle_energy_when_idle_power_is_known(evidence: Evidence, edition: Edition) -> None:
    assert not {name for name in derive(evidence, edition).estimates if "net" in name}
    meter = MeterFacts("rapl-powercap", "counter", "package", "energy counter", 2.0, {}, {"idle_w": 2.5})
    metered = dataclasses.replace(evidence, header=dataclasses.replace(evidence.header, meter=meter))
    estimates = derive(metered, edition).estimates
    idle_j = 2.5 * estimates["duration_s_baseline"].value
    assert estimates["energy_net_j_baseline"].value == pytest.approx(estimates["energy_j_baseline"].value - idle_j)
    assert "x or / 2" in estimates["energy_j_baseline"].method


def test_samples_needed_is_reported_when_the_margin_is_not_shown(make_evidence: Maker, edition: Edition) -> None:
    few = derive(make_evidence(samples=600, both=570, only_baseline=6, only_candidate=4), edition)
    assert few.estimates["samples_needed"].value > 600
    assert any("cannot be shown" in note for note in grade(few, edition).notes)
    assert "samples_needed" not in derive(make_evidence(), edition).estimates


def test_grade_is_a_letter_when_evidence_is_honest(make_evidence: Maker, edition: Edition) -> None:
    letters = [grade(derive(make_evidence(ratio=r), edition), edition).letter for r in (0.05, 0.3, 1.3)]
    assert letters[0] in ("A", "B")
    assert letters[1] == "D"
    assert letters[2] == "G"


def test_profile_survives_json_when_an_end_has_no_bound(make_evidence: Maker, edition: Edition) -> None:
    profile = derive(make_evidence(latencies=20), edition)
    assert math.isinf(profile.estimates["latency_p99_s_baseline"].high)
    assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


@pytest.mark.parametrize(
    "change",
    [
        {"estimates": []},
        {"estimates": {"a": 3}},
        {"guards": {}},
        {"guards": ["a"]},
        {"guards": 2 * [{"name": "a", "outcome": "pass", "sentence": "b"}]},
        {"more": 1},
    ],
)
def test_profile_refuses_when_json_is_malformed(change: dict[str, Any], evidence: Evidence, edition: Edition) -> None:
    with pytest.raises(CertificateError):
        Profile.from_json({**derive(evidence, edition).to_json(), **change})


def test_repr_names_figures_and_guards_when_printed(evidence: Evidence, edition: Edition) -> None:
    text = repr(derive(evidence, edition))
    assert re.search(r"^energy_ratio +0\.3006 ", text, re.MULTILINE)
    assert text.endswith("43 of 43 checks passed")


def test_certify_loads_no_scipy_when_imported() -> None:
    code = (
        "import sys, certify; sys.exit('scipy' in sys.modules or 'certify.core.statistics.proportions' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a JSON value."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:2]))
    return [path] * bool(path) + [place for key, item in items for place in _places(item, (*path, key))]


def test_evidence_is_judged_or_refused_when_any_field_is_altered(evidence: Evidence, edition: Edition) -> None:
    """Whatever stands in a hostile file ends in a profile that can be written, or in one clear error."""
    short = dataclasses.replace(evidence, predictions=evidence.predictions[:60])
    written = list(evidence_lines(short))
    lines = [json.loads(line) for line in written]
    first_prediction = next(i for i, line in enumerate(lines) if line["kind"] == "prediction")
    rng = random.Random(0)
    ends = {"refused": 0, "judged": 0}
    for _ in range(250):
        index = rng.choice([0, rng.randrange(first_prediction + 1), len(lines) - rng.randrange(1, 11)])
        line = copy.deepcopy(lines[index])
        *outer, last = rng.choice([place for place in _places(line) if place != ("kind",)])
        holder = line
        for key in outer:
            holder = holder[key]
        holder[last] = rng.choice([0, -1, 1e-300, 1e300, -1e300, 1e29, None, "x", [], {}, True])
        altered = [*written[:index], rfc8785.dumps(line), *written[index + 1 :], b""]
        try:
            profile = derive(parse_evidence(b"\n".join(altered)), edition)
            result = grade(profile, edition)
            rfc8785.dumps({"profile": profile.to_json(), "grade": result.to_json()})
            ends["judged"] += 1
        except CertificateError:
            ends["refused"] += 1
    assert min(ends.values()) > 50


def test_profile_is_refused_when_the_batch_is_empty(evidence: Evidence, edition: Edition) -> None:
    workload = dataclasses.replace(evidence.header.workload, batch=0)
    with pytest.raises(CertificateError, match="batch"):
        derive(dataclasses.replace(evidence, header=dataclasses.replace(evidence.header, workload=workload)), edition)


def test_macs_are_absent_when_they_were_not_counted_in_full(evidence: Evidence, edition: Edition) -> None:
    models = dict(evidence.header.models)
    models["baseline"] = dataclasses.replace(models["baseline"], counted_share=0.45, not_counted=("Conv",))
    partly = dataclasses.replace(evidence, header=dataclasses.replace(evidence.header, models=models))
    estimates = derive(partly, edition).estimates
    names = set(estimates)
    assert {"macs_candidate", "bytes_moved_candidate"} <= names
    assert estimates["counted_share_baseline"].value == 0.45
    assert "not counted: Conv" in estimates["counted_share_baseline"].method
    assert "counted_share_candidate" not in names
    assert not {"macs_baseline", "macs_ratio", "bytes_moved_baseline", "bytes_moved_ratio"} & names
