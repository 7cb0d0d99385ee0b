from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from certify.core.errors import ModelError
from certify.data import TokenPreprocess
from certify.model_file.onnx_graph.load import check_feedable, inputs, load_model, outputs


@dataclass(frozen=True)
class Contract:
    input_name: str = "x"
    output_name: str = "y"
    height: int = 8
    width: int = 8
    layout: str = "NCHW"
    colour: str = "RGB"
    dtype: str = "float32"

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.input_name.split())

    def port_shape(self, batch: int) -> tuple[int, ...]:
        channels = 1 if self.colour == "L" else 3
        size = (self.height, self.width)
        return (batch, channels, *size) if self.layout == "NCHW" else (batch, *size, channels)

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        return self.port_shape(1)[1:], self.dtype


@pytest.fixture
def conv(build, conv_weight) -> onnx.ModelProto:
    return build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight})


def _external(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_load_reads_weights_when_they_are_next_to_the_file(conv, conv_weight, tmp_path: Path) -> None:
    loaded = load_model(_external(conv, tmp_path))
    assert np.array_equal(onnx.numpy_helper.to_array(loaded.graph.initializer[0]), conv_weight)


def test_load_says_missing_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ONNX file not found"):
        load_model(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"not an onnx file at all", b"\x08\x08"])
def test_load_says_damaged_when_bytes_are_not_a_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_model(path)


def test_load_says_damaged_or_invalid_when_a_file_is_truncated(conv, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(conv.SerializeToString()[:-200])
    with pytest.raises(ModelError, match="cut.onnx"):
        load_model(path)


def test_load_gives_the_reason_when_a_graph_is_not_valid(build, tmp_path: Path) -> None:
    path = tmp_path / "invalid.onnx"
    path.write_bytes(build([make_node("Conv", ["x", "nothing"], ["y"])], {}).SerializeToString())
    with pytest.raises(ModelError, match="nothing"):
        load_model(path)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", ""])
def test_load_refuses_when_external_data_are_outside_the_folder(conv, tmp_path: Path, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = _external(conv, inner)
    (tmp_path / "weights.bin").write_bytes(b"0" * 1000)
    model = onnx.load_model(str(path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a regular file inside the model's folder"):
        load_model(path)


def test_load_refuses_when_external_data_are_a_link_out_of_the_folder(conv, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = _external(conv, inner)
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    (inner / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"is a symbolic link, as in the cache of a model hub; copy .*\(cp -L\)"):
        load_model(path)


def test_load_refuses_when_the_name_of_external_data_is_too_long(conv, tmp_path: Path) -> None:
    path = _external(conv, tmp_path)
    model = onnx.load_model(str(path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "x" * 5000
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot be read in"):
        load_model(path)


@pytest.mark.parametrize(("size", "word"), [(None, "is missing"), (10, "which has only 10")])
def test_load_names_the_file_when_external_data_are_incomplete(conv, tmp_path: Path, size, word: str) -> None:
    path = _external(conv, tmp_path)
    data = tmp_path / "weights.bin"
    if size is None:
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:size])
    with pytest.raises(ModelError, match=word):
        load_model(path)


def test_ports_give_names_and_dynamic_dimensions(conv) -> None:
    (port,) = inputs(conv)
    assert (port.name, port.shape, port.dtype) == ("x", ("N", 3, 8, 8), "float32")
    assert [p.name for p in outputs(conv)] == ["y"]


def test_feedable_passes_when_batch_rows_and_columns_are_dynamic(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}, shape=("N", 3, "H", "W"))
    check_feedable(model, Contract(height=20, width=30), batch=5)


@pytest.mark.parametrize(
    ("changed", "batch", "words"),
    [
        ({"input_name": "image"}, 1, "input 'image', but the model has x"),
        ({"output_name": "logits"}, 1, "output 'logits', but the model has y"),
        ({"dtype": "uint8"}, 1, "takes float32, but the preprocessing contract gives uint8"),
        ({"height": 9}, 1, r"\(N, 3, 8, 8\).*\(1, 3, 9, 8\)"),
        ({"layout": "NHWC"}, 1, r"\(1, 8, 8, 3\)"),
        ({"colour": "L"}, 1, r"\(1, 1, 8, 8\)"),
    ],
)
def test_feedable_says_what_differs_when_the_contract_does_not_fit(conv, changed, batch: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_feedable(conv, replace(Contract(), **changed), batch)


def test_feedable_names_the_batch_when_it_is_fixed(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}, shape=(4, 3, 8, 8))
    check_feedable(model, Contract(), batch=4)
    with pytest.raises(ModelError, match="measure with batch 4"):
        check_feedable(model, Contract(), batch=1)


def test_feedable_names_dynamic_dimensions_when_they_cannot_be_fed(build) -> None:
    model = build([make_node("Identity", ["x"], ["y"])], {}, shape=("N", "tokens", "width"))
    with pytest.raises(ModelError, match=r"\(dynamic: N, tokens, width\)"):
        check_feedable(model, Contract(), batch=1)


def test_feedable_passes_when_the_contract_names_both_inputs(build) -> None:
    model = build([make_node("Add", ["x", "mask"], ["y"])], {}, shape=("N", 8))
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 8]))
    both = TokenPreprocess("x", "y", length=8, vocabulary=9, pad_id=0, reading="logits", attention_mask="mask")
    with pytest.raises(ModelError, match="takes float32, but the preprocessing contract gives int64"):
        check_feedable(model, both, batch=2)
    for port in model.graph.input:
        port.type.tensor_type.elem_type = TensorProto.INT64
    check_feedable(model, both, batch=2)
    with pytest.raises(ModelError, match=r"\(N, 8\).*\(2, 7\); correct length"):
        check_feedable(model, replace(both, length=7), batch=2)
    with pytest.raises(ModelError, match=r"names the inputs x, but the model also has mask"):
        check_feedable(model, replace(both, attention_mask=None), batch=2)


def test_feedable_names_the_others_when_a_model_has_two_inputs(build, conv_weight) -> None:
    model = build([make_node("Add", ["x", "mask"], ["y"])], {})
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match=r"the model also has mask"):
        check_feedable(model, Contract(), batch=1)


def test_load_says_how_to_sort_nodes_when_their_order_is_wrong(conv, tmp_path: Path) -> None:
    conv.graph.node.insert(0, make_node("Identity", [conv.graph.output[0].name], ["copied"]))
    path = tmp_path / "unsorted.onnx"
    path.write_bytes(conv.SerializeToString())
    with pytest.raises(ModelError, match=r"topologically sorted.*OnnxModel\(model\)\.topological_sort\("):
        load_model(path)


def test_negative_size_of_a_port_is_free(conv) -> None:
    conv.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert inputs(conv)[0].shape[0] is None
