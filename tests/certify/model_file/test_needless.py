"""Work that the outputs of a graph do not need is found; what it reads is not called needless."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from certify.model_file.onnx_graph.connected import connected_share
from certify.model_file.onnx_graph.equal_values import OBSERVED, comparable_values, steady_values
from certify.model_file.onnx_graph.linear_products import linear_products
from certify.model_file.onnx_graph.needless import NeededPositions
from certify.model_file.onnx_graph.needless_work import needless_work
from certify.model_file.onnx_graph.rearrangements import needless_moves
from certify.model_file.onnx_graph.repetitions import looking_at_slices, repetitions, sliced_values
from certify.model_file.onnx_graph.scaled_channels import shorten_chains

RNG = np.random.default_rng(0)
SAMPLE = (4, 12, 12)


def model(nodes: list[onnx.NodeProto], sample: tuple[int, ...] = SAMPLE, **weights: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *sample])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def needing_little() -> onnx.ModelProto:
    """Every operator that passes needed positions on, most of which drops some."""
    unread = normal(6, 4, 3, 3)
    unread[:, 2] = 0
    return model(
        [
            node("Conv", "x w1", "a", pads=[1, 1, 1, 1], strides=[1, 2]),
            node("Mul", "a scale", "b"),
            node("Conv", "b w2", "c", group=3, dilations=[2, 1], pads=[2, 1, 2, 1]),
            node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
            node("Slice", "d starts ends axes steps", "e"),
            node("Slice", "d starts ends axes", "e0"),
            node("Conv", "e0 w4", "e2", strides=[2, 1]),
            node("Concat", "e e2", "f", axis=1),
            node("Transpose", "f", "g", perm=[0, 2, 3, 1]),
            node("MatMul", "g w3", "h"),
            node("Gather", "h some", "i", axis=1),
            node("ReduceMean", "i", "j", axes=[1, 2], keepdims=0),
            node("Gemm", "j w5", "y", transB=1),
        ],
        w1=unread, scale=normal(1, 6, 1, 1), w2=normal(9, 2, 3, 3), starts=np.array([1, 1]), ends=np.array([6, 3]),
        axes=np.array([2, 3]), steps=np.array([2, 1]), w4=normal(5, 9, 1, 1),
        w3=np.where(np.arange(14)[:, None] % 3, normal(14, 8), 0),
        some=np.array([0, 2]), w5=np.where(np.arange(8)[None] % 2, normal(3, 8), 0),
    )  # fmt: skip


def test_output_stays_when_what_is_not_needed_is_replaced() -> None:
    made = needing_little()
    needed = NeededPositions(made, SAMPLE, {})
    needed.needless()
    x = normal(1, *SAMPLE)
    before = ReferenceEvaluator(made).run(None, {"x": x})[0]
    dropped = 0
    for value in ("x", *(name for one in made.graph.node[:-1] for name in one.output)):
        mask = np.ix_(*needed.masks[value])
        broken = onnx.ModelProto()
        broken.CopyFrom(made)
        for one in broken.graph.node:
            one.input[:] = ["other" if name == value else name for name in one.input]
        given = {"x": x}
        original = x
        if value != "x":
            shown = onnx.ModelProto()
            shown.CopyFrom(made)
            shown.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
            original = ReferenceEvaluator(shown).run(None, given)[-1]
        other = normal(*original.shape)
        other[mask] = original[mask]
        dropped += other.size - original[mask].size
        broken.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, other.shape))
        after = ReferenceEvaluator(broken).run(None, {**given, "other": other})[0]
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5, err_msg=value)
    assert dropped == 1292  # all that these operators allow


def test_everything_is_needed_when_a_network_is_honest() -> None:
    original = model(
        [node("Conv", "x w1", "a", pads=[1] * 4), node("Relu", "a", "b"), node("GlobalAveragePool", "b", "c"),
         node("Flatten", "c", "d"), node("Gemm", "d w2", "y")],
        w1=np.abs(normal(6, 4, 3, 3)) + 1, w2=np.abs(normal(6, 3)) + 1,
    )  # fmt: skip
    assert needless_work(original, SAMPLE, {}) == {}


@pytest.mark.parametrize(
    ("matters", "share"),
    [
        (np.ones((4, 3)), 1.0),
        (np.kron(np.eye(4), np.ones((2, 3))), 1 / 4),
        (np.kron(np.eye(4), np.ones((2, 3)))[RNG.permutation(8)][:, RNG.permutation(12)], 1 / 4),
        (RNG.random((64, 64)) < 0.1, 1.0),  # pruned without any order
        (RNG.random((16, 16, 3, 3)) < 0.5, 1.0),
        (np.ones((4, 4, 5, 5)) * (np.arange(5) % 2 == 0), 3 / 5),
        (np.arange(6)[:, None] > np.zeros((6, 5)), 5 / 6),
        (np.zeros((3, 3)), 0.0),
    ],
    ids=["dense", "blocks", "shuffled blocks", "pruned", "pruned kernels", "kernel with zeros", "dead output", "zeros"],
)  # fmt: skip
def test_zeros_count_as_needless_when_a_smaller_dense_form_leaves_them_out(matters: np.ndarray, share: float) -> None:
    assert connected_share(np.asarray(matters).astype(bool)) == pytest.approx(share)


def test_blocks_are_found_within_each_group_when_a_layer_has_groups() -> None:
    dense = np.kron(np.eye(2), np.ones((2, 2)))
    two_groups = np.concatenate([dense, np.ones((3, 4))]).astype(bool)  # one output of the second is not needed
    assert connected_share(two_groups, np.array([0] * 4 + [1] * 3)) == pytest.approx((8 + 12) / 28)
    assert connected_share(np.array([[True], [False], [True]]), np.arange(3)) == pytest.approx(2 / 3)


def tokens_of_which_one_is_read(layers: int) -> onnx.ModelProto:
    """An attention over 16 tokens, layers behind it, and a head that reads the first token."""
    width = 8
    return model(
        [
            node("MatMul", "x q", "queries"),
            node("Transpose", "x", "keys", perm=[0, 2, 1]),
            node("MatMul", "queries keys", "scores"),
            node("Softmax", "scores", "weights"),
            node("MatMul", "weights x", "mixed"),
            node("Add", "x mixed", "h0"),
            *(each for i in range(layers) for each in
              (node("MatMul", f"h{i} w", f"m{i}"), node("Relu", f"m{i}", f"h{i + 1}"))),
            node("Gather", f"h{layers} zero", "token", axis=1),
            node("MatMul", "token w", "y"),
        ],
        sample=(16, width), q=np.abs(normal(width, width)) + 1, w=np.abs(normal(width, width)) + 1, zero=np.array(0),
    )  # fmt: skip


@pytest.mark.parametrize(("layers", "needless"), [(3, False), (12, True)])
def test_unread_tokens_are_needless_when_more_than_a_block_is_computed_for_them(layers: int, needless: bool) -> None:
    found = needless_work(tokens_of_which_one_is_read(layers), (16, 8), {})
    assert bool(found) == needless
    assert sum(name.startswith("m") for name in found) == max(0, layers - 5)


def test_half_is_needless_when_doubles_are_multiplied() -> None:
    original = model(
        [node("Cast", "x", "d", to=TensorProto.DOUBLE), node("MatMul", "d w", "e"),
         node("Cast", "e", "y", to=TensorProto.FLOAT)],
        sample=(8,), w=np.abs(RNG.standard_normal((8, 6))) + 1,
    )  # fmt: skip
    assert needless_work(original, (8,), {}) == {"e": 8 * 6 / 2}


@pytest.mark.parametrize(("inner", "saved"), [(64, 64 * 16 + 16 * 64 - 16 * 16), (4, 0)])
def test_product_is_saved_when_the_inner_width_is_larger(inner: int, saved: int) -> None:
    original = model(
        [node("MatMul", "x a", "h"), node("Add", "h bias", "i"), node("MatMul", "i b", "y")],
        sample=(16,), a=normal(16, inner), bias=normal(inner), b=normal(inner, 16),
    )  # fmt: skip
    assert sum(linear_products(original, (16,)).values()) == saved
    between = helper.make_node("Relu", ["h"], ["i"])
    original.graph.node[1].CopyFrom(between)
    assert linear_products(original, (16,)) == {}


def test_steady_values_and_what_leads_to_them_are_needless() -> None:
    kinds = {"x": (1, 1, 8), "same": (1, 1, 8), "nearly": (1, 1, 8), "y": (1, 1, 8)}
    runs = RNG.standard_normal((4, 4, 32))
    runs[:, 1:3] = runs[:1, 1:3]
    runs[2, 2] += 0.1
    looked_at = runs.reshape(4, -1)
    assert steady_values(kinds, looked_at) == {"same"}
    assert steady_values(kinds, looked_at[:3]) == set()  # too few to tell
    original = model(
        [node("Size", "x", "size"), node("Cast", "size", "number", to=TensorProto.FLOAT), node("Mul", "a number", "b"),
         node("MatMul", "b c", "d"), node("MatMul", "x d", "y")],
        sample=(8,), a=normal(8, 8), c=normal(8, 8),
    )  # fmt: skip
    assert needless_work(original, (8,), {}) == {}
    assert needless_work(original, (8,), {}, steady={"d"}) == {"d": 8**3 + 640, "b": 640}


@pytest.mark.parametrize(("operator", "needless"), [("MatMul", 640), ("QLinear", 0)])
def test_weights_are_dequantized_once_when_a_float_operator_reads_them(operator: str, needless: int) -> None:
    """An integer operator needs the pair of conversions; zeros are found in both cases."""
    pair = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "r")]
    weights = RNG.integers(1, 127, (8, 8)).astype(np.int8)
    weights[:, 4:] = 0
    original = model(
        [*(pair if operator == "QLinear" else [node("Relu", "x", "r")]), node("DequantizeLinear", "w s z", "v"),
         node("MatMul", "r v", "y")],
        sample=(8,), w=weights, s=np.float32(0.1), z=np.int8(0),
    )  # fmt: skip
    assert needless_work(original, (8,), {}) == {"y": 32} | ({"v": needless} if needless else {})


@pytest.mark.parametrize("saved", [True, False], ids=["over channels", "over tokens"])
def test_product_is_saved_behind_a_transposition_when_both_layers_join_channels(saved: bool) -> None:
    """A layer over channels and one over tokens, as in a Linformer, cannot be merged into a single layer."""
    back = [node("Transpose", "j", "k", perm=[0, 2, 1])] if saved else [node("Identity", "j", "k")]
    original = model(
        [node("MatMul", "x a", "h"), node("Transpose", "h", "i", perm=[0, 2, 1]), node("Identity", "i", "j"), *back,
         node("MatMul", "k b", "y")],
        sample=(32, 32), a=normal(32, 32), b=normal(32, 32),
    )  # fmt: skip
    assert linear_products(original, (32, 32)) == ({"y": 32**3} if saved else {})


def test_layer_over_pixels_is_kept_when_an_average_follows() -> None:
    original = model(
        [node("Conv", "x w", "a", pads=[1] * 4), node("GlobalAveragePool", "a", "b"), node("Flatten", "b", "c"),
         node("Gemm", "c r", "y")], w=normal(16, 4, 3, 3), r=normal(16, 3),
    )  # fmt: skip
    assert linear_products(original, SAMPLE) == {}
    original.graph.initializer[0].CopyFrom(numpy_helper.from_array(normal(16, 4, 1, 1), "w"))
    del original.graph.node[0].attribute[:]
    assert linear_products(original, SAMPLE) == {"y": 16 * 4 * 144 + 3 * 16 - 3 * 4}


@pytest.mark.parametrize(
    ("again", "wasted"), [(["q s z"], 0), ([], 10 * 64 * 3)], ids=["quantized again", "used as floats"]
)
def test_table_stays_integer_when_what_is_looked_up_is_quantized_again(again: list[str], wasted: int) -> None:
    nodes = [node("DequantizeLinear", "w s z", "table"), node("Cast", "x", "i", to=TensorProto.INT64),
             node("Gather", "table i", "g"), *(node("QuantizeLinear", "g s z", "q") for _ in again),
             node("DequantizeLinear", "q s z", "y") if again else node("Relu", "g", "y")]  # fmt: skip
    original = model(nodes, sample=(6,), w=np.ones((64, 3), np.uint8), s=np.float32(0.1), z=np.uint8(3))
    assert sum(needless_work(original, (6,), {}).values()) == wasted


@pytest.mark.parametrize(("times", "excess"), [(1, 0), (2, 0), (5, 3)])
def test_moves_are_needless_when_elements_are_written_more_than_twice(times: int, excess: int) -> None:
    names = ["x", *(f"v{i}" for i in range(times))]
    moves = [node("Gather", f"{a} order", b, axis=1) for a, b in itertools.pairwise(names)]
    original = model([*moves, node("Relu", names[-1], "y")], order=np.array([2, 0, 3, 1]))
    assert sum(needless_moves(original, SAMPLE).values()) == 10 * excess * 4 * 12 * 12


def test_chain_is_shortened_when_its_links_have_no_other_reader() -> None:
    def made(*more: onnx.NodeProto) -> onnx.ModelProto:
        nodes = [node("Mul", "x a", "h"), node("Add", "h b", "i"), node("Sub", "c i", "j"), node("Div", "j d", "k")]
        return model([*nodes, *more], **{name: normal(4, 1, 1) + 3 for name in "abcd"})

    short = made(node("Relu", "k", "y"))
    x = normal(1, *SAMPLE)
    before = ReferenceEvaluator(short).run(None, {"x": x})[0]
    assert shorten_chains(short, SAMPLE) == 1
    assert [one.op_type for one in short.graph.node] == ["Mul", "Add", "Relu"]
    np.testing.assert_allclose(ReferenceEvaluator(short).run(None, {"x": x})[0], before, rtol=1e-4, atol=1e-5)
    assert shorten_chains(short, SAMPLE) == 0
    assert shorten_chains(made(node("Mul", "k i", "y")), SAMPLE) == 0  # the link i is read twice


def test_repetitions_are_found_along_every_axis() -> None:
    kernels = np.repeat(normal(3, 2, 3, 3), 2, axis=0) * np.array([1, 3] * 3, np.float32)[:, None, None, None]
    kernels = np.concatenate([kernels, np.zeros((1, 2, 3, 3), np.float32)])
    sample = (2, 4, 6)
    original = model(
        [node("Concat", "x x", "many", axis=0), node("Resize", "many  sizes", "large", mode="nearest"),
         node("Conv", "large w", "a", pads=[0, 1, 0, 1]), node("Relu", "a", "y")],
        sample=sample, sizes=np.array([1, 1, 2, 1], np.float32), w=kernels[:, :, :1],
    )  # fmt: skip
    original.graph.node[1].input[:] = ["many", "", "sizes"]
    kinds = comparable_values(original, sample)
    axes = sliced_values(original, kinds)
    assert axes == {"many": (1, 2, 3, 0), "large": (2, 3, 0), "a": (0, 2, 3, 1), "y": (2, 3, 0)}
    looking = looking_at_slices(original, axes, kinds, 0)
    runs = [ReferenceEvaluator(looking).run([OBSERVED], {"x": normal(1, *sample)})[0] for _ in range(4)]
    found = repetitions(axes, np.concatenate(runs).astype(np.float64), 0.05)["a"]
    assert {axis: first.tolist() for axis, first in found.items()} == {
        0: [0, 0], 1: [0, 0, 2, 2, 4, 4, -1], 2: [0, 0, 2, 2, 4, 4, 6, 6], 3: list(range(6)),
    }  # fmt: skip


@pytest.mark.parametrize("outputs", ["all  ", "all last cell", " last "], ids=["steps", "all", "the last"])
def test_everything_is_needed_when_only_the_last_step_of_a_recurrence_is_read(outputs: str) -> None:
    steps = [node("Squeeze", "all one", "s"), node("Transpose", "s", "t", perm=[1, 0, 2]),
             node("Gather", "t end", "r", axis=1)]  # fmt: skip
    original = model(
        [node("Transpose", "x", "xt", perm=[1, 0, 2]),
         helper.make_node("LSTM", ["xt", "w", "u"], outputs.split(" "), hidden_size=4),
         *(steps if outputs == "all  " else [node("Squeeze", "last zero", "r")]), node("MatMul", "r v", "y")],
        sample=(6, 3), w=normal(1, 16, 3), u=normal(1, 16, 4), v=np.abs(normal(4, 2)) + 1,
        one=np.array([1]), zero=np.array([0]), end=np.array(-1),
    )  # fmt: skip
    assert needless_work(original, (6, 3), {}) == {}


@pytest.mark.parametrize(
    ("sample", "end", "share"), [((3, 12), -1, 0), ((3, 12), 0, 11 / 12), ((3, 12, 1), -1, 11 / 12)]
)
def test_steps_are_needed_when_only_the_last_of_a_sequence_is_read(
    sample: tuple[int, ...], end: int, share: float
) -> None:
    """As causal convolutions are written; of an image, or of another step, the rest is needless."""
    original = model(
        [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Gather", "b end", "r", axis=2),
         node("Flatten", "r", "f"), node("MatMul", "f v", "y")],
        sample=sample, w=normal(4, 3, *[1] * (len(sample) - 1)), end=np.array(end), v=np.abs(normal(4, 2)) + 1,
    )  # fmt: skip
    found = needless_work(original, sample, {})
    assert found.get("a", 0) == round((4 * 12 * 3 + 10 * 4 * 12) * share)


def test_operator_is_needed_when_only_its_second_output_is_read() -> None:
    original = model(
        [node("Relu", "x", "a"), helper.make_node("Split", ["a", "sizes"], ["b", "c"], axis=1),
         node("Sigmoid", "c", "y")], sample=(8,), sizes=np.array([0, 8]),
    )  # fmt: skip
    assert needless_work(original, (8,), {}) == {}
