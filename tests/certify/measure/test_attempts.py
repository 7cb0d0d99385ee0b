from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from certify.core.errors import MeasureError
from certify.core.evidence import Workload
from certify.core.folders import state_folder
from certify.measure.attempts import LOG_NAME, count_attempt
from certify.model_file.model_file import open_model

WORKLOAD = Workload("onnxruntime-cpu", "1", "CPUExecutionProvider", 1, 1, 1)
A, B = ("graph a", "weights a"), ("graph b", "weights b")


def count(baseline: Any = A, candidate: Any = B, workload: Workload = WORKLOAD, data: str = "data") -> int:
    return count_attempt(baseline, candidate, workload, data, "now")


def test_attempts_are_counted_for_the_same_models_workload_and_data_only() -> None:
    assert [count() for _ in range(3)] == [1, 2, 3]
    assert count(candidate=("graph c", "weights c")) == 1
    assert count(workload=replace(WORKLOAD, batch=2)) == 1
    assert count(data="others") == 1
    assert count() == 4


def test_attempts_continue_when_one_digest_of_a_model_or_the_thread_numbers_change() -> None:
    assert count() == 1
    assert count(candidate=("another graph", "weights b")) == 2
    assert count(baseline=("graph a", "other weights")) == 3
    assert count(workload=replace(WORKLOAD, threads=2, candidate_threads=4)) == 4


def test_log_holds_one_line_for_each_measurement() -> None:
    count()
    (line,) = map(json.loads, (state_folder() / LOG_NAME).read_text().splitlines())
    assert (line["baseline"], line["candidate"], line["created"]) == (list(A), list(B), "now")


def test_error_names_the_log_when_it_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(MeasureError, match="LEANMARK_STATE_HOME"):
        count()


@pytest.mark.parametrize("line", ["{half a li", '{"baseline": "a"}', "[]"])
def test_error_names_the_log_when_a_line_is_damaged(line: str) -> None:
    count()
    with (state_folder() / LOG_NAME).open("a") as log:
        log.write(f"{line}\n")
    with pytest.raises(MeasureError, match="damaged line"):
        count()


def _rename(model: onnx.ModelProto) -> None:
    """Gives every node and every tensor inside another name."""
    graph = model.graph
    kept = {port.name for port in (*graph.input, *graph.output)}
    for number, node in enumerate(graph.node):
        node.name = f"layer {number}"
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = name if name in kept or not name else f"{name}, renamed"
    for weight in graph.initializer:
        weight.name += ", renamed"


def _document(model: onnx.ModelProto) -> None:
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "new"
    model.metadata_props.add(key="author", value="somebody")
    model.graph.name = "another"


def _version(model: onnx.ModelProto) -> None:
    model.producer_name, model.producer_version, model.ir_version = "mine", "99", 9


def _identity(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["image"], ["the same image"]))
    for node in model.graph.node[1:]:
        node.input[:] = ["the same image" if name == "image" else name for name in node.input]


def _constants(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], [weight.name], value=weight))


def _order(model: onnx.ModelProto) -> None:
    """Puts the nodes that take weights alone before all others, the last of them first."""
    weights = {weight.name for weight in model.graph.initializer}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    early = [node for node in nodes if weights.issuperset(node.input)]
    del model.graph.node[:]
    model.graph.node.extend([*reversed(early), *(node for node in nodes if node not in early)])


def _layout(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(weight).reshape(-1)
            weight.ClearField("raw_data")
            weight.ClearField("float_data")
            weight.float_data.extend(values.tolist())


def _unused(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "nobody reads it"))


def _channels(model: onnx.ModelProto) -> None:
    """Reorders the channels between both convolutions."""
    order = np.random.default_rng(3).permutation(32)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.name.startswith(("w1", "b1")) and values.shape[:1] == order.shape:
            weight.CopyFrom(numpy_helper.from_array(values[order], weight.name))
        elif weight.name.startswith("w2") and values.ndim == 4:
            weight.CopyFrom(numpy_helper.from_array(values[:, order], weight.name))


def _nudge(model: onnx.ModelProto) -> None:
    """Changes one weight by as little as its type allows, and adds weights that nothing reads."""
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    first = values.flat[5]
    values.flat[5] = np.nextafter(first, np.float32(9)) if values.dtype.kind == "f" else first - np.sign(first or 1)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(100, dtype=np.float32), "nobody reads it"))


def _scale(model: onnx.ModelProto) -> None:
    """Multiplies the weights of a layer, or of its scales, by a number."""
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and weight.name.startswith("w1"):
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.7), weight.name))


def _other_weights(model: onnx.ModelProto) -> None:
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(weight)
    others = np.sort(values, axis=0) // 2 if values.dtype.kind == "i" else values**3
    weight.CopyFrom(numpy_helper.from_array(others, weight.name))


def _another_operator(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "AveragePool").op_type = "MaxPool"


def _both(model: onnx.ModelProto) -> None:
    _unused(model)
    _another_operator(model)


@pytest.mark.parametrize(
    ("change", "stays", "attempt"),
    [
        (_version, (True, True), 2), (_rename, (True, True), 2), (_document, (True, True), 2),
        (_identity, (True, True), 2), (_constants, (True, True), 2), (_order, (True, True), 2),
        (_layout, (True, True), 2), (_unused, (True, False), 2), (_channels, (False, True), 2),
        (_another_operator, (False, True), 2), (_both, (False, False), 2), (_nudge, (False, False), 2),
        (_scale, (False, False), 2), (_other_weights, (False, False), 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_measurement_counts_as_another_attempt_when_the_file_is_equivalent(
    change: Callable[[onnx.ModelProto], None], stays: tuple[bool, bool], attempt: int, arm: str, small_pair: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The real files of a pair, one of them changed and in another folder: what was measured stays what it was."""
    known = {}
    for one in ("baseline", "candidate"):
        with open_model(getattr(small_pair, one)) as model:
            known[one] = model.identities()
    assert count(**known) == 1
    changed = onnx.load(str(getattr(small_pair, arm)))
    change(changed)
    onnx.checker.check_model(changed)
    onnx.save(changed, str(tmp_path / "elsewhere.onnx"))
    with open_model(tmp_path / "elsewhere.onnx") as model:
        found = model.identities()
    assert tuple(a == b for a, b in zip(known[arm][:2], found, strict=False)) == stays
    assert count(**{**known, arm: found}) == attempt


def test_weights_count_wherever_they_are_stored(small_pair: Any, tmp_path: Path) -> None:
    model = onnx.load(str(small_pair.baseline))
    onnx.save(model, str(tmp_path / "outside.onnx"), save_as_external_data=True, size_threshold=0)
    with open_model(tmp_path / "outside.onnx") as outside, open_model(small_pair.baseline) as inside:
        assert outside.weights_files() and outside.identities() == inside.identities()


def test_models_of_one_pair_are_distinct(small_pair: Any) -> None:
    with open_model(small_pair.baseline) as baseline, open_model(small_pair.candidate) as candidate:
        assert not set(baseline.identities()) & set(candidate.identities())
