"""Weights in a file beside their model: one normal way to lay them out, and every byte of them bound."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.attest.audit import audit
from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.core.errors import CertificateError, MeasureError, ModelError
from certify.core.evidence import Evidence
from certify.data.contract_slot import normalise
from certify.data.dataset import samples_digest
from certify.data.preprocess import Preprocess
from certify.measure.model_under_test import open_worker, subject
from certify.model_file.model_file import open_model
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.external_data import external_files
from certify.model_file.onnx_file.messages import parse_model
from certify.present.label.sidecars import label_of
from certify.workflows.issuance import issue
from certify.workflows.regrade import issue_regrade, regrade
from certify.workflows.remeasurement import remeasure

Contract = Callable[..., Preprocess]

HIDDEN = 150
BYTES = 192 * HIDDEN * 4
"""Of each large weight; 28 pages and a part of one, so that a gap follows."""


def dense(seed: int = 0) -> onnx.ModelProto:
    """Two dense layers with large weights, and a bias that is small."""
    rng = np.random.default_rng(seed)
    shapes = {"first": (192, HIDDEN), "bias": (HIDDEN,), "second": (HIDDEN, 192)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("Add", ["hidden", "bias"], ["moved"]),
        helper.make_node("MatMul", ["moved", "second"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 192])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treats every model as one that fits into no single file."""
    monkeypatch.setattr("certify.model_file.onnx_file.normal_form.fits_inside", lambda model, folder: False)


@pytest.fixture
def normal(too_large: None, tmp_path: Path, make_contract: Contract) -> Callable[..., Path]:
    """Brings a model into its normal form, in a folder of its own."""

    def make(name: str, model: onnx.ModelProto, file: str = "model.onnx", **saved: object) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        source = tmp_path / name / "source.onnx"
        onnx.save(model, source, **saved)
        normalise(source, tmp_path / name / file, make_contract())
        return tmp_path / name / file

    return make


@pytest.fixture
def graded(
    normal: Callable[..., Path],
    tmp_path: Path,
    make_contract: Contract,
    make_evidence: Callable[..., Evidence],
    observed_in: Callable[[Path, Path], dict[str, Any]],
    key: SigningKey,
) -> Path:
    """A certified model with weights, like its baseline's, in an external file."""
    candidate, baseline = normal("measured", dense(1)), normal("measured", dense(2), "baseline.onnx")
    pair = {"baseline": baseline, "candidate": candidate}
    facts = {arm: subject(arm, path, make_contract(), 1, tmp_path).facts for arm, path in pair.items()}
    samples = make_evidence().predictions
    digest = samples_digest((p.digest for p in samples), (p.label for p in samples))
    data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": 1500, "test_digest": digest, "classes": 10}
    out = tmp_path / "graded"
    out.mkdir()
    beside = {name: out / name for name in ("baseline.onnx", "baseline.onnx.data")}
    for name, path in beside.items():
        shutil.copyfile(baseline.parent / name, path)
    evidence = make_evidence(header={"models": facts, "data": data}, observations=observed_in(baseline, candidate))
    certificate = issue(candidate, evidence, None, make_contract(), beside, out, key)
    (out / "label.svg").write_text(label_of(certificate))
    shutil.rmtree(candidate.parent)
    return out


def failed(folder: Path, key: SigningKey) -> dict[str, str]:
    return {check.name: check.sentence for check in verify(folder / "model.onnx", trust=[key.public]).failed}


def outcomes(folder: Path) -> dict[str, str]:
    return {check.name: check.outcome for check in verify(folder / "model.onnx").checks}


def place(path: Path, weight: str, offset: int, length: int) -> None:
    """Name another place for a weight."""
    model = parse_model(path)
    tensor = next(found for found in model.graph.initializer if found.name == weight)
    for entry in tensor.external_data:
        entry.value = {"offset": str(offset), "length": str(length)}.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_normal_form_keeps_large_weights_external_and_small_ones_inside(normal: Callable[..., Path]) -> None:
    path = normal("one", dense())
    model = parse_model(path)
    beside = [weight.name for weight in model.graph.initializer if weight.data_location == TensorProto.EXTERNAL]
    assert beside == ["first", "second"]
    assert external_files(model, path.parent) == [path.with_name("model.onnx.data")]
    onnx.checker.check_model(str(path), full_check=True)
    for stored, given in zip(onnx.load(path).graph.initializer, dense().graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(stored), numpy_helper.to_array(given))


def test_normal_form_is_the_same_however_the_weights_were_stored(
    normal: Callable[..., Path], make_contract: Contract
) -> None:
    one = normal("one", dense())
    others = [
        normal("a", dense(), save_as_external_data=True, size_threshold=0),
        normal("b", dense(), save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=100_000),
    ]
    before = [(path.read_bytes(), path.with_name("model.onnx.data").read_bytes()) for path in (one, *others)]
    assert before[0] == before[1] == before[2]
    normalise(one, one, make_contract())
    assert (one.read_bytes(), one.with_name("model.onnx.data").read_bytes()) == before[0]
    inside = onnx.load(one)
    assert content_digest(inside) == content_digest(parse_model(one), one.parent)


def test_file_differs_when_only_its_external_weights_do(normal: Callable[..., Path]) -> None:
    assert normal("one", dense(1)).read_bytes() != normal("two", dense(2)).read_bytes()


def test_weights_are_written_once_when_they_share_bytes(normal: Callable[..., Path], make_contract: Contract) -> None:
    path = normal("one", dense())
    place(path, "second", 0, BYTES)
    normalise(path, path.with_name("tied.onnx"), make_contract())
    tied = path.with_name("tied.onnx")
    assert path.with_name("tied.onnx.data").stat().st_size == BYTES
    assert content_digest(parse_model(tied), tied.parent) == content_digest(parse_model(path), path.parent)


def test_normal_form_is_refused_when_weights_overlap(normal: Callable[..., Path], make_contract: Contract) -> None:
    path = normal("one", dense())
    for name, offset in (("first", 4), ("second", 8)):
        place(path, name, offset, BYTES)
    with path.with_name("model.onnx.data").open("r+b") as stream:
        stream.truncate(BYTES + 8)
    with pytest.raises(ModelError, match="overlap"):
        normalise(path, path.with_name("out.onnx"), make_contract())
    assert not list(path.parent.glob("out*"))


def test_zero_channels_are_read_from_external_weights(normal: Callable[..., Path], make_contract: Contract) -> None:
    model = dense()
    weight = numpy_helper.to_array(model.graph.initializer[2]).copy()
    weight[:, :5] = 0
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(weight, "second"))
    path = normal("one", model)
    found = subject("candidate", path, make_contract(), 1, path.parent)
    with open_model(found.path) as model:
        zeros = model.zero_channels()
    assert (zeros.zero, zeros.channels) == (5, HIDDEN + 192)
    assert found.facts.bytes == path.stat().st_size + path.with_name("model.onnx.data").stat().st_size
    assert found.facts.parameters == 2 * 192 * HIDDEN + HIDDEN


def test_worker_is_refused_when_the_weights_changed_after_being_read(
    normal: Callable[..., Path], make_contract: Contract
) -> None:
    path = normal("one", dense())
    found = subject("candidate", path, make_contract(), 1, path.parent)
    flip(path.with_name("model.onnx.data"), 5)
    with pytest.raises(MeasureError, match="was changed during the measurement"):
        open_worker(found, "onnxruntime-cpu", 1, 1)


def test_certified_folder_is_valid_when_moved(graded: Path, tmp_path: Path, key: SigningKey) -> None:
    graded.rename(tmp_path / "elsewhere")
    verification = verify(tmp_path / "elsewhere" / "model.onnx", trust=[key.public])
    assert verification.valid and not verification.failed
    assert {check.name: check.outcome for check in verification.checks}["subject_facts"] == "pass"
    assert audit(tmp_path / "elsewhere" / "model.onnx").agrees


@pytest.mark.parametrize("where", [0, BYTES - 1, -1])
def test_content_digest_fails_when_the_weights_were_changed(graded: Path, key: SigningKey, where: int) -> None:
    flip(graded / "model.onnx.data", where)
    assert set(failed(graded, key)) == {"content_digest"}
    assert "(model.onnx.data) are not the certified ones" in failed(graded, key)["content_digest"]


def test_content_digest_fails_when_the_weights_belong_to_another_model(graded: Path, key: SigningKey) -> None:
    shutil.copyfile(graded / "baseline.onnx.data", graded / "model.onnx.data")
    assert set(failed(graded, key)) == {"content_digest"}


def test_content_digest_fails_with_the_name_when_the_file_of_weights_was_renamed(graded: Path, key: SigningKey) -> None:
    (graded / "model.onnx.data").rename(graded / "weights.data")
    assert set(failed(graded, key)) == {"content_digest"}
    assert "'model.onnx.data' is missing" in failed(graded, key)["content_digest"]


@pytest.mark.parametrize("added", [b"\0", b"more"])
def test_file_digest_fails_when_bytes_around_the_weights_were_changed(
    graded: Path, key: SigningKey, added: bytes
) -> None:
    with (graded / "model.onnx.data").open("ab") as stream:
        stream.write(added)
    assert "file_digest" in failed(graded, key)


def test_file_digest_fails_when_the_gap_between_weights_is_not_empty(graded: Path, key: SigningKey) -> None:
    flip(graded / "model.onnx.data", BYTES + 7)
    assert set(failed(graded, key)) == {"file_digest"}


def test_companions_fail_when_the_weights_of_the_baseline_were_changed(graded: Path, key: SigningKey) -> None:
    flip(graded / "baseline.onnx.data", 5)
    assert "baseline.onnx.data" in failed(graded, key)["companions"]


@pytest.mark.parametrize("outside", [True, False])
def test_file_is_reserialised_when_another_tool_laid_out_the_weights(
    graded: Path, key: SigningKey, outside: bool
) -> None:
    model = onnx.load(graded / "model.onnx")
    onnx.save(model, graded / "model.onnx", save_as_external_data=outside, location="model.onnx.data", size_threshold=9)
    assert not failed(graded, key)
    assert outcomes(graded)["file_digest"] == "note"


def test_regrade_copies_the_weights(graded: Path, tmp_path: Path, key: SigningKey) -> None:
    found = regrade(graded / "model.onnx", "2026", trust=[key.public])
    issue_regrade(found, tmp_path / "again", key)
    assert not failed(tmp_path / "again", key)
    for name in ("model.onnx.data", "baseline.onnx.data"):
        assert (tmp_path / "again" / name).read_bytes() == (graded / name).read_bytes()


def test_remeasure_refuses_when_weights_were_replaced(graded: Path, key: SigningKey) -> None:
    certificate = verify(graded / "model.onnx", trust=[key.public]).certificate
    assert certificate is not None
    flip(graded / "baseline.onnx.data", 5)
    with pytest.raises(CertificateError, match=r"baseline\.onnx is not the file that was measured"):
        remeasure(graded / "model.onnx", certificate, "npz:nowhere.npz")
