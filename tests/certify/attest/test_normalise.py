"""The normal form: the same computation without the exporter's traces, and the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from certify.core.errors import LeanmarkError, ModelError
from certify.data.contract_slot import normalise, stored_contract
from certify.data.preprocess import Preprocess
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.normal_form import PREPROCESS_KEY
from certify.model_file.onnx_file.seal import read_seal, seal

Contract = Callable[..., Preprocess]
Model = Callable[[], onnx.ModelProto]


@pytest.fixture
def foreign(tmp_path: Path, make_model: Model) -> Path:
    onnx.save(make_model(), tmp_path / "foreign.onnx")
    return tmp_path / "foreign.onnx"


def test_normalise_gives_the_same_bytes_when_repeated(foreign: Path, tmp_path: Path, make_contract: Contract) -> None:
    normalise(foreign, tmp_path / "one.onnx", make_contract())
    normalise(tmp_path / "one.onnx", tmp_path / "two.onnx", make_contract())
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_normalise_gives_the_same_bytes_when_the_file_was_sealed_or_held_its_weights_outside(
    foreign: Path, tmp_path: Path, make_contract: Contract, make_model: Model
) -> None:
    normalise(foreign, tmp_path / "plain.onnx", make_contract())
    seal(tmp_path / "plain.onnx", tmp_path / "sealed.onnx", b"{}")
    normalise(tmp_path / "sealed.onnx", tmp_path / "unsealed.onnx", make_contract())
    assert read_seal(tmp_path / "unsealed.onnx") is None
    assert (tmp_path / "unsealed.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()
    onnx.save(make_model(), tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0)
    normalise(tmp_path / "outside.onnx", tmp_path / "inside.onnx", make_contract())
    assert (tmp_path / "inside.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


def test_normalise_leaves_no_trace_of_folders_when_the_exporter_wrote_them(
    foreign: Path, tmp_path: Path, make_contract: Contract
) -> None:
    assert b"somebody/train.py" in foreign.read_bytes()
    normalise(foreign, tmp_path / "out.onnx", make_contract())
    assert b"/home/" not in (tmp_path / "out.onnx").read_bytes()
    model = parse_model(tmp_path / "out.onnx")
    assert [(p.key, p.value) for p in model.graph.node[0].metadata_props] == [("layer", "first")]
    assert [p.key for p in model.metadata_props] == ["author", PREPROCESS_KEY]


def test_normalise_stores_the_contract_when_the_file_held_another(
    foreign: Path, tmp_path: Path, make_contract: Contract
) -> None:
    normalise(foreign, tmp_path / "out.onnx", make_contract())
    normalise(tmp_path / "out.onnx", tmp_path / "out.onnx", make_contract(colour="BGR"))
    entries = [p.value for p in parse_model(tmp_path / "out.onnx").metadata_props if p.key == PREPROCESS_KEY]
    assert [Preprocess.from_json(json.loads(value)) for value in entries] == [make_contract(colour="BGR")]


def test_normalise_changes_no_output_when_the_model_runs(
    foreign: Path, tmp_path: Path, make_contract: Contract
) -> None:
    normalise(foreign, tmp_path / "out.onnx", make_contract())
    image = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    outputs = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for path in (foreign, tmp_path / "out.onnx")
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09"])
def test_normalise_refuses_when_the_file_is_not_a_model(
    tmp_path: Path, content: bytes, make_contract: Contract
) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        normalise(tmp_path / "m.onnx", tmp_path / "out.onnx", make_contract())
    assert not (tmp_path / "out.onnx").exists()


def test_normalise_refuses_when_a_field_is_unknown(foreign: Path, tmp_path: Path, make_contract: Contract) -> None:
    foreign.write_bytes(foreign.read_bytes() + b"\x98\xff\x07\x01")
    with pytest.raises(ModelError, match="does not know"):
        normalise(foreign, tmp_path / "out.onnx", make_contract())


def test_normalise_refuses_when_more_than_two_gib_are_not_weights(
    tmp_path: Path, make_contract: Contract, make_model: Model
) -> None:
    model = make_model()
    table = onnx.TensorProto(name="table", data_type=onnx.TensorProto.UINT8, dims=[3 << 30])
    table.data_location = onnx.TensorProto.EXTERNAL
    table.external_data.add(key="location", value="table.bin")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["table"], value=table))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with (tmp_path / "table.bin").open("wb") as stream:
        stream.truncate(3 << 30)  # sparse
    with pytest.raises(ModelError, match=r"3\.0 GiB that must be inside"):
        normalise(tmp_path / "m.onnx", tmp_path / "out.onnx", make_contract())
    assert not (tmp_path / "out.onnx").exists()


def test_stored_contract_is_read_back_when_there_is_one(foreign: Path, tmp_path: Path, make_contract: Contract) -> None:
    assert stored_contract(foreign) is None
    normalise(foreign, tmp_path / "out.onnx", make_contract())
    assert stored_contract(tmp_path / "out.onnx") == make_contract()


@pytest.mark.parametrize("values", [["{}"], ["[]"], ["{ }"], ["\ud7ff"], ["{}", "{}"]])
def test_stored_contract_refuses_when_it_is_malformed(foreign: Path, values: list[str]) -> None:
    model = parse_model(foreign)
    for value in values:
        model.metadata_props.add(key=PREPROCESS_KEY, value=value)
    foreign.write_bytes(model.SerializeToString())
    with pytest.raises(LeanmarkError):
        stored_contract(foreign)
