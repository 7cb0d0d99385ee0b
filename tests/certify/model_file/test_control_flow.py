"""Subgraphs of If, Loop and Scan are counted; data-dependent work is reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.model_file.onnx_graph.counts import Counts, count
from certify.model_file.onnx_graph.data_sized import PICKING, SIZES

CONV = 4 * 8 * 8 * 3 * 9
"""Multiply-adds of the convolution from 3 to 4 channels over 8 x 8."""


def tensor(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


def conv(out: str, name: str = "w", read: str = "x") -> onnx.NodeProto:
    return helper.make_node("Conv", [read, name], [out], pads=[1] * 4)


def info(name: str, shape: Sequence[int | str] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def body(name: str, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], *inputs: onnx.ValueInfoProto,
         weights: Sequence[TensorProto] = ()) -> onnx.GraphProto:  # fmt: skip
    return helper.make_graph(nodes, name, list(inputs), [info(name) for name in outputs], list(weights))


def model(nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto] = (), opset: int = 17) -> onnx.ModelProto:
    kernel = tensor("w", np.ones((4, 3, 3, 3), np.float32))
    graph = helper.make_graph(
        nodes, "g", [info("x", ["n", 3, 8, 8])], [info("y", ["a", "b", "c", "d"])], [kernel, *weights]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def counted(nodes: Sequence[onnx.NodeProto], weights: Sequence[TensorProto] = ()) -> Counts:
    original = model(nodes, weights)
    onnx.checker.check_model(original)
    return count(original)


def decide(threshold: float = 0.5) -> list[onnx.NodeProto]:
    """A condition on the data."""
    return [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Constant", [], ["limit"], value=tensor("limit", np.array(threshold, np.float32))),
        helper.make_node("Greater", ["mean", "limit"], ["condition"]),
    ]


def choose(condition: str, then: onnx.GraphProto, other: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", [condition], ["y"], then_branch=then, else_branch=other)


CHEAP = body("cheap", [conv("c1", "small")], ["c1"], weights=[tensor("small", np.ones((4, 3, 1, 1), np.float32))])
CHEAP.node[0].attribute[0].ints[:] = [0] * 4
WHOLE = body("whole", [conv("c0")], ["c0"])


def test_most_expensive_branch_counts_when_the_data_decide() -> None:
    found = counted([*decide(), choose("condition", CHEAP, WHOLE)])
    assert (found.macs, found.counted_share) == (CONV, 1.0)
    assert found.varying == ("If",) and found.varying_share == pytest.approx(0.81, abs=0.01)
    assert found.parameters == 4 * 27 + 4 * 3 + 1


def test_branches_of_the_same_work_do_not_vary_when_the_data_decide() -> None:
    other = body("other", [conv("c2", "v")], ["c2"], weights=[tensor("v", np.zeros((4, 3, 3, 3), np.float32))])
    found = counted([*decide(), choose("condition", other, WHOLE)])
    assert (found.macs, found.varying_share, found.varying) == (CONV, 0.0, ())
    assert found.bytes_moved is not None


def test_taken_branch_counts_when_the_condition_is_constant() -> None:
    true = [helper.make_node("Constant", [], ["c"], value=tensor("c", np.array([True])))]
    first, second = (counted([*true, choose("c", *pair)]) for pair in ((CHEAP, WHOLE), (WHOLE, CHEAP)))
    assert (first.macs, second.macs) == (CONV // 9, CONV)
    assert first.varying_share == second.varying_share == 0


def test_condition_is_folded_when_it_follows_from_shapes() -> None:
    """As exporters write squeeze: If the size is 1."""
    relu = helper.make_node("Relu", ["x"], ["r"])
    shape = helper.make_node("Shape", ["r"], ["s"])
    pick = helper.make_node("Gather", ["s", "one"], ["channels"], axis=0)
    equal = helper.make_node("Equal", ["channels", "three"], ["c"])
    kept = body("kept", [helper.make_node("Identity", ["r"], ["k"])], ["k"])
    squeezed = body("squeezed", [helper.make_node("Squeeze", ["r"], ["k2"])], ["k2"])
    chosen = helper.make_node("If", ["c"], ["z"], then_branch=kept, else_branch=squeezed)
    weights = [tensor("one", np.array(1, np.int64)), tensor("three", np.array(3, np.int64))]
    found = counted([relu, shape, pick, equal, chosen, conv("y", read="z")], weights)
    assert (found.macs, found.counted_share, found.varying) == (CONV, 1.0, ())


def loop(trips: str, condition: str, last: onnx.NodeProto, *more: onnx.NodeProto) -> onnx.NodeProto:
    nodes = [last, *more, conv("c", "square", "carried"), helper.make_node("Relu", ["c"], ["next"])]
    inside = body(
        "inside", nodes, ["last", "next"], info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL),
        info("carried"), weights=[tensor("square", np.ones((3, 3, 3, 3), np.float32))],
    )  # fmt: skip
    inside.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    return helper.make_node("Loop", [trips, condition, "x"], ["y"], body=inside)


def test_body_counts_once_per_trip_when_the_trip_count_is_constant() -> None:
    weights = [tensor("eight", np.array(8, np.int64)), tensor("go0", np.array(True))]
    found = counted([loop("eight", "go0", helper.make_node("Identity", ["go"], ["last"]))], weights)
    assert (found.macs, found.counted_share, found.varying) == (8 * 3 * 8 * 8 * 27, 1.0, ())


def test_loop_has_no_bound_when_the_data_end_it() -> None:
    mean = helper.make_node("ReduceMean", ["carried"], ["m"], keepdims=0)
    less = helper.make_node("Less", ["m", "limit0"], ["last"])
    weights = [tensor(*pair) for pair in (("eight", np.array(8, np.int64)), ("limit0", np.array(0.5, np.float32)))]
    found = counted([loop("eight", "", mean, less)], weights)
    assert (found.varying, found.varying_share) == (("Loop",), 1.0)
    assert found.counted_share < 1 and "Loop" in found.not_counted


def test_loop_has_no_bound_when_its_trip_count_comes_from_the_data() -> None:
    trips = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["trips"], to=TensorProto.INT64),
    ]
    found = counted([*trips, loop("trips", "", helper.make_node("Identity", ["go"], ["last"]))])
    assert (found.varying, found.varying_share) == (("Loop",), 1.0)


def test_scan_counts_every_step_when_its_length_is_static() -> None:
    product = helper.make_node("MatMul", ["row", "square"], ["out"])
    add = helper.make_node("Add", ["state", "out"], ["next"])
    inside = body("inside", [product, add], ["next", "out"], info("state"), info("row"))
    start = tensor("start", np.zeros((1, 3, 8), np.float32))
    scan = helper.make_node("Scan", ["start", "x"], ["state1", "y"], body=inside, num_scan_inputs=1,
                            scan_input_axes=[2])  # fmt: skip
    square = tensor("square", np.ones((8, 8), np.float32))
    found = counted([scan], [start, square])
    assert (found.macs, found.counted_share, found.varying) == (8 * 3 * 8 * 8, 1.0, ())


def test_functions_with_branches_replace_their_calls() -> None:
    nodes = [*decide(), choose("condition", CHEAP, body("whole", [conv("c0", "k")], ["c0"]))]
    opset = [helper.make_opsetid("", 17)]
    whole = helper.make_function("own", "Net", ["x", "k"], ["y"], nodes, opset)
    original = model([helper.make_node("Net", ["x", "w"], ["y"], domain="own")])
    original.opset_import.append(helper.make_opsetid("own", 1))
    original.functions.append(whole)
    found = count(original)
    assert (found.macs, found.varying) == (CONV, ("If",))


def picked() -> list[onnx.NodeProto]:
    """The whole net for those samples only that are bright."""
    return [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Greater", ["means", "limit"], ["bright"]),
        helper.make_node("Compress", ["x", "bright"], ["few"], axis=0),
        conv("y", read="few"),
    ]


def test_data_dependent_size_is_reported_when_nothing_branches() -> None:
    found = counted(picked(), [tensor("limit", np.array(0.5, np.float32))])
    assert (found.varying, found.varying_share) == (("Compress",), 1.0)
    assert (found.macs, found.not_counted) == (0, ("Conv",))


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("SequenceAt", ["pair", "size"], {}),
        ("SequenceErase", ["pair", "size"], {}),
        ("SequenceInsert", ["pair", "x", "size"], {}),
        ("HannWindow", ["size"], {}),
        ("AffineGrid", ["theta", "sizes"], {}),
        ("LSTM", ["rows", "W", "R", "", "sizes"], {"hidden_size": 4}),
        ("GRU", ["rows", "W", "R", "", "sizes"], {"hidden_size": 4}),
        ("ReduceSum", ["x", "sizes"], {}),
        ("ReduceMean", ["x", "sizes"], {}),
        ("DFT", ["rows", "", "size"], {"onesided": 1}),
    ],
)
def test_work_varies_when_the_data_determine(kind: str, inputs: list[str], attributes: dict[str, int]) -> None:
    """A position in a sequence, the length of a window, the size of a grid, or the steps of a recurrence."""
    nodes = [
        *decide(),
        helper.make_node("Cast", ["condition"], ["size"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["size", "axis"], ["sizes"]),
        helper.make_node("SequenceConstruct", ["x", "x"], ["pair"]),
        helper.make_node(kind, inputs, ["made"], **attributes),
        conv("y"),
    ]
    found = count(model(nodes, [tensor("axis", np.array([0]))], opset=20))
    assert (found.varying, found.varying_share) == ((kind,), 1.0)


@pytest.mark.parametrize(
    ("training", "varying"),
    [
        (np.True_, ("Slice",)),
        (np.False_, ()),
        (None, ()),
    ],
)
def test_work_varies_when_the_numbers_of_a_training_dropout_determine_a_size(
    training: np.bool_ | None, varying: tuple[str, ...]
) -> None:
    """No sample is looked at, but the random numbers of a process tell how often the model has run."""
    dropped = ["ones", "half"] + ["training"] * (training is not None)
    nodes = [
        helper.make_node("Dropout", dropped, ["drawn"], seed=1),
        helper.make_node("Cast", ["drawn"], ["size"], to=TensorProto.INT64),
        helper.make_node("Slice", ["x", "start", "size"], ["rows"]),
        conv("y", read="rows"),
    ]
    constants = {"ones": np.ones(1, np.float32), "half": np.float32(0.5), "start": np.array([0]), "training": training}
    found = count(model(nodes, [tensor(k, v) for k, v in constants.items() if v is not None]))
    assert (found.varying, found.varying_share) == (varying, float(bool(varying)))


def test_work_varies_when_the_data_determine_the_scale_of_an_early_resize() -> None:
    nodes = [*decide(), helper.make_node("Where", ["condition", "small", "large"], ["scales"]),
             helper.make_node("Resize", ["x", "scales"], ["made"]), conv("y", read="made")]  # fmt: skip
    scales = [tensor(name, np.array([1, 1, by, by], np.float32)) for name, by in (("small", 1), ("large", 8))]
    found = count(model(nodes, scales, opset=10))
    assert (found.varying, found.varying_share) == (("Resize",), 1.0)


@pytest.mark.parametrize(
    ("kind", "varies"), [("UnfoldTensor", True), ("MurmurHash3", True), ("BiasGelu", False), ("FusedConv", False)]
)
def test_operator_outside_the_standard_varies_unless_its_size_is_known_to_be_fixed(kind: str, varies: bool) -> None:
    original = model([helper.make_node(kind, ["x", "w"], ["y"], domain="com.microsoft")])
    original.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert (count(original).varying == (kind,)) == varies


VALUES = frozenset(
    {"And", "CumProd", "CumSum", "Equal", "Gather", "GatherElements", "GatherND", "Not", "Or", "QLinearConv",
     "ReverseSequence", "RotaryEmbedding", "Scatter", "ScatterElements", "ScatterND", "TensorScatter", "Trilu", "Where",
     "Xor", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}
)  # fmt: skip
"""Operators that take integers or conditions as values: none changes a size or the number of steps."""


def test_every_standard_operator_with_integer_inputs_was_looked_at() -> None:
    """In a newer version of ONNX, an operator may read a size from an input that was an attribute before."""
    whole = {"tensor(int32)", "tensor(int64)", "tensor(bool)"}
    left_out = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        judged = schema.name in VALUES | PICKING or any(
            "graph" in str(a.type).lower() for a in schema.attributes.values()
        )
        for place, port in enumerate(schema.inputs):
            integer = bool(port.types) and set(port.types) <= whole
            if not schema.domain and integer and not judged and place not in SIZES.get(schema.name, ()):
                left_out.add((schema.name, port.name))
    assert left_out == {("MaxUnpool", "I"), ("MelWeightMatrix", "sample_rate"), ("RoiAlign", "batch_indices")}


def test_branches_vary_when_only_the_types_of_their_operators_differ() -> None:
    then, other = (body(kind, [helper.make_node(kind, ["x"], [kind])], [kind]) for kind in ("Identity", "Sin"))
    assert counted([*decide(), choose("condition", then, other)]).varying_share > 0.9


def test_sizes_from_shapes_do_not_vary() -> None:
    """As exporters write masks: the places of ones in a constant of the input's size."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["ones"], value=tensor("one", np.ones(1, np.int64))),
        helper.make_node("NonZero", ["ones"], ["places"]),
        helper.make_node("Shape", ["places"], ["found"]),
        helper.make_node("Reshape", ["x", "s"], ["again"]),
        conv("y", read="again"),
    ]
    found = counted(nodes)
    assert (found.macs, found.varying) == (CONV, ())


def test_counting_terminates_when_branches_are_nested_endlessly() -> None:
    """Each level holds the one below twice, so that a few lines stand for a million graphs."""
    inner = CHEAP
    for depth in range(12):
        pair = helper.make_node("If", ["condition"], [f"y{depth}"], then_branch=inner, else_branch=inner)
        inner = body(f"b{depth}", [pair], [f"y{depth}"])
    found = count(model([*decide(), choose("condition", inner, WHOLE)]))
    assert found.varying_share > 0.5
