"""Baselines that cost much more than they need: each is simplified before it is measured, and refused for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import onnx
import padded
import padded_hidden
import pytest
import recognisers as made
from onnx import helper
from simplified_here import DATA, Maker, Simplify, outcomes, session, simplify_file

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, Answer
from certify.assessments.efficiency.profile import derive
from certify.core.errors import ModelError
from certify.core.evidence import Observation
from certify.core.files import sha256_file
from certify.core.progress import Silent
from certify.measure import simplify as simplifying
from certify.measure.plan import Plan
from certify.measure.simplify import simplify
from certify.measure.variants import Answers, VariantBench

FEW = 64
"""Samples that a simplified baseline must answer like the original; the edition's number would take longer."""


@pytest.fixture
def edition(edition: Edition) -> Edition:
    return replace(edition, plan=replace(edition.plan, simplified_samples=FEW))


@pytest.mark.parametrize("padding", padded.PADDED)
def test_baseline_not_padded_fails_alone_when_the_baseline_has(
    padding: str, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    observed, path = simplified(padded.PADDED[padding]())
    found = observed.values
    assert found["cost"] <= 1.35 * 4_523_560  # of the honest net, see below; less what a gate or a Concat leaves
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "fail"}
    refused = grade(derive(make_evidence(observations={observed.name: found}), edition), edition)
    assert refused.letter is None and "padded" in " ".join(refused.reasons)
    with mock.patch.dict(GUARDS, {"baseline_not_padded": lambda evidence, edition: Answer("pass", "It is disabled.")}):
        assert outcomes(observed, make_evidence, edition) == {}
    before, after = (session(one) for one in (path.with_name("given.onnx"), path))
    images = made.CONTRACT.batch(DATA.test, list(range(64)))
    answers = [
        [running.run(None, {"image": image[None]})[0].argmax() for image in images] for running in (before, after)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("padding", padded.NEEDLESS)
def test_baseline_not_padded_fails_alone_when_work_is_needless(
    padding: str, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    observed, path = simplified(padded.NEEDLESS[padding]())
    assert observed.values["removed"] is None and observed.values["given_digest"] == sha256_file(path)
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "fail"}
    if "little" in padding or "hold" in padding:
        with mock.patch.object(simplifying, "WEAK", ()):
            assert outcomes(simplified(padded.NEEDLESS[padding]())[0], make_evidence, edition) == {}
    needed = {**observed.values, "needless_cost": None}
    assert outcomes(Observation(observed.name, needed), make_evidence, edition) == {}


HEADS = ("certify.measure.simplify.sliced_values", lambda *_: {})
EINSUM = ("certify.measure.simplify.as_layers", lambda model: model)
UNITS = ("certify.model_file.onnx_graph.needless.needed_units", lambda *_: None)
GRAPH = "certify.model_file.onnx_graph"
AVERAGED = (f"{GRAPH}.needless_work.averaged_work", lambda *_: {})
MOVES = (f"{GRAPH}.needless_work.needless_moves", lambda *_: {})
TRACED = (f"{GRAPH}.needless.traced", lambda *_: None)
PARTS: dict[str, tuple[str, Any]] = {
    "a frame that a Pad cuts off": TRACED,
    "a frame that a Split cuts off": TRACED,
    "a frame that a Mul cuts off": (f"{GRAPH}.needless.selected", lambda node, name, masks, arrays: masks),
    "channels that a GatherND leaves out": TRACED,
    **{f"channels through a {by} before they are averaged": AVERAGED for by in ("Conv", "Resize", "MatMul")},
    **{f"pixels moved by a {by} again and again": MOVES for by in ("GatherElements", "GridSample")},
    **{f"units of a recurrence, {read}": UNITS for read in ("nothing", "constants", "copies")},
    "heads of an attention that are the same": HEADS,
    "channels reordered by an Einsum": EINSUM,
    "channels reordered by an Einsum over the last axis": EINSUM,
    "a convolution as a sum of several": (
        "certify.model_file.onnx_graph.needless_work.parallel_layers",
        lambda *_: {},
    ),
    "channels of the image that are the same": ("certify.model_file.onnx_graph.repetitions.JOINING", frozenset()),
    "channels scaled again and again": ("certify.measure.simplify.shorten_chains", lambda *_: 0),
    "channels normalised again and again": ("certify.measure.simplify.shorten_chains", lambda *_: 0),
    "channels shuffled again and again": ("certify.model_file.onnx_graph.needless_work.needless_moves", lambda *_: {}),
    "channels rolled again and again": ("certify.model_file.onnx_graph.needless_work.needless_moves", lambda *_: {}),
    "channels mixed before they are averaged": (
        "certify.model_file.onnx_graph.linear_products._axis_before",
        lambda *_: None,
    ),
    "channels mixed before they are shuffled": (
        "certify.model_file.onnx_graph.linear_products._axis_before",
        lambda *_: None,
    ),
}
"""The function that detects each padding, and a replacement that detects nothing."""


@pytest.mark.parametrize("padding", padded_hidden.HIDDEN)
def test_baseline_not_padded_fails_alone_when_padding_hides_as(
    padding: str, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    """Only one part of the referee detects each padding."""
    padded_net = padded_hidden.HIDDEN[padding]()
    observed, path = simplified(padded_net)
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "fail"}
    with mock.patch.dict(GUARDS, {"baseline_not_padded": lambda evidence, edition: Answer("pass", "It is disabled.")}):
        assert outcomes(observed, make_evidence, edition) == {}
    if padding in PARTS:
        with mock.patch(*PARTS[padding]):
            assert outcomes(simplified(padded_net)[0], make_evidence, edition) == {}


@pytest.mark.parametrize(
    ("make", "operator"), [(padded_hidden.slow, "Pow"), (padded_hidden.brittle, "Where")], ids=["slow", "brittle"]
)
def test_operator_is_left_out_when_it_changes_nothing_though_it_counts_for_little(
    make: Callable[[], onnx.ModelProto], operator: str, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    """Such a value may be slow, or make the baseline's answers wrong wherever the candidate's are."""
    observed, path = simplified(make())
    assert f"1 of 1 {operator}" in observed.values["removed"]
    assert operator not in {node.op_type for node in onnx.load(str(path)).graph.node}
    assert outcomes(observed, make_evidence, edition) == {}
    assert simplified(padded_hidden.deep())[0].values["removed"] is None


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "operators on integers"])
def test_quantized_baseline_stays_quantized_when_it_is_honest(
    pairs: bool, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    """A pair of conversions changes a value by less than the tolerance, but without it the baseline would be slower."""
    observed, _ = simplified(padded_hidden.quantized(made.net(), pairs))
    assert observed.values["removed"] is None
    assert outcomes(observed, make_evidence, edition) == ({} if pairs else {"baseline_not_padded": "unknown"})
    assert pairs or observed.values["unseen"] == ["QGemm", "QLinearConv"]


def test_branches_that_differ_fail_when_the_samples_choose_between_them(
    simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    """Two padded nets with the same work but different answers, so that neither can replace both."""
    model = padded_hidden.in_branches(0.0)
    branch = model.graph.node[-1].attribute[0].g
    branch.node.append(helper.make_node("Neg", [branch.output[0].name], ["other"]))
    branch.output[0].name = "other"
    observed, _ = simplified(model)
    assert (observed.values["removed"], observed.values["unseen"]) == (None, ["If"])
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "fail"}
    recurrent = {**observed.values, "unseen": ["Scan"]}
    assert outcomes(Observation(observed.name, recurrent), make_evidence, edition) == {"baseline_not_padded": "unknown"}
    little = {**observed.values, "unseen_cost": 0.19 * observed.values["cost"]}
    assert outcomes(Observation(observed.name, little), make_evidence, edition) == {}


def test_variant_is_another_model_when_its_outputs_have_another_shape(simplified: Simplify) -> None:
    """A value without a batch axis, which a variant replaces by zeros for one sample."""
    observed, _ = simplified(padded_hidden.for_every_sample())
    assert observed.values.get("failed") is None and observed.values["removed"] is None


def test_branch_is_kept_when_its_first_axis_is_not_the_batch(simplified: Simplify) -> None:
    observed, _ = simplified(padded_hidden.steps_first())
    assert observed.values.get("failed") is None and observed.values["removed"] is None


@pytest.mark.parametrize("fails", [False, True])
def test_variant_is_another_model_when_the_runtime_cannot_run_it(fails: bool, edition: Edition) -> None:
    class Runs:
        contract = made.CONTRACT
        samples = looks = Path("samples.npy")

        def run(self, model: onnx.ModelProto, output: str, samples: Path) -> np.ndarray:
            if model.ir_version == 0 and fails:
                raise ModelError("It cannot be reshaped.")
            return np.eye(4)

    answers = Answers(cast("VariantBench", Runs()), made.net())
    assert answers.same(onnx.ModelProto(ir_version=0), 0.1, edition.plan) is not fails


def test_variant_is_run_as_it_is_when_the_optimiser_stops_at_it(tmp_path: Path) -> None:
    """It may find names that it gave itself when it loaded an earlier variant."""
    levels = []

    def worker(arm: str, path: Path, settings: dict[str, Any]) -> mock.MagicMock:
        levels.append(settings["graph_optimization"])
        if levels[-1] == "basic":
            raise ModelError("It attempts to replace the existing tensor.")
        return mock.MagicMock()

    bench = VariantBench(made.CONTRACT, 1, tmp_path, tmp_path / "samples.npy", tmp_path / "looks.npy")
    np.save(tmp_path / "outputs.npy", np.eye(4))
    with mock.patch("certify.measure.variants.Worker", worker):
        assert bench.run(made.net(), "classes", bench.looks).shape == (4, 4)
    assert levels == ["basic", "none"]


@pytest.mark.parametrize(("offset", "same"), [(0.0, True), (1.0, False)])
def test_outputs_are_compared_about_their_own_means(offset: float, same: bool, edition: Edition) -> None:
    """What all samples have in common tells nothing about an answer, so a branch is not needless because of it."""

    class Runs:
        contract = made.CONTRACT
        samples = looks = Path("samples.npy")

        def run(self, model: onnx.ModelProto, output: str, samples: Path) -> np.ndarray:
            noise = np.random.default_rng(0).standard_normal((64, 2))
            return np.array([100.0, 0.0]) + noise * (1 if model.ir_version else 1 - offset)

    answers = Answers(cast("VariantBench", Runs()), made.net())
    assert answers.same(onnx.ModelProto(ir_version=0), 0.1, edition.plan) is same


def test_file_is_unchanged_when_nothing_can_be_removed(
    simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    observed, path = simplified(made.net())
    assert observed.values["given_digest"] == sha256_file(path)
    assert (observed.values["given_cost"], observed.values["cost"]) == (4_523_560, 4_523_560)
    assert observed.values["removed"] is None
    assert observed.values["needless_cost"] < 0.1 * 4_523_560  # the limit is twice that
    assert outcomes(observed, make_evidence, edition) == {}


def test_simplified_file_is_unchanged_when_simplified_again(simplified: Simplify) -> None:
    _, path = simplified(padded.branch())
    observed, again = simplified(onnx.load(str(path)))
    assert observed.values["removed"] is None and observed.values["given_digest"] == sha256_file(again)


def test_branch_is_kept_when_the_answers_need_it(simplified: Simplify) -> None:
    """Half of the filters in each of two branches, one Concat behind them."""
    graph = made.Graph()
    kernels = made.filters(4)
    for i, part in enumerate((kernels[:32], kernels[32:])):
        graph.node("Conv", ["image", graph.put(f"w{i}", part)], f"c{i}", pads=[3] * 4)
        graph.node("Relu", [f"c{i}"], f"r{i}")
    graph.node("Concat", ["r0", "r1"], "both", axis=1)
    graph.node("GlobalAveragePool", ["both"], "pool")
    graph.node("Flatten", ["pool"], "flat")
    reading = np.repeat(np.eye(4, dtype=np.float32), 16, axis=1)
    graph.node("Gemm", ["flat", graph.put("r", reading)], "classes", transB=1)
    observed, _ = simplified(graph.model())
    assert observed.values["removed"] is None


def test_copies_are_kept_when_their_answers_differ(simplified: Simplify) -> None:
    """What differs by more than the edition calls equal is an ensemble, and no finding's business."""
    observed, _ = simplified(padded.copies(3, noise=0.2))
    assert observed.values["removed"] is None and observed.values["cost"] == 3 * 4_523_560 + 40


def test_padding_is_found_when_the_batch_is_larger_and_fixed(simplified: Simplify) -> None:
    graph = made.Graph()
    made.add_net(graph, 4, output="y0", prefix="a.")
    made.add_net(graph, 4, output="y1", prefix="b.")
    graph.node("Add", ["y0", "y1"], "classes")
    observed, _ = simplified(graph.model(batch=4), batch=4)
    assert observed.values["cost"] < 0.51 * observed.values["given_cost"]


def test_copies_are_left_out_when_a_chain_cannot_be_shortened(simplified: Simplify) -> None:
    """A chain that rounds the answers; shorter, it would not."""
    model = padded.copies()
    model.graph.node[-1].output[0] = "mean"
    padded.put(model, much=np.float32(1.5 * 2**20))  # next to it, floats are an eighth apart
    model.graph.node.extend(
        [helper.make_node("Add", ["mean", "much"], ["more"]), helper.make_node("Sub", ["more", "much"], ["classes"])]
    )
    observed, path = simplified(model)
    assert "7 of 8 Conv" in observed.values["removed"]
    assert {"Add", "Sub"} <= {node.op_type for node in onnx.load(str(path)).graph.node}


def test_workers_find_the_same_when_a_measurement_simplifies(tmp_path: Path, edition: Edition) -> None:
    observed, path = simplify_file(padded.copies(), tmp_path, edition)
    assert observed.values["cost"] == 4_523_560 and observed.values["bytes"] == path.stat().st_size
    assert "7 of 8 Conv" in observed.values["removed"]


def test_finding_fails_when_the_baseline_cannot_be_run(tmp_path: Path, make_evidence: Maker, edition: Edition) -> None:
    model = made.net()
    model.graph.node[0].input[0] = "flat"  # no order of the operators would do
    onnx.save(model, str(tmp_path / "baseline.onnx"))
    with mock.patch.object(simplifying, "load_model", return_value=model):
        observed = simplify(tmp_path / "baseline.onnx", made.CONTRACT, DATA, Plan(), edition.plan, Silent())
    assert str(tmp_path) not in observed.values["failed"]
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "fail"}


@pytest.mark.parametrize(("share", "outcome"), [(0.19, {}), (0.21, {"baseline_not_padded": "fail"})])
@pytest.mark.parametrize("what", ["cost", "bytes"])
def test_baseline_not_padded_allows_a_fifth(
    what: str, share: float, outcome: dict[str, str], make_evidence: Maker, edition: Edition
) -> None:
    values = {"given_digest": "aa", "given_bytes": 1000, "bytes": 1000, "given_cost": 1000, "cost": 1000}
    told = Observation("simplified", {**values, what: 1000 * (1 - share), "removed": ["2 of 9 Conv"]})
    assert outcomes(told, make_evidence, edition) == outcome


def test_baseline_not_padded_is_unknown_when_files_are_not_inspected(
    tmp_path: Path, edition: Edition, make_evidence: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplifying, "LARGEST_BYTES", 1000)
    observed, path = simplify_file(padded.unread(), tmp_path, edition)
    assert outcomes(observed, make_evidence, edition) == {"baseline_not_padded": "unknown"}
    assert observed.values["given_digest"] == sha256_file(path)


def test_samples_are_chosen_by_the_plan_when_an_audit_salts_them(simplified: Simplify, edition: Edition) -> None:
    seen = []
    real = simplifying.ranked
    with mock.patch.object(simplifying, "ranked", side_effect=lambda *a: seen.append(real(*a)) or seen[-1]):
        for salt in ("", "ab", "ab"):
            simplified(made.net(), salt=salt)
    assert seen[0] != seen[1] == seen[2]


@pytest.mark.parametrize("hidden", [False, True])
def test_baseline_is_measured_with_sums_when_they_are_faster(
    hidden: bool, simplified: Simplify, make_evidence: Maker, edition: Edition
) -> None:
    with (
        mock.patch("certify.measure.faster_form._in_turn", return_value=([0.2] * 7, [0.1] * 7)),
        mock.patch.object(simplifying.VariantBench, "opened"),
    ):
        observed, path = simplified(made.normalised(hidden))
        assert simplified(made.normalised(hidden), runtime="openvino")[0].values["rewritten"] is None
    assert observed.values["removed"] is None and len(observed.values["rewritten"]) == 1
    assert outcomes(observed, make_evidence, edition) == {}


def test_workers_time_both_forms_when_a_measurement_simplifies(tmp_path: Path, edition: Edition) -> None:
    with mock.patch("certify.measure.faster_form.WINDOW_S", 0.01):
        observed, path = simplify_file(made.normalised(), tmp_path, edition)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert kinds.count("Sum") == (observed.values["rewritten"] is not None)
