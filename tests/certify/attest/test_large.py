"""A model with weights in an external file is checked without being loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import rfc8785
from onnx import TensorProto, helper

from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey
from certify.core.estimate import Estimate
from certify.data.preprocess import Preprocess
from certify.model_file.onnx_file.content import metadata_digest
from certify.model_file.onnx_file.external_data import inline_external
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_graph.counts import count
from certify.model_file.subject import subject_digests

WEIGHT_BYTES = 192 << 20
ALLOWED_KIB = 48 << 10

CHECK = """
import resource, sys
from pathlib import Path
from certify.assessment.assessment import Surroundings
from certify.assessments.efficiency.facts import _subject_check
from certify.attest.checks_model import check_model
from certify.model_file.model_file import open_model
from certify.attest.certificate import Certificate
path = Path(sys.argv[1])
certificate = Certificate((path.parent / "certificate.json").read_bytes())
import certify.data.preprocess, certify.model_file.onnx_graph.counts, certify.model_file.onnx_graph.load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = open_model(path)
around = Surroundings(certificate.predicate, path.name, certificate.subject_digest, model, None, [], {})
found = [*check_model(model, certificate), _subject_check(model, around)]
outcomes = {check.name: check.outcome for check in found}
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(after - before, outcomes["content_digest"], outcomes["subject_facts"])
"""


def large_model(folder: Path) -> Path:
    """A product of 192 MiB of weights that lie, as a hole, in a file beside it."""
    columns = WEIGHT_BYTES // 4 // 192
    weight = TensorProto(name="head", dims=[192, columns], data_type=TensorProto.FLOAT)
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    weight.external_data.add(key="length", value=str(WEIGHT_BYTES))
    with (folder / "weights.bin").open("wb") as hole:
        hole.truncate(WEIGHT_BYTES)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "head"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", columns])],
        [weight],
    )
    path = folder / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return path


def test_check_model_stays_small_when_the_weights_are_external(
    tmp_path: Path, folder: Path, key: SigningKey, make_contract: Callable[..., Preprocess]
) -> None:
    path = large_model(tmp_path)
    statement = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
    model = parse_model(path)
    statement["predicate"]["model"]["metadata"] = metadata_digest(model)
    statement["subject"][0]["digest"] = subject_digests(path)
    model.graph.initializer[0].ClearField("external_data")
    counts = count(model, (3, 8, 8))
    assert counts.macs == counts.parameters == WEIGHT_BYTES // 4
    estimates = statement["predicate"]["profile"]["estimates"]
    found = {"macs": counts.macs, "parameters": counts.parameters, "bytes_moved": counts.bytes_moved}
    for name, value in {**found, "bytes": path.stat().st_size + WEIGHT_BYTES}.items():
        estimates[f"{name}_candidate"] = Estimate.exact(value, "1", "counted").to_json()
    (tmp_path / "certificate.json").write_bytes(sign(rfc8785.dumps(statement), key).to_bytes())
    printed = subprocess.run([sys.executable, "-c", CHECK, path], capture_output=True, text=True, check=True).stdout
    grown_kib, *outcomes = printed.split()
    assert outcomes == ["pass", "pass"]
    assert int(grown_kib) < ALLOWED_KIB, f"{grown_kib} KiB for {WEIGHT_BYTES >> 10} KiB of weights"


@pytest.mark.parametrize(("largest", "inside"), [(None, True), (1 << 20, True), (16, False)])
def test_inline_external_leaves_weights_outside_when_they_are_larger(
    tmp_path: Path, make_model: Callable[[], onnx.ModelProto], largest: int | None, inside: bool
) -> None:
    onnx.save(make_model(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    model = parse_model(tmp_path / "m.onnx")
    inline_external(model, tmp_path, largest)
    kernel = next(weight for weight in model.graph.initializer if weight.name == "kernel")
    assert (kernel.data_location != TensorProto.EXTERNAL) == inside
