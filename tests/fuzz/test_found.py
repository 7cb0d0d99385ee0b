"""Regression tests for inputs found by fuzzing, each with its former effect."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import rfc8785
from graded import Graded, fixtures, make, own_folders

from certify.attest.envelope import parse_envelope, sign
from certify.core.errors import ModelError, UsageError
from certify.data.contract_slot import stored_contract
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model, outputs
from certify.model_file.onnx_graph.shapes import infer, output_shapes
from certify.model_file.pt2.archive import read_exported
from compress.job import recipe


def signed_again(home: Graded, evidence: bytes) -> None:
    statement = json.loads(parse_envelope((home.folder / "certificate.json").read_bytes()).payload)
    statement["predicate"]["evidence"] = {"sha256": hashlib.sha256(evidence).hexdigest(), "bytes": len(evidence)}
    (home.folder / "evidence.jsonl").write_bytes(evidence)
    home.reseal(sign(rfc8785.dumps(statement), home.key).to_bytes())


def test_verify_names_a_failed_check_when_signed_evidence_does_not_name_its_test_set(tmp_path: Path) -> None:
    with own_folders(tmp_path):  # a KeyError left verify
        home = make(tmp_path / "home")
        header, *rest = (home.folder / "evidence.jsonl").read_bytes().splitlines()
        values = json.loads(header)
        del values["data"]["test_samples"]
        signed_again(home, b"".join(line + b"\n" for line in [rfc8785.dumps(values), *rest]))
        assert "test_set_matches" in {check.name for check in home.verify().failed}


def test_model_is_refused_when_the_location_of_its_external_data_is_not_text(tmp_path: Path) -> None:
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
    with pytest.raises(ModelError, match="does not match its type and shape"):  # a ValueError left count
        count(onnx.load(path), (3, 8, 8))


def test_model_is_refused_when_a_function_is_called_with_too_many_inputs(tmp_path: Path) -> None:
    path = spoiled(tmp_path, lambda model: model.graph.node[1].input.extend(["kernel", "head"]))
    with pytest.raises(ModelError, match="cannot be inlined"):  # a RuntimeError left count
        count(onnx.load(path), (3, 8, 8))


def test_model_is_refused_when_a_loop_has_too_few_inputs(tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        model.graph.node.append(onnx.helper.make_node("Loop", ["image"], ["odd"], body=onnx.GraphProto()))

    path = spoiled(tmp_path, spoil)
    assert output_shapes(onnx.load(path)) == {}
    with pytest.raises(ModelError, match="shapes are inconsistent"):  # a ValueError left both
        infer(onnx.load(path), (3, 8, 8))


def test_model_is_refused_when_the_name_of_an_operator_is_not_text(tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        model.graph.node.append(onnx.helper.make_node("Relu123", ["input"], ["odd"], domain="own"))

    path = spoiled(tmp_path, spoil)
    path.write_bytes(path.read_bytes().replace(b"Relu123", b"Relu\xed\xa0\x80"))
    with pytest.raises(ModelError, match="UTF-8"):  # a TypeError or a UnicodeDecodeError left count
        load_model(path)


def test_contract_is_refused_when_it_is_not_text(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("number", ["0x" + "f" * 6000, str(2**53)])
def test_recipe_is_refused_when_a_number_is_larger_than_json_holds(number: str) -> None:
    with pytest.raises(UsageError, match="max_loss_percent must be an integer in"):  # a ValueError left json.dumps
        recipe.parse(f"budget:\n  max_loss_percent: {number}\npasses: [quantize_static]", "r.yaml")


def program(folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A small program with one member of its archive changed."""
    write_program = fixtures("certify/attest/test_subject").write_program
    path, other = folder / "good.pt2", folder / "bad.pt2"
    write_program(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as changed:
        for entry in archive.infolist():
            content = archive.read(entry)
            changed.writestr(entry.filename, change(content) if entry.filename.endswith(name) else content)
    return other


@pytest.mark.parametrize("nodes", [None, True, [[]], [{}], [{"target": 1}], {}])
def test_program_is_refused_when_its_graph_is_not_a_list_of_nodes(tmp_path: Path, nodes: object) -> None:
    def spoil(content: bytes) -> bytes:  # a TypeError left normal_form and load_program
        values = json.loads(content)
        values["graph_module"]["graph"]["nodes"] = nodes
        return json.dumps(values).encode()

    with pytest.raises(ModelError, match="damaged or not an exported program"):
        read_exported(program(tmp_path, "model.json", spoil))


def test_program_is_refused_when_the_offsets_of_its_members_are_outside_the_file(tmp_path: Path) -> None:
    path = program(tmp_path, "", bytes)
    content = path.read_bytes()
    entry = content.index(b"PK\x01\x02")  # the first of the list of members at the end
    path.write_bytes(content[: entry + 42] + b"\xff\xff\xff\xff" + content[entry + 46 :])
    with pytest.raises(ModelError, match="damaged or not an exported program"):  # an OSError left read_exported
        read_exported(path)


def test_program_is_refused_when_its_members_share_bytes(tmp_path: Path) -> None:
    path = program(tmp_path, "", bytes)
    content = bytearray(path.read_bytes())
    for place in [found.start() for found in re.finditer(b"PK\x01\x02", bytes(content))]:
        content[place + 20 : place + 28] = struct.pack("<II", len(content) // 2, len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="overlap"):  # it could fill the memory
        read_exported(path)


def test_countersignature_fails_when_its_file_is_a_pipe(tmp_path: Path) -> None:
    with own_folders(tmp_path):  # verify never came back
        home = make(tmp_path / "home")
        (home.folder / "countersignatures").mkdir()
        os.mkfifo(home.folder / "countersignatures" / f"{'ab' * 32}.json")
        assert {check.name for check in home.verify().failed} == {"countersignature"}
