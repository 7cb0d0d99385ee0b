"""Where floats meet integers, no kernel is slow and no value is converted or transposed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from compress.core.targets import TARGETS
from compress.onnx_graph.graph import Graph, sort_nodes
from compress.quantization.post_training.calibration import ranges
from compress.quantization.post_training.qdq import observed_names, plan, quantized

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def pooled(activation: str) -> onnx.ModelProto:
    """Two convolutions with an activation and two max pools between them."""
    weights = [np.random.default_rng(1).standard_normal(shape) for shape in ((8, 3, 3, 3), (4, 8, 3, 3))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node(activation, ["a"], ["b"], "activation"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxPool", ["c"], ["d"], "again", kernel_shape=[2, 2]),
        helper.make_node("Conv", ["d", "w1"], ["y"], "second"),
    ]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    given = [numpy_helper.from_array(each.astype(np.float32), f"w{place}") for place, each in enumerate(weights)]
    model = helper.make_model(
        helper.make_graph(nodes, "pooled", ports[:1], ports[1:], given),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, IMAGE.shape))
    return onnx.shape_inference.infer_shapes(model)


def rounded(model: onnx.ModelProto, target: str, kept: tuple[str, ...], image=IMAGE) -> onnx.ModelProto:
    graph, where = Graph(model), TARGETS[target]
    chosen = plan(graph, where, "all", kept)
    found = ranges(graph, observed_names(graph, chosen), [{"x": image}], "minmax", 99.99)
    return quantized(model, chosen, found, where, per_channel=True)


def optimized(model: onnx.ModelProto, path: Path) -> tuple[onnx.ModelProto, np.ndarray]:
    """What ONNX Runtime makes of a file, and its output."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file is for this processor
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path), session.run(None, {"x": IMAGE})[0]


def read_by_pools(model: onnx.ModelProto) -> list[str]:
    """The operators before the max pools."""
    graph = Graph(model)
    makers = [graph.producers.get(node.input[0]) for node in graph.nodes if node.op_type == "MaxPool"]
    return ["input" if maker is None else maker.op_type for maker in makers]


@pytest.mark.parametrize("activation", ["Relu", "Clip", "HardSwish"])
def test_pools_stay_float_in_the_runtime_when_the_layer_before_them_does(tmp_path, activation):
    made = rounded(pooled(activation), "cpu-vnni", ("first",))
    assert read_by_pools(made) == [activation, "MaxPool"]
    found, outputs = optimized(made, tmp_path / "optimized.onnx")
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(read_by_pools(found))
    before = onnx.ModelProto()
    before.CopyFrom(made)
    (added,) = (node for node in before.graph.node if node.op_type == "Sum")
    added.op_type = "Identity"
    same = onnxruntime.InferenceSession(before.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(outputs, same.run(None, {"x": IMAGE})[0], atol=1e-5)


@pytest.mark.parametrize("first", ["Conv", "input"])
def test_pool_stays_float_when_a_flattened_value_is_rounded_or_it_reads_the_input(tmp_path, first):
    random = np.random.default_rng(2)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8 * 7 * 7, 4) if first == "Conv" else (3 * 8 * 8, 4)}
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    given = [numpy_helper.from_array(each, name) for name, each in values.items()]
    given.append(numpy_helper.from_array(np.array([1, -1]), "flat"))
    nodes = [helper.make_node("Conv", ["x", "w0"], ["a"], "first")] if first == "Conv" else []
    nodes += [
        helper.make_node("MaxPool", ["a" if nodes else "x"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["c", "flat"], ["d"], "flatten"),
        helper.make_node("MatMul", ["d", "w1"], ["y"], "second"),
    ]
    ports = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, IMAGE.shape),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "flat", ports[:1], ports[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    kept = ("first",) if first == "Conv" else ("pool", "flatten")
    made = rounded(onnx.shape_inference.infer_shapes(model), "cpu-vnni", kept)
    found, _ = optimized(made, tmp_path / "optimized.onnx")
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(read_by_pools(found))


@pytest.mark.parametrize("kept", [(), ("second",)])
def test_pools_take_bytes_when_the_layer_before_them_does(kept):
    made = rounded(pooled("Relu"), "cpu-vnni", kept)
    assert read_by_pools(made) == ["DequantizeLinear"] * 2
    assert not any(node.op_type == "Sum" for node in made.graph.node)


def test_nothing_is_added_when_another_runtime_runs_the_file():
    made = rounded(pooled("Relu"), "openvino", ("first",))
    assert read_by_pools(made) == ["Relu", "MaxPool"]
    assert not any(node.op_type == "Sum" for node in made.graph.node)


def residual(shortcut: str = "Identity", axes: int = 2) -> onnx.ModelProto:
    """A convolution, two residual blocks, and another convolution."""
    random = np.random.default_rng(1)
    weights = [random.standard_normal((*shape, *[3] * axes)) / 9 for shape in ((16, 3), *[(16, 16)] * 4, (4, 16))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "first", pads=[1] * 2 * axes),
        helper.make_node("Relu", ["c0"], ["r0"], "relu"),
    ]
    value = "r0"
    for block in (1, 3):
        inner = (
            ("Conv", [value, f"w{block}"], "a"),
            ("Relu", [f"a{block}"], "b"),
            ("Conv", [f"b{block}", f"w{block + 1}"], "c"),
        )
        nodes += [
            helper.make_node(
                kind,
                given,
                [f"{name}{block}"],
                f"{name}{block}",
                **({"pads": [1] * 2 * axes} if kind == "Conv" else {}),
            )
            for kind, given, name in inner
        ]
        if shortcut == "MaxPool" and block == 1:
            nodes.append(helper.make_node("MaxPool", [value], ["s1"], "s1", kernel_shape=[1, 1]))
            value = "s1"
        nodes += [
            helper.make_node("Add", [f"c{block}", value], [f"d{block}"], f"d{block}"),
            helper.make_node("Relu", [f"d{block}"], [f"e{block}"], f"e{block}"),
        ]
        value = f"e{block}"
    nodes.append(helper.make_node("Conv", [value, "w5"], ["y"], "last"))
    ports = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *IMAGE.shape[1 : 2 + axes]]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
    ]
    given = [numpy_helper.from_array(each.astype(np.float32), f"w{place}") for place, each in enumerate(weights)]
    graph = helper.make_graph(nodes, "residual", ports[:1], ports[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def turned(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph.node)


def without_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same file as it was before channels were put last."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in [*plain.graph.node]:
        if node.op_type in ("Transpose", "Reshape"):
            plain.graph.node.remove(node)
        for names in (node.input, node.output):
            names[:] = [name.removesuffix(".computed") for name in names]
    return plain


@pytest.mark.parametrize("shortcut", ["Identity", "MaxPool"])
@pytest.mark.parametrize(
    ("kept", "places"),
    [(("first", "relu"), ["r0"]), (("first", "relu", "a1", "b1", "c1", "d1", "e1"), ["e1"]), (("first",), ["r0"])],
)
def test_residual_blocks_keep_their_channels_last_behind_floats(tmp_path, kept, places, shortcut):
    made = rounded(residual(shortcut), "cpu-vnni", kept)
    reshaped = [node.input[0].removesuffix(".channels_last") for node in made.graph.node if node.op_type == "Reshape"]
    assert reshaped == places
    onnx.checker.check_model(made, full_check=True)
    found, outputs = optimized(made, tmp_path / "optimized.onnx")
    before, expected = optimized(without_order(made), tmp_path / "before.onnx")
    np.testing.assert_array_equal(outputs, expected)
    assert turned(found) <= 3 < turned(before)


@pytest.mark.parametrize(
    ("target", "kept"),
    [("cpu-vnni", ()), ("cpu-vnni", ("last",)), ("cpu-vnni", ("c3",)), ("openvino", ("first", "relu"))],
    ids=["no floats", "floats at the end", "floats inside of a block", "another runtime"],
)
def test_channels_stay_in_place_when_no_shortcut_comes_from_floats(target, kept):
    assert turned(rounded(residual(), target, kept)) == 0


def test_channels_stay_in_place_when_only_a_convolution_reads_the_floats():
    assert turned(rounded(pooled("Relu"), "cpu-vnni", ("first",))) == 0


@pytest.mark.parametrize(
    ("kept", "converted"),
    [
        (("a3", "b3", "c3", "d3", "e3"), ["e1"]),
        (("a1", "b1", "c1", "d1", "e1", "a3", "b3", "c3", "d3", "e3"), ["r0"]),
        (("a3", "b3", "c3"), []),
        (("first", "relu"), []),
        ((), []),
    ],
    ids=["a block", "two blocks", "a block without its sum", "floats before", "no floats"],
)
def test_integers_are_restored_once_for_a_block_in_floats(tmp_path, kept, converted):
    made = rounded(residual(), "cpu-vnni", kept)
    sums = {node.output[0]: node.input[0] for node in made.graph.node if node.op_type == "Sum"}
    assert sums == {f"{name}_DequantizeLinear_Output.once": f"{name}_DequantizeLinear_Output" for name in converted}
    found, outputs = optimized(made, tmp_path / "optimized.onnx")
    before = onnx.ModelProto()
    before.CopyFrom(made)
    for node in [*before.graph.node]:
        if node.op_type == "Sum":
            before.graph.node.remove(node)
        node.input[:] = [sums.get(name, name) for name in node.input]
    twice, expected = optimized(before, tmp_path / "before.onnx")
    np.testing.assert_array_equal(outputs, expected)
    conversions = [sum(node.op_type == "DequantizeLinear" for node in each.graph.node) for each in (found, twice)]
    assert conversions[1] - conversions[0] == 2 * len(converted)


def test_integers_are_not_restored_once_more_when_another_runtime_runs_the_file():
    made = rounded(residual(), "openvino", ("a3", "b3", "c3", "d3", "e3"))
    assert not any(node.op_type == "Sum" for node in made.graph.node)


def test_channels_stay_in_place_where_values_are_no_images():
    kept = ("first", "relu")
    assert turned(rounded(residual(axes=1), "cpu-vnni", kept, IMAGE[..., 0])) == 0


def test_values_are_ordered_in_each_place_where_floats_become_integers(tmp_path):
    """The first convolution and the second of three blocks stay float, so the second has a border on each side."""
    kept, model = ("first", "relu", "a3", "b3", "c3", "d3", "e3"), residual()
    (last,) = (node for node in model.graph.node if node.name == "last")
    weight = np.random.default_rng(2).standard_normal((16, 16, 3, 3)).astype(np.float32) / 9
    model.graph.initializer.append(numpy_helper.from_array(weight, "w6"))
    model.graph.node.append(helper.make_node("Conv", ["e3", "w6"], ["c5"], "c5", pads=[1] * 4))
    model.graph.node.append(helper.make_node("Add", ["c5", "e3"], ["d5"], "d5"))
    last.input[0] = "d5"
    sort_nodes(model.graph)
    made = rounded(onnx.shape_inference.infer_shapes(model), "cpu-vnni", kept)
    onnx.checker.check_model(made, full_check=True)
    assert [node.input[0] for node in made.graph.node if node.op_type == "Reshape"] == [
        "r0.channels_last", "e3.channels_last"
    ]  # fmt: skip
    assert sum(node.op_type == "Sum" for node in made.graph.node) == 1
    assert sum(tensor.name == "leanmark.same_shape" for tensor in made.graph.initializer) == 1
    found, outputs = optimized(made, tmp_path / "optimized.onnx")
    before, expected = optimized(without_order(made), tmp_path / "before.onnx")
    np.testing.assert_array_equal(outputs, expected)
    assert turned(found) < turned(before)


def test_float_layer_that_the_runtime_rounds_itself_stays_with_its_integers():
    """ONNX Runtime runs a float convolution between two roundings on integers."""
    made = rounded(residual(), "cpu-vnni", ("a1",))
    assert not any(node.op_type == "Sum" for node in made.graph.node)
    plain = rounded(two_readers(), "cpu-vnni", ("a", "b"))
    assert not any(node.op_type == "Sum" for node in plain.graph.node)


def two_readers() -> onnx.ModelProto:
    """A convolution whose output two others read, and a sum of these."""
    random = np.random.default_rng(1)
    given = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) / 9, name)
        for name, shape in (("w0", (8, 3, 3, 3)), ("w1", (8, 8, 1, 1)), ("w2", (8, 8, 1, 1)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["first"], "first"),
        helper.make_node("Conv", ["first", "w1"], ["a"], "a"),
        helper.make_node("Conv", ["first", "w2"], ["b"], "b"),
        helper.make_node("Add", ["a", "b"], ["y"], "sum"),
    ]
    ports = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *IMAGE.shape[1:]]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "two", ports[:1], ports[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def with_reader(model: onnx.ModelProto, node: onnx.NodeProto, **tensors: np.ndarray) -> onnx.ModelProto:
    """The same network with one more operator, whose output is another one of the network."""
    model.graph.node.append(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    sort_nodes(model.graph)
    return onnx.shape_inference.infer_shapes(model)


def test_channels_stay_in_place_when_no_shortcut_reads_the_floats():
    model = pooled("Relu")
    means = helper.make_node("GlobalAveragePool", ["b"], ["means"], "means")
    (pool,) = (node for node in model.graph.node if node.name == "pool")
    pool.op_type, pool.input[0] = "Conv", "b"
    del pool.attribute[:]
    pool.input.append("w2")
    model = with_reader(model, means, w2=np.ones((8, 8, 3, 3), np.float32))
    made = rounded(model, "cpu-vnni", ("first", "activation"))
    kinds = {node.op_type for node in Graph(made).consumers["b_DequantizeLinear_Output"]}
    assert kinds == {"Conv", "GlobalAveragePool"}
    assert turned(made) == 0


def test_integers_are_not_restored_for_an_operator_with_computed_settings():
    """It moves bytes, although one of its inputs, the places where it begins, comes from another operator."""
    model = residual()
    (end,) = (node for node in model.graph.node if node.name == "last")
    end.input[0] = "part"
    model.graph.node.append(helper.make_node("Identity", ["begin"], ["places"], "places"))
    model.graph.node.append(helper.make_node("Slice", ["e1", "places", "size", "axis"], ["part"], "part"))
    numbers = {"begin": [0], "size": [8], "axis": [2]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in numbers.items())
    model = with_reader(model, helper.make_node("Add", ["d3", "d3"], ["twice"], "twice"))
    made = rounded(model, "cpu-vnni", ("a3", "b3", "c3", "d3", "e3", "twice"))
    assert {node.op_type: node.input[0] for node in Graph(made).consumers["e1_DequantizeLinear_Output"]} == {
        "Slice": "e1_DequantizeLinear_Output", "Sum": "e1_DequantizeLinear_Output"
    }  # fmt: skip
