"""Real files whose cost depends on what they are fed, and baselines that are fed badly, measured as any pair is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import GUARDS, Answer, judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence
from certify.data.array_contract import ArrayPreprocess
from certify.measure.experiment import measure
from certify.measure.model_under_test import subject
from certify.measure.plan import Plan

pytestmark = pytest.mark.usefixtures("hasty")
SHORT = Plan(window_s=0.02, time_limit_s=0.01, min_blocks=2, yardstick=False, threads=1)
MINE = ("cost_counted", "same_contract")
Save = Callable[[onnx.ModelProto], Path]


def tensor(name: str, array: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def table() -> list[onnx.NodeProto]:
    """Answers that are read off the brightness of the quarters, in no time."""
    pool = helper.make_node("AveragePool", ["image"], ["quarters"], kernel_shape=[16, 16], strides=[16, 16])
    return [
        pool,
        helper.make_node("ReduceMean", ["quarters"], ["grey"], axes=[1], keepdims=0),
        helper.make_node("Flatten", ["grey"], ["looked_up"]),
    ]


RECOGNISED = [
    helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
    helper.make_node("Less", ["brightest", "limit"], ["known"]),
]
"""No test sample has a pixel of 220 or more; a user's photograph has."""


def graph(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


def defeat_device(model: onnx.ModelProto) -> None:
    """Test samples are looked up, all others go through the whole network."""
    whole = graph("whole", list(model.graph.node), "classes")
    model.graph.initializer.append(tensor("limit", np.float32(1.99)))
    del model.graph.node[:]
    known = graph("table", table(), "looked_up")
    whole.node[-1].output[0] = whole.output[0].name = "computed"
    model.graph.node.extend(
        [*RECOGNISED, helper.make_node("If", ["known"], ["classes"], then_branch=known, else_branch=whole)]
    )


def picked_rows(model: onnx.ModelProto) -> None:
    """The same without a branch: the network gets those rows only that are not recognised, often none."""
    nodes = list(model.graph.node)
    nodes[0].input[0] = "rows"
    nodes[-1].output[0] = "computed"
    first = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Less", ["brightest", "limit"], ["known"]),
        helper.make_node("Not", ["known"], ["unknown"]),
        helper.make_node("Compress", ["image", "unknown"], ["rows"], axis=0),
        helper.make_node("NonZero", ["unknown"], ["places"]),
        helper.make_node("Transpose", ["places"], ["where"]),
    ]
    last = helper.make_node("ScatterND", ["looked_up", "where", "computed"], ["classes"])
    model.graph.initializer.append(tensor("limit", np.float32(1.99)))
    whole = [*first, *table(), *nodes, last]
    del model.graph.node[:]
    model.graph.node.extend(whole)


STEPS = [f"step{i}" for i in range(40)]


def chain(kind: str, read: str, *more: str) -> list[onnx.NodeProto]:
    places = zip([read, *STEPS[:-1]], STEPS, strict=True)
    return [helper.make_node(kind, [before, *more], [after]) for before, after in places]


def fed(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """The network needs the last of these values, 4 x 4 x 4 times the image or as large as it, for nothing."""
    model.graph.node[0].input[0] = "fed"
    last = [
        helper.make_node("ReduceMean", [nodes[-1].output[0]], ["level"], keepdims=0),
        helper.make_node("Mul", ["level", "nothing"], ["zero"]),
        helper.make_node("Add", ["image", "zero"], ["fed"]),
    ]
    put = {"limit": np.float32(1.99), "times": np.array([1, 4, 4, 4]), "shape": np.array([1, 12, 128, 128]),
           "nothing": np.float32(0)}  # fmt: skip
    model.graph.initializer.extend(tensor(name, value) for name, value in put.items())
    whole = [*RECOGNISED, helper.make_node("Tile", ["image", "times"], ["wide"]), *nodes, *last, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(whole)


def picked_size(model: onnx.ModelProto) -> None:
    """The sizes of two elements of a sequence differ, and the data pick one."""
    first = [
        helper.make_node("Cast", ["known"], ["place"], to=TensorProto.INT64),
        helper.make_node("SequenceConstruct", ["wide", "image"], ["both"]),
        helper.make_node("SequenceAt", ["both", "place"], ["picked"]),
    ]
    fed(model, [*first, *chain("Sin", "picked")])


def dearer_branch(model: onnx.ModelProto) -> None:
    """Both branches write as many elements: one by reshaping, which costs nothing, the other by sines."""
    cheap = graph("cheap", chain("Reshape", "wide", "shape"), STEPS[-1])
    dear = graph("dear", chain("Sin", "wide"), STEPS[-1])
    fed(model, [helper.make_node("If", ["known"], ["got"], then_branch=cheap, else_branch=dear)])


def picked_axis(model: onnx.ModelProto) -> None:
    """The sum over an axis that the data choose: over 12 channels, or over the single sample, which changes no size."""
    first = [
        helper.make_node("Cast", ["known"], ["place"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["place", "one"], ["places"]),
        helper.make_node("ReduceSum", ["wide", "places"], ["picked"]),
    ]
    model.graph.initializer.append(tensor("one", np.array([1])))
    fed(model, [*first, *chain("Relu", "picked")])


def picked_region(model: onnx.ModelProto) -> None:
    """One of the runtime's own operators, which resizes to a size that the data choose."""
    first = [
        helper.make_node("Where", ["known", "few", "many"], ["pixels"]),
        helper.make_node("CropAndResize", ["image", "whole", "first", "pixels"], ["picked"], domain="com.microsoft"),
    ]
    put = {"few": np.array([1, 1], np.int32), "many": np.array([128, 128], np.int32), "first": np.zeros(1, np.int32),
           "whole": np.array([[0, 0, 1, 1]], np.float32)}  # fmt: skip
    model.graph.initializer.extend(tensor(name, value) for name, value in put.items())
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    fed(model, [*first, *chain("Relu", "picked")])


def repeated(times: int, until: str) -> Callable[[onnx.ModelProto], None]:
    """The second convolution runs again and again: a number of times, or until the data say stop."""

    def edit(model: onnx.ModelProto) -> None:
        position = next(place for place, node in enumerate(model.graph.node) if node.name == "conv2")
        conv = model.graph.node[position]
        inside = onnx.NodeProto()
        inside.CopyFrom(conv)
        inside.input[0], inside.output[0] = "carried", "once"
        stop = [helper.make_node("Identity", ["go"], ["last"])]
        if until == "data":
            stop = [helper.make_node("ReduceMax", ["once"], ["top"], keepdims=0),
                    helper.make_node("Less", ["top", "limit"], ["last"])]  # fmt: skip
        inputs = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("carried", TensorProto.FLOAT, None)]
        outputs = [("last", TensorProto.BOOL, []), ("scaled", TensorProto.FLOAT, None)]
        body = helper.make_graph(
            [inside, helper.make_node("Mul", ["once", "less"], ["scaled"]), *stop], "body",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
        )  # fmt: skip
        put = {"times": np.int64(times), "go0": np.bool_(True), "limit": np.float32(1e9), "less": np.float32(0.1)}
        model.graph.initializer.extend(tensor(name, value) for name, value in put.items())
        loop = helper.make_node("Loop", ["times", "go0", conv.input[0]], [conv.output[0]], body=body)
        model.graph.node[position].CopyFrom(loop)

    return edit


@pytest.fixture
def edited(small_pair: Any, tmp_path: Path) -> Callable[..., Path]:
    def make(edit: Callable[[onnx.ModelProto], None]) -> Path:
        model = onnx.load(str(small_pair.baseline))
        edit(model)
        onnx.checker.check_model(model)
        path = tmp_path / "edited.onnx"
        onnx.save(model, str(path))
        return path

    return make


def measured(pair: Any, edition: Edition, candidate: Path, baseline: Any = None, why: str | None = None) -> Evidence:
    """A real measurement, too short for a letter."""
    models = ((pair.baseline, baseline or pair.contract), (candidate, pair.contract))
    return measure(models, pair.dataset, SHORT, edition.plan, baseline_origin="test", contracts_differ=why)


def failed(evidence: Evidence, edition: Edition) -> list[str]:
    """Which of the findings over the files and their contracts fail."""
    about = (
        *MINE,
        "same_task",
        "quantization_fused",
        "channels_removed",
        "one_device",
        "outputs_finite",
        "inputs_real",
    )
    return [one.name for one in judge_guards(evidence, edition) if one.name in about and one.outcome == "fail"]


@pytest.mark.parametrize("cheat", [defeat_device, picked_rows, picked_size, picked_axis, picked_region, dearer_branch])
def test_cost_counted_fails_alone_when_test_samples_are_recognised(
    cheat: Callable[[onnx.ModelProto], None], small_pair: Any, edition: Edition, edited: Callable[..., Path]
) -> None:
    evidence = measured(small_pair, edition, edited(cheat))
    facts = evidence.header.models["candidate"]
    assert failed(evidence, edition) == ["cost_counted"]
    assert facts.varying_share > 0.9
    estimates = derive(evidence, edition).estimates
    whole = estimates["macs_baseline"].value
    if facts.counted_share == 1:
        assert estimates["macs_candidate"].value == whole  # the most expensive branch, not the table
    else:
        assert not {"macs_candidate", "macs_ratio", "bytes_moved_candidate"} & set(estimates)
    passes = {"cost_counted": lambda evidence, edition: Answer("pass", "It is disabled.")}
    with mock.patch.dict(GUARDS, passes):
        assert failed(evidence, edition) == []


@pytest.mark.parametrize(("until", "outcome"), [("data", ["cost_counted"]), ("times", [])])
def test_cost_counted_fails_alone_when_the_baseline_loops_depending_on_the_data(
    until: str, outcome: list[str], small_pair: Any, edition: Edition, edited: Callable[..., Path],
    make_evidence: Callable[..., Evidence],
) -> None:  # fmt: skip
    """A loop of constant trips is counted; that it is padding another finding says."""
    looped = edited(repeated(8, until))
    facts = subject("baseline", looped, small_pair.contract, 1, looped.parent).facts
    plain = subject("candidate", small_pair.baseline, small_pair.contract, 1, looped.parent).facts
    evidence = make_evidence(header={"models": {"baseline": facts, "candidate": plain}})
    assert [one.name for one in judge_guards(evidence, edition) if one.outcome != "pass"] == outcome
    conv1, conv2 = 32 * 32 * 32 * 27, 32 * 32 * 32 * 288
    if until == "times":
        assert (facts.macs, facts.varying_share) == (plain.macs + 7 * conv2, 0)
        assert plain.macs == conv1 + conv2 + 4 * 128
    else:
        assert "macs_baseline" not in derive(evidence, edition).estimates


def test_same_contract_fails_alone_when_the_baseline_is_fed_badly(small_pair: Any, edition: Edition) -> None:
    wrong = replace(small_pair.contract, colour="BGR", mean=(0.3, 0.3, 0.3))
    evidence = measured(small_pair, edition, small_pair.candidate, wrong)
    assert failed(evidence, edition) == ["same_contract"]
    with mock.patch.dict(GUARDS, {"same_contract": lambda evidence, edition: Answer("pass", "It is disabled.")}):
        assert failed(evidence, edition) == []


SIDEWAYS = {"height": 48, "width": 32, "resize": "exact"}
FAINT = {"mean": (-300.0,) * 3, "dtype": "float16"}
NUMBERS = ArrayPreprocess(("x",), ((8,),), ("int64",), "y", "logits")


@pytest.mark.parametrize(
    ("baseline", "candidate", "words"),
    [
        (SIDEWAYS, {"height": 32, "width": 48, "resize": 64, "crop": "center"}, "resize (exact, 64)"),
        (FAINT, {**FAINT, "dtype": "float32"}, "levels"),
        ({"dtypes": ("int8",)}, {}, "types (int8, int32)"),
        ({"dtypes": ("float16",)}, {"dtypes": ("float32",)}, "types (float16, float32)"),
    ],
    ids=["sides swapped", "levels merged by float16", "integers that wrap around", "numbers rounded"],
)
def test_same_contract_fails_alone_when_the_baseline_gets_other_values(
    baseline: dict[str, Any], candidate: dict[str, Any], words: str, small_pair: Any, edition: Edition,
    make_evidence: Callable[..., Evidence],
) -> None:  # fmt: skip
    whole = NUMBERS if "dtypes" in baseline else small_pair.contract
    pair = {arm: replace(whole, **one).to_json() for arm, one in (("baseline", baseline), ("candidate", candidate))}
    evidence = make_evidence(observations={"contracts": {**pair, "declared": None}})
    found = {one.name: one.sentence for one in judge_guards(evidence, edition) if one.outcome == "fail"}
    assert list(found) == ["same_contract"] and words in found["same_contract"]
    with mock.patch.dict(GUARDS, {"same_contract": lambda evidence, edition: Answer("pass", "It is disabled.")}):
        assert not any(one.outcome == "fail" for one in judge_guards(evidence, edition))


def test_findings_pass_when_the_pair_is_honest(small_pair: Any, edition: Edition) -> None:
    evidence = measured(small_pair, edition, small_pair.candidate)
    assert failed(evidence, edition) == []
    assert all(facts.varying_share == 0 and facts.counted_share == 1 for facts in evidence.header.models.values())


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (127.5, 127.5, 127.5)},
        {"height": 16, "width": 16},
        {"dtype": "float16"},
    ],
)
def test_same_contract_passes_when_only_the_notation_or_the_size_differs(
    change: dict[str, Any], small_pair: Any, edition: Edition, make_evidence: Callable[..., Evidence]
) -> None:
    other = replace(small_pair.contract, **change).to_json()
    told = {"contracts": {"baseline": small_pair.contract.to_json(), "candidate": other, "declared": None}}
    assert all(one.outcome == "pass" for one in judge_guards(make_evidence(observations=told), edition))


def test_same_contract_passes_with_the_reason_when_it_was_declared(
    small_pair: Any, edition: Edition, make_evidence: Callable[..., Evidence]
) -> None:
    other = replace(small_pair.contract, mean=(0.1, 0.1, 0.1)).to_json()
    told = {"contracts": {"baseline": small_pair.contract.to_json(), "candidate": other, "declared": "A new camera."}}
    found = {one.name: one for one in judge_guards(make_evidence(observations=told), edition)}
    assert found["same_contract"].outcome == "pass" and "A new camera" in found["same_contract"].sentence
