from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.constants import array_of, fold_small_constants
from certify.model_file.onnx_graph.counts import count


def folded(nodes: list[onnx.NodeProto], shape: list[int], **constants: object) -> dict[str, np.ndarray]:
    """Values that are constants once a graph of one input ``x`` of a stated shape is folded."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, shape)],
        [],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    fold_small_constants(graph)
    found = [node for node in graph.node if node.op_type == "Constant"]
    return {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t) for node in found}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [({}, [2, 3, 5]), ({"end": 1}, [2]), ({"start": 1}, [3, 5]), ({"start": -2, "end": -1}, [3])],
)
def test_shape_is_folded_when_the_input_states_it(bounds: dict[str, int], expected: list[int]) -> None:
    assert folded([helper.make_node("Shape", ["x"], ["y"], **bounds)], [2, 3, 5])["y"].tolist() == expected


def test_nothing_large_is_allocated_when_sizes_are_hostile() -> None:
    huge = 2**62
    found = folded(
        [
            helper.make_node("Shape", ["x"], ["sizes"]),
            helper.make_node("Expand", ["one", "sizes"], ["grown"]),
            helper.make_node("Max", ["row", "column"], ["table"]),
            helper.make_node("Max", ["row", "one"], ["same"]),
        ],
        [huge, huge],
        one=np.array([1]), row=np.arange(4096), column=np.arange(4096).reshape(-1, 1),
    )  # fmt: skip
    assert found["sizes"].tolist() == [huge, huge]
    assert set(found) == {"sizes", "same"}


def test_products_are_counted_when_their_mask_is_looked_up_by_computed_positions() -> None:
    """As exporters write the attention mask of a transformer: positions from the sizes of the input."""
    nodes = [
        helper.make_node("Shape", ["mask"], ["batch"], start=0, end=1),
        helper.make_node("Squeeze", ["batch"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "axes"], ["across"]),
        helper.make_node("Max", ["across", "positions"], ["both"]),
        helper.make_node("Shape", ["both"], ["sizes"]),
        helper.make_node("Expand", ["across", "sizes"], ["first"]),
        helper.make_node("Expand", ["positions", "sizes"], ["second"]),
        helper.make_node("Unsqueeze", ["first", "last"], ["first index"]),
        helper.make_node("Unsqueeze", ["second", "last"], ["second index"]),
        helper.make_node("Concat", ["first index", "second index"], ["index"], axis=-1),
        helper.make_node("GatherND", ["mask", "index"], ["picked"]),
        helper.make_node("MatMul", ["picked", "weight"], ["y"]),
    ]
    weights = {
        "zero": np.array(0), "one": np.array(1), "axes": np.array([1]), "last": np.array([-1]),
        "positions": np.arange(6)[None], "weight": np.ones((6, 10), np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    counts = count(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    assert (counts.macs, counts.counted_share) == (60, 1.0)


def external(values: np.ndarray, folder: Path, before: int = 6) -> onnx.TensorProto:
    """A tensor whose bytes lie in a file, behind others."""
    tensor = onnx.numpy_helper.from_array(values, "w")
    (folder / "w.bin").write_bytes(bytes(before) + tensor.raw_data)
    for key, value in (("location", "w.bin"), ("offset", before), ("length", len(tensor.raw_data))):
        tensor.external_data.add(key=key, value=str(value))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


@pytest.mark.parametrize(
    "kind", [np.float32, np.int8, np.bool_, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4]
)
def test_array_is_read_from_its_file_when_the_tensor_is_external(tmp_path: Path, kind: type) -> None:
    values = np.array([[1, 2, 3], [-4, 0, 5]]).astype(kind)
    tensor = external(values, tmp_path)
    found = array_of(tensor, tmp_path)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found.astype(np.float32), values.astype(np.float32))
    assert not tensor.HasField("raw_data")


def test_array_is_refused_when_its_file_does_not_hold_what_its_shape_says(tmp_path: Path) -> None:
    tensor = external(np.ones((2, 3), np.float32), tmp_path)
    tensor.dims[0] = 3
    with pytest.raises(ModelError, match="'w' does not match its type and shape"):
        array_of(tensor, tmp_path)
