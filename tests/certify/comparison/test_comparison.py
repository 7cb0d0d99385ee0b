from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import certify
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.certificate import Certificate
from certify.cli.main import main
from certify.comparison import compare
from certify.comparison.comparability import why_not_comparable
from certify.comparison.comparison import _distinct, _on_several_machines
from certify.comparison.entry import read_entry
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import MeterFacts, ModelFacts, Workload
from certify.present.machines import why_not_one_job, worst
from certify.present.statements import of_efficiency

Make = Callable[..., Any]
WORKLOAD = Workload("onnxruntime-cpu", "1.0", "CPUExecutionProvider", 1, 2, 2)


@pytest.fixture(scope="module")
def frugal(certify_small: Make) -> Any:
    """Little energy, and some loss."""
    return certify_small(ratio=0.2, only_baseline=12, seed=1)


@pytest.fixture(scope="module")
def exact(certify_small: Make) -> Any:
    """More energy, and hardly any loss."""
    return certify_small(ratio=0.4, only_baseline=4, seed=2)


@pytest.fixture(scope="module")
def poor(certify_small: Make) -> Any:
    """More energy and more loss than another."""
    return certify_small(ratio=0.5, only_baseline=14, seed=3)


@pytest.fixture(scope="module")
def refused(certify_small: Make) -> Any:
    return certify_small(null_bias=0.2, seed=4)


def other_baseline(make: Make) -> Any:
    candidate = certify_facts(make)
    return make(header={"models": {"baseline": replace(candidate, file_digest="12" * 32), "candidate": candidate}})


def certify_facts(make: Make) -> ModelFacts:
    """Facts of the small candidate, as the evidence of one of its certificates states them."""
    from certify.core.evidence_file import read_evidence

    return read_evidence(make().path.parent / "evidence.jsonl").header.models["candidate"]


def test_compare_puts_undominated_models_on_the_front_when_they_share_a_baseline(
    frugal: Any, exact: Any, poor: Any
) -> None:
    comparison = compare(frugal.path, poor.path, exact.path)
    assert comparison.axes.is_ratio
    assert [entry.name for entry in comparison.best()] == [str(frugal.path), str(exact.path)]
    assert "D" in repr(comparison) or "C" in repr(comparison)


def test_compare_is_available_from_the_package(frugal: Any, exact: Any) -> None:
    assert len(certify.compare(frugal.path, exact.path).entries) == 2


def test_compare_keeps_refusal_in_table_and_off_front_when_one_has_no_letter(frugal: Any, refused: Any) -> None:
    comparison = compare(frugal.path, refused.path)
    assert [entry.name for entry in comparison.best()] == [str(frugal.path)]
    assert comparison.place(comparison.entries[1]) is None
    assert comparison.to_json()["models"][1]["grade"] == "refused"


def test_compare_uses_absolute_figures_when_baselines_differ(certify_small: Make, frugal: Any) -> None:
    comparison = compare(frugal.path, other_baseline(certify_small).path)
    assert not comparison.axes.is_ratio
    place = comparison.place(comparison.entries[0])
    assert place is not None
    assert place[0].unit == "J"
    assert 0 < place[1].value < 100


def test_compare_refuses_when_a_file_is_not_valid(frugal: Any, exact: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(exact.path.parent, tmp_path / "out")
    evidence = folder / "evidence.jsonl"
    evidence.write_bytes(evidence.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(CertificateError, match=r"evidence.jsonl is not the evidence that was signed"):
        compare(frugal.path, folder / "model.onnx")


@pytest.mark.parametrize("paths", [(), ("a.onnx",), ("a.onnx", "a.onnx")])
def test_compare_asks_for_two_files_when_given_fewer(paths: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="at least two different files"):
        compare(*paths)


@pytest.mark.parametrize(
    ("header", "knobs", "reason"),
    [
        ({}, {"samples": 1400, "both": 1380}, "different test data"),
        ({"workload": replace(WORKLOAD, batch=8)}, {}, "different workload (batch 1; 8)"),
        ({"workload": replace(WORKLOAD, runtime="openvino")}, {}, "different workload (runtime onnx"),
        ({"meter": MeterFacts("nvml", "counter", "board", "energy counter", None)}, {}, "different method"),
        ({"device": {"processor": "other", "processors_allowed": 2}}, {}, "different device (processor made up"),
    ],
)  # fmt: skip
def test_compare_refuses_with_the_reason_when_models_are_not_comparable(
    certify_small: Make, frugal: Any, header: dict[str, Any], knobs: dict[str, Any], reason: str
) -> None:
    other = certify_small(header=header, **knobs).path
    assert reason in "; ".join(why_not_comparable(claims_of(frugal.path), claims_of(other)))
    with pytest.raises(UsageError) as caught:  # as if it were another file
        _on_several_machines([read_entry(frugal.path), replace(read_entry(other), content="another")])
    assert reason in str(caught.value)


@pytest.fixture(scope="module")
def elsewhere(certify_small: Make) -> Any:
    """The model of the others on another machine, where it saves less."""
    device = {"processor": "AMD EPYC 9R14", "instructions": ["avx512_vnni"], "processors_allowed": 2}
    return certify_small(header={"device": device}, ratio=0.6, seed=6)


def test_compare_shows_one_model_side_by_side_when_machines_differ(frugal: Any, elsewhere: Any, refused: Any) -> None:
    comparison = compare(frugal.path, elsewhere.path, refused.path)
    worst = comparison.worst()
    assert comparison.one_model and comparison.best() == ()
    assert worst is not None and worst.name == str(elsewhere.path)
    assert [one["worst"] for one in comparison.to_json()["models"]] == [False, True, False]
    done = CliRunner().invoke(main, ["compare", str(frugal.path), str(elsewhere.path)], env={"COLUMNS": "200"})
    assert "worst" in done.stdout and "AMD EPYC 9R14 (AVX512-VNNI), 2 threads" in done.stdout


def test_no_letter_is_marked_worst_when_machines_agree_or_all_refused(frugal: Any, exact: Any, refused: Any) -> None:
    assert compare(frugal.path, exact.path).worst() is None
    assert worst([claims_of(refused.path)]) is None


def test_one_model_is_refused_when_the_jobs_differ(certify_small: Make, elsewhere: Any) -> None:
    other = certify_small(header={"workload": replace(WORKLOAD, batch=8)})
    assert why_not_one_job(claims_of(elsewhere.path), claims_of(other.path)) == ["different batch"]
    with pytest.raises(UsageError, match="batch 1; 8"):
        compare(elsewhere.path, other.path)


def claims_of(path: Path) -> EfficiencyClaims:
    certificate = Certificate.read(path)
    return of_efficiency(certificate)


def test_compare_allows_different_thread_numbers_when_each_is_the_cheapest(frugal: Any) -> None:
    one = claims_of(frugal.path)
    other = replace(one, workload=replace(one.workload, threads=1, candidate_threads=4))
    assert why_not_comparable(one, other) == []


def test_compare_refuses_different_constants_when_energy_is_modelled(frugal: Any) -> None:
    one = claims_of(frugal.path)
    assert one.meter is not None
    meter = replace(one.meter, level="modelled", parameters={"watts": 3.8})
    modelled = replace(one, meter=meter)
    other = replace(one, meter=replace(meter, parameters={"watts": 2.1}))
    assert why_not_comparable(modelled, other) == ["different method (different constants of the energy model)"]
    assert why_not_comparable(modelled, replace(one, meter=None)) == ["different method (one has no energy figure)"]


def test_compare_prints_table_and_draws_plot_when_asked(frugal: Any, exact: Any, tmp_path: Path) -> None:
    plots = [tmp_path / "p.svg", tmp_path / "p.png"]
    for plot in plots:
        done = CliRunner().invoke(main, ["compare", str(frugal.path), str(exact.path), "--plot", str(plot)])
        assert done.exit_code == 0, done.output
    assert done.stdout.count("not trusted") == 2
    assert "1 *" in done.stdout
    assert "2 *" in done.stdout
    assert str(exact.path.parent.name) in done.stdout
    root = ElementTree.fromstring(plots[0].read_text())
    assert "Models by energy and accuracy loss" in "".join(root.itertext())
    assert plots[1].read_bytes().startswith(b"\x89PNG")


def test_compare_prints_json_alone_when_asked(frugal: Any, exact: Any) -> None:
    done = CliRunner().invoke(main, ["compare", str(frugal.path), str(exact.path), "--json"])
    models = json.loads(done.stdout)["models"]
    assert [model["on_pareto_front"] for model in models] == [True, True]
    assert models[0]["energy_ratio"]["value"] == pytest.approx(0.2, rel=0.05)


def test_compare_exits_with_2_and_the_reason_when_models_are_not_comparable(frugal: Any, certify_small: Make) -> None:
    other = certify_small(header={"workload": replace(WORKLOAD, batch=8)})
    done = CliRunner().invoke(main, ["compare", str(frugal.path), str(other.path)])
    assert done.exit_code == 2
    assert "cannot be compared: different workload (batch 1; 8)" in done.stderr


def test_plot_refuses_when_no_model_has_a_letter(refused: Any, certify_small: Make) -> None:
    comparison = compare(refused.path, certify_small(null_bias=0.3).path)
    assert comparison._repr_svg_() is None
    with pytest.raises(UsageError, match="to plot it"):
        comparison.plot()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["build/a/model.onnx", "build/b/model.onnx"], ["a", "b"]),
        (["a/model.onnx", "b/other.onnx"], ["a/model.onnx", "b/other.onnx"]),
        (["a/x/model.onnx", "a/model.onnx"], ["x", "model.onnx"]),
        (["/w/model.onnx"], ["model.onnx"]),
    ],
)
def test_plotted_names_omit_what_all_paths_share(paths: list[str], names: list[str]) -> None:
    assert _distinct(paths) == names
