"""The content digest: the same however a model is laid out, another for every change of what it says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from certify.core.errors import ModelError
from certify.model_file.onnx_file.content import SEAL_KEY, content_digest
from certify.model_file.onnx_file.messages import parse_model

Change = Callable[[onnx.ModelProto], object]

CHANGES: dict[str, Change] = {
    "ir_version": lambda m: setattr(m, "ir_version", 8),
    "opset": lambda m: setattr(m.opset_import[0], "version", 18),
    "producer": lambda m: setattr(m, "producer_name", "x"),
    "metadata": lambda m: setattr(m.metadata_props[0], "value", "x"),
    "node name": lambda m: setattr(m.graph.node[0], "name", "x"),
    "node input": lambda m: m.graph.node[0].input.append(""),
    "attribute": lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 2),
    "attribute type": lambda m: setattr(m.graph.node[0].attribute[0], "type", 2),
    "bytes of a weight": lambda m: setattr(m.graph.initializer[0], "raw_data", m.graph.initializer[0].raw_data[::-1]),
    "number of a weight": lambda m: m.graph.initializer[1].float_data.__setitem__(0, 0.5),
    "shape": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 4),
    "name of a dimension": lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", "n"),
    "function": lambda m: setattr(m.functions[0].node[0], "op_type", "Sigmoid"),
    "order of nodes": lambda m: m.graph.node.append(m.graph.node.pop(0)),
    "presence of a default": lambda m: setattr(m, "model_version", 0),
}


@pytest.fixture
def model(normalised: Path) -> onnx.ModelProto:
    return parse_model(normalised)


@pytest.mark.parametrize("what", CHANGES)
def test_content_digest_differs_when_anything_is_changed(model: onnx.ModelProto, what: str) -> None:
    before = content_digest(model)
    CHANGES[what](model)
    assert content_digest(model) != before


def test_content_digest_differs_when_only_the_payload_of_a_nan_is_changed(model: onnx.ModelProto) -> None:
    bits = np.array([0x7FC00001, 0x7FC00002], dtype=np.uint32).view(np.float32)
    digests = set()
    for value in bits:
        tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1])
        tensor.MergeFromString(b"\x22\x04" + value.tobytes())  # field 4, packed float_data
        del model.graph.initializer[:]
        model.graph.initializer.append(tensor)
        digests.add(content_digest(model))
    assert len(digests) == 2


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
@settings(deadline=None)
def test_content_digest_is_equal_only_when_texts_are_split_alike(one: list[str], other: list[str]) -> None:
    models = [helper.make_model(helper.make_graph([helper.make_node("X", n, [])], "g", [], [])) for n in (one, other)]
    assert (content_digest(models[0]) == content_digest(models[1])) == (one == other)


def test_content_digest_is_the_same_when_weights_are_external(model: onnx.ModelProto, tmp_path: Path) -> None:
    before = content_digest(model)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    outside = parse_model(tmp_path / "m.onnx")
    assert outside.graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert content_digest(outside, tmp_path) == before
    assert content_digest(onnx.load(tmp_path / "m.onnx")) == before
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[5] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)
    assert content_digest(outside, tmp_path) != before


def test_content_digest_is_the_same_when_saved_and_loaded_or_sealed(model: onnx.ModelProto, tmp_path: Path) -> None:
    before = content_digest(model)
    model.metadata_props.add(key=SEAL_KEY, value="anything")
    onnx.save(model, tmp_path / "m.onnx")
    assert content_digest(onnx.load(tmp_path / "m.onnx")) == before


def test_content_digest_refuses_when_there_are_two_seals(model: onnx.ModelProto) -> None:
    for value in "ab":
        model.metadata_props.add(key=SEAL_KEY, value=value)
    with pytest.raises(ModelError, match="more than one"):
        content_digest(model)


@pytest.mark.parametrize("where", ["model", "node", "tensor", "function node"])
def test_content_digest_refuses_when_a_field_is_unknown_at_any_depth(model: onnx.ModelProto, where: str) -> None:
    message = {
        "model": model,
        "node": model.graph.node[0],
        "tensor": model.graph.initializer[0],
        "function node": model.functions[0].node[0],
    }[where]
    message.MergeFromString(b"\x98\xff\x07\x01")
    with pytest.raises(ModelError, match="does not know"):
        content_digest(model)


def test_content_digest_refuses_when_text_is_not_utf_8(model: onnx.ModelProto) -> None:
    model.graph.node[0].MergeFromString(b"\x0a\x02\xff\xfe")
    with pytest.raises(ModelError, match="UTF-8"):
        content_digest(model)


@pytest.mark.parametrize(
    "location", ["../out.bin", "/etc/passwd", "sub/../../out.bin", "", ".", "link.bin", "C:\\x", "a\0b", "absent.bin"]
)
def test_content_digest_refuses_when_external_data_leaves_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "out.bin").write_bytes(bytes(64))
    folder = tmp_path / "home"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "out.bin")
    with pytest.raises(ModelError, match="External data"):
        content_digest(_external_model({"location": location}), folder)


@pytest.mark.parametrize(
    "place", [{"offset": "-1"}, {"length": "1e3"}, {"offset": "60", "length": "8"}, {"offset": "65"}, {"length": "²"}]
)
def test_content_digest_refuses_when_the_location_of_external_data_is_malformed(
    tmp_path: Path, place: dict[str, str]
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(64))
    with pytest.raises(ModelError, match="external data|needs bytes"):
        content_digest(_external_model({"location": "w.bin", **place}), tmp_path)


def test_content_digest_refuses_when_external_data_is_not_a_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="regular file"):
        content_digest(_external_model({"location": "pipe"}), tmp_path)


def _external_model(place: dict[str, str]) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.zeros(16, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
