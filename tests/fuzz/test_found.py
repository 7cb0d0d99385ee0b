"""Inputs that the fuzz found, each with what it did before it was mended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import rfc8785
from graded import Graded, make, own_folders

from certify.certificate.envelope import parse_envelope, sign
from certify.certificate.normalise import stored_contract
from certify.errors import ModelError
from certify.graph.counts import count
from certify.graph.load import load_model, outputs


def signed_again(home: Graded, evidence: bytes) -> None:
    statement = json.loads(parse_envelope((home.folder / "certificate.json").read_bytes()).payload)
    statement["predicate"]["evidence"] = {"sha256": hashlib.sha256(evidence).hexdigest(), "bytes": len(evidence)}
    (home.folder / "evidence.jsonl").write_bytes(evidence)
    home.reseal(sign(rfc8785.dumps(statement), home.key).to_bytes())


def test_verify_names_a_failed_check_when_signed_evidence_does_not_say_what_its_test_set_is(tmp_path: Path) -> None:
    with own_folders(tmp_path):  # a KeyError left verify
        home = make(tmp_path / "home")
        header, *rest = (home.folder / "evidence.jsonl").read_bytes().splitlines()
        values = json.loads(header)
        del values["data"]["test_samples"]
        signed_again(home, b"".join(line + b"\n" for line in [rfc8785.dumps(values), *rest]))
        assert "test_set_matches" in {check.name for check in home.verify().failed}


def test_model_is_refused_when_the_place_of_its_external_data_is_no_text(tmp_path: Path) -> None:
    with own_folders(tmp_path):  # a TypeError left load_model
        model = onnx.load(make(tmp_path / "home").model)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    content = model.SerializeToString().replace(b"weights", b"weight\xff")
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="UTF-8"):
        load_model(tmp_path / "bad.onnx")


def spoiled(folder: Path, spoil: Callable[[onnx.ModelProto], object]) -> Path:
    """The graded model with something about it changed."""
    with own_folders(folder):
        path = make(folder / "home").model
    model = onnx.load(path)
    spoil(model)
    onnx.save(model, path)
    return path


def test_model_is_read_when_an_element_type_does_not_exist(tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:  # a KeyError left inputs and count
        model.graph.output[0].type.tensor_type.elem_type = -1

    model = onnx.load(spoiled(tmp_path, spoil))
    assert outputs(model)[0].dtype == "unknown"
    assert count(model, (3, 8, 8)).parameters > 0


def test_model_is_refused_when_a_tensor_holds_more_than_its_shape_says(tmp_path: Path) -> None:
    path = spoiled(tmp_path, lambda model: model.graph.initializer[1].float_data.append(1))
    with pytest.raises(ModelError, match="does not hold what its type and shape say"):  # a ValueError left count
        count(onnx.load(path), (3, 8, 8))


def test_model_is_refused_when_a_function_is_called_with_too_many_inputs(tmp_path: Path) -> None:
    path = spoiled(tmp_path, lambda model: model.graph.node[1].input.extend(["kernel", "head"]))
    with pytest.raises(ModelError, match="in the place of their calls"):  # a RuntimeError left count
        count(onnx.load(path), (3, 8, 8))


def test_contract_is_refused_when_it_is_no_text(tmp_path: Path) -> None:
    path = spoiled(tmp_path, lambda model: model.metadata_props.add(key="leanmark.preprocess", value="weights"))
    path.write_bytes(path.read_bytes().replace(b"weights", b"weight\xff"))
    with pytest.raises(ModelError, match="UTF-8"):  # an AttributeError left stored_contract
        stored_contract(path)


def test_sizes_stay_unknown_when_a_range_of_constants_would_fill_the_memory(tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        for name, value in (("start", 0), ("limit", 2**40), ("step", 1)):
            model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [], [value]))
        model.graph.node.append(onnx.helper.make_node("Range", ["start", "limit", "step"], ["all"]))

    assert count(onnx.load(spoiled(tmp_path, spoil)), (3, 8, 8)).macs > 0
