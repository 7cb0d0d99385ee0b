"""Real files that cheat, observed as a measurement observes them: each trips the one guard that is there for it.

What a file or a session shows is real; windows and predictions, on which these guards do not look, are made up and
honest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from certify.assessments.efficiency.guards import GUARDS
from certify.measure.model_under_test import Subject, subject

RUNTIME = "onnxruntime-cpu"
Observed = Mapping[str, Mapping[str, Any]]
Edit = Callable[[onnx.ModelProto], None]


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def put(model: onnx.ModelProto, **arrays: np.ndarray) -> None:
    """Set or add weights."""
    for name, array in arrays.items():
        kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, numpy_helper.from_array(array, name)])


def insert(model: onnx.ModelProto, after: str, *nodes: onnx.NodeProto) -> None:
    """Put nodes behind the node of a name; who read its output reads the last one's."""
    place = next(i for i, node in enumerate(model.graph.node) if node.name == after)
    output = model.graph.node[place].output[0]
    for node in model.graph.node[place + 1 :]:
        node.input[:] = [nodes[-1].output[0] if name == output else name for name in node.input]
    rest = [*nodes, *model.graph.node[place + 1 :]]
    del model.graph.node[place + 1 :]
    model.graph.node.extend(rest)


HALF = np.arange(32) < 16


def zeroed(model: onnx.ModelProto) -> None:
    put(model, w2=weights(model)["w2"] * HALF[:, None, None, None])


def half_zero(model: onnx.ModelProto) -> None:
    zeroed(model)
    put(model, w1=weights(model)["w1"] * HALF[:, None, None, None])


def nearly_zeroed(model: onnx.ModelProto) -> None:
    put(model, w2=(weights(model)["w2"] * np.where(HALF, 1, 1e-12)[:, None, None, None]).astype(np.float32))


def multiplied(model: onnx.ModelProto) -> None:
    put(model, mask=HALF.astype(np.float32).reshape(1, 32, 1, 1))
    insert(model, "relu2", helper.make_node("Mul", ["r2", "mask"], ["masked"], name="mul"))


def cancelled(model: onnx.ModelProto) -> None:
    """A whole branch that is computed and then multiplied by nothing."""
    put(model, nothing=np.float32(0), w4=weights(model)["w2"] + 1)
    branch = [
        helper.make_node("Conv", ["r1", "w4"], ["c4"], name="conv4", pads=[1] * 4),
        helper.make_node("Mul", ["c4", "nothing"], ["m4"], name="mul4"),
        helper.make_node("Add", ["c2", "m4"], ["a4"], name="add4"),
    ]
    insert(model, "conv2", *branch)


def selected(model: onnx.ModelProto) -> None:
    put(model, keep=np.broadcast_to(HALF.reshape(1, 32, 1, 1), (1, 32, 32, 32)).copy(), nothing=np.float32(0))
    insert(model, "relu1", helper.make_node("Where", ["keep", "r1", "nothing"], ["masked"], name="where"))


def scored(model: onnx.ModelProto) -> None:
    """The mask is computed from importance scores inside the graph, as a pruning method in training does it."""
    put(model, importance=np.linspace(1, 0, 32, dtype=np.float32).reshape(32, 1, 1, 1), threshold=np.float32(0.5))
    for node in model.graph.node:
        node.input[:] = ["w2_masked" if name == "w2" else name for name in node.input]
    made = [
        helper.make_node("Greater", ["importance", "threshold"], ["chosen"], name="greater"),
        helper.make_node("Cast", ["chosen"], ["chosen_float"], name="cast", to=1),
        helper.make_node("Mul", ["w2", "chosen_float"], ["w2_masked"], name="mask_weight"),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*made, *rest])


MASKS: dict[str, Edit] = {
    "zeros in the weights": zeroed,
    "weights too small to matter": nearly_zeroed,
    "a factor behind the activation": multiplied,
    "a constant condition": selected,
    "a mask computed from scores": scored,
}


def test_no_guard_is_tripped_when_the_pair_is_honest(court: Any) -> None:
    pair = court.pair
    assert court.judge(court.look(pair.candidate)) == {}


@pytest.mark.parametrize("mask", MASKS)
def test_channels_removed_fails_alone_when_channels_are_masked_by(mask: str, court: Any) -> None:
    path = court.edited(MASKS[mask])
    assert court.judge(court.look(path)) == {"channels_removed": "fail"}


@pytest.mark.parametrize("padding", [half_zero, cancelled])
def test_channels_removed_fails_alone_when_the_baseline_is_padded(padding: Edit, court: Any) -> None:
    found = court.look(court.edited(padding), arm="baseline")
    told = {name: {"baseline": values, "candidate": court.baseline[name]} for name, values in found.items()}
    assert court.outcomes(told) == {"channels_removed": "fail"}


def test_same_task_fails_alone_when_the_baseline_computes_unused_values(court: Any) -> None:
    def more(model: onnx.ModelProto) -> None:
        put(model, w4=weights(model)["w2"])
        insert(model, "relu1", helper.make_node("Conv", ["r1", "w4"], ["unread"], name="conv4", pads=[1] * 4))
        for node in model.graph.node:
            if node.name == "conv2":
                node.input[0] = "r1"
        shape = ["batch", 32, 32, 32]
        model.graph.output.append(helper.make_tensor_value_info("unread", onnx.TensorProto.FLOAT, shape))

    found = court.look(court.edited(more), arm="baseline")
    told = {name: {"baseline": values, "candidate": court.baseline[name]} for name, values in found.items()}
    assert court.outcomes(told) == {"same_task": "fail"}


def test_channels_removed_fails_alone_when_scales_silence_quantized_channels(court: Any) -> None:
    model = onnx.load(str(court.pair.candidate))
    dequantize = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0].startswith("w2"))
    scale = dequantize.input[1]
    put(model, **{scale: (weights(model)[scale] * np.where(HALF, 1, 1e-20)).astype(np.float32)})
    path = court.folder / "scales.onnx"
    onnx.save(model, str(path))
    found = court.look(path)
    assert court.judge(found) == {"channels_removed": "fail"}


def test_quantization_fused_fails_alone_when_the_runtime_leaves_pairs_apart(court: Any) -> None:
    """The outputs of the convolutions are never quantized, so that they run in float on integers made floats again."""
    model = onnx.load(str(court.pair.candidate))
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    skipped: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in convolutions:
            skipped[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in skipped:
            skipped[node.output[0]] = skipped[node.input[0]]
        else:
            node.input[:] = [skipped.get(name, name) for name in node.input]
            kept.append(node)
    assert skipped
    del model.graph.node[:]
    model.graph.node.extend(kept)
    path = court.folder / "apart.onnx"
    onnx.save(model, str(path))
    found = court.look(path)
    assert found["quantization"]["fused"] < found["quantization"]["intended"]
    assert court.judge(found) == {"quantization_fused": "fail"}


def test_same_task_fails_alone_when_the_output_is_shorter(court: Any) -> None:
    def halve(model: onnx.ModelProto) -> None:
        old = weights(model)
        put(model, w3=old["w3"][:2], b3=old["b3"][:2])
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2

    path = court.edited(halve)
    width = onnx.load(str(path)).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    found = court.look(path, width=width)
    assert court.judge(found) == {"same_task": "fail"}


def test_same_task_fails_alone_when_images_are_made_smaller(court: Any) -> None:
    """The contract, which the candidate brings itself, halves the image before anything is measured."""

    def shrink(model: onnx.ModelProto) -> None:
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 16
        pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
        for attribute in pool.attribute:
            attribute.ints[:] = [8, 8]

    path = court.edited(shrink)
    contract = replace(court.pair.contract, height=16, width=16)
    assert court.judge(court.look(path, contract)) == {"same_task": "fail"}


def test_same_task_fails_alone_when_colours_are_dropped(court: Any) -> None:
    def grey(model: onnx.ModelProto) -> None:
        put(model, w1=weights(model)["w1"].sum(axis=1, keepdims=True))
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1

    contract = replace(court.pair.contract, colour="L", mean=(0.0,), std=(0.5,))
    assert court.judge(court.look(court.edited(grey), contract)) == {"same_task": "fail"}


def test_every_guard_against_fake_savings_has_a_real_cheat() -> None:
    """The others judge the machine and the meter, which no file can touch."""
    against = {"quantization_fused", "channels_removed", "one_device", "same_task", "baseline_at_best_settings",
               "inputs_real", "test_unseen"}  # fmt: skip
    told = "".join(path.read_text() for path in Path(__file__).parent.glob("test_cheating*.py"))
    assert against <= set(GUARDS)
    assert all(f"test_{name}_fails_alone" in told for name in against)


def test_subject_reads_the_same_facts_when_channels_are_only_masked(court: Any) -> None:
    """What a mask cannot change: multiply-adds, parameters and bytes moved stay those of the whole net."""
    found: list[Subject] = [
        subject("candidate", path, court.pair.contract, 1, court.folder)
        for path in (court.pair.baseline, court.edited(zeroed))
    ]
    assert found[0].facts.macs == found[1].facts.macs
    assert found[0].facts.bytes_moved == found[1].facts.bytes_moved
