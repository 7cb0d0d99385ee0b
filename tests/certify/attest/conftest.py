"""A small model, its papers, and a certificate over them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rfc8785
from onnx import TensorProto, helper, numpy_helper

from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, generate
from certify.core.evidence import Evidence, ModelFacts
from certify.data.contract_slot import normalise
from certify.data.dataset import samples_digest
from certify.data.images import ImagePreprocess
from certify.data.preprocess import Preprocess
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.seal import file_digest, seal, unsealed_bytes
from certify.model_file.onnx_graph.counts import count
from certify.present.label.sidecars import label_of
from certify.workflows.issuance import issue

HEX = "ab" * 32


def build_model() -> onnx.ModelProto:
    """Convolution, pooling, a function, and one tensor of every way to hold numbers."""
    rng = np.random.default_rng(0)
    kernel = numpy_helper.from_array(rng.standard_normal((8, 3, 3, 3)).astype(np.float32), "kernel")
    head = helper.make_tensor("head", TensorProto.FLOAT, (8, 10), rng.standard_normal(80).astype(np.float32))
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("act", ["features"], ["active"], domain="own"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
    ]
    nodes[0].doc_string = 'File "/home/somebody/train.py", line 3'
    nodes[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/train.py")
    nodes[0].metadata_props.add(key="layer", value="first")
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [kernel, head],
        doc_string="made in /home/somebody",
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    relu = helper.make_node("Relu", ["a"], ["b"])
    function = helper.make_function("own", "act", ["a"], ["b"], [relu], [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)
    model.metadata_props.add(key="author", value="somebody")
    model.metadata_props.add(key="leanmark.old", value="left over")
    return model


def contract(**changes: object) -> Preprocess:
    fields: dict[str, object] = {
        "input_name": "image",
        "output_name": "scores",
        "height": 8,
        "width": 8,
        "layout": "NCHW",
        "colour": "RGB",
        "scale": 255.0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "resize": "exact",
        "crop": "none",
        "interpolation": "bilinear",
        "reading": "logits",
    }
    return ImagePreprocess(**{**fields, **changes})  # type: ignore[arg-type]


def facts_of(path: Path) -> ModelFacts:
    model = parse_model(path)
    counts = count(model, (3, 8, 8))
    return ModelFacts(
        file_digest(path), content_digest(model), path.stat().st_size, counts.parameters, counts.macs, 1.0, ()
    )


def lineage_values() -> dict[str, object]:
    return {
        "version": 1,
        "leanmark": "0.1.0",
        "model": {"spec": "tinynet", "origin": "trained here", "weights": None},
        "data": {"name": "mnist5k", "spec": "mnist5k", "digests": {"train": HEX, "test": HEX}, "counts": {"train": 3}},
        "recipe": {"name": "balanced", "digest": HEX, "passes": ["structured_prune"]},
        "seed": 0,
        "baseline": {
            "model_digest": HEX,
            "parameters": 296,
            "macs": 13904,
            "bytes": 1300,
            "validation_accuracy": 0.9,
            "trained_here": True,
            "seconds": 3.5,
            "energy_j": None,
        },
        "rows": [],
        "export": None,
        "artifacts": {"baseline.onnx": HEX},
    }


@pytest.fixture(scope="session")
def make_model() -> Callable[[], onnx.ModelProto]:
    return build_model


@pytest.fixture(scope="session")
def make_contract() -> Callable[..., Preprocess]:
    return contract


@pytest.fixture(scope="session")
def make_lineage() -> Callable[[], dict[str, object]]:
    return lineage_values


@pytest.fixture(scope="session")
def make_papers() -> Callable[..., Path]:
    return write_papers


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees or makes a key in the user's real folder."""
    folder = tmp_path_factory.mktemp("config") / "leanmark"
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return generate(tmp_path_factory.mktemp("key") / "signing.key")


@pytest.fixture(scope="session")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("normalised")
    onnx.save(build_model(), folder / "foreign.onnx")
    normalise(folder / "foreign.onnx", folder / "candidate.onnx", contract())
    return folder / "candidate.onnx"


@pytest.fixture(scope="session")
def certified_evidence(
    make_evidence: Callable[..., Evidence], observed_in: Callable[[Path, Path], dict[str, Any]], normalised: Path
) -> Callable[..., Evidence]:
    """Evidence about the small model; takes the knobs of the synthetic evidence."""

    def build(**knobs: Any) -> Evidence:
        facts = facts_of(normalised)
        predictions = make_evidence(**knobs).predictions
        digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
        header = {
            "models": {"baseline": facts, "candidate": facts},
            "data": {"name": "mnist5k", "spec": "mnist5k", "test_samples": 1500, "test_digest": digest, "classes": 10},
        }
        observed = {**observed_in(normalised, normalised), **knobs.pop("observations", {})}
        return make_evidence(header=header, observations=observed, **knobs)

    return build


def write_papers(
    folder: Path, normalised: Path, evidence: Evidence, key: SigningKey, preprocess: Preprocess | None = None
) -> Path:
    """A certified model with all its sidecar files; returns the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lineage.json").write_text(json.dumps(lineage_values()))
    shutil.copyfile(normalised, folder / "baseline.onnx")
    certificate = issue(
        normalised,
        evidence,
        folder / "lineage.json",
        preprocess or contract(),
        {"baseline.onnx": folder / "baseline.onnx"},
        folder,
        key,
    )
    (folder / "label.svg").write_text(label_of(certificate))
    return folder / "model.onnx"


@pytest.fixture(scope="session")
def certified(
    tmp_path_factory: pytest.TempPathFactory,
    normalised: Path,
    certified_evidence: Callable[..., Evidence],
    key: SigningKey,
) -> Path:
    """A certified folder; tests that change something copy it."""
    return write_papers(tmp_path_factory.mktemp("certified"), normalised, certified_evidence(), key).parent


def reseal(folder: Path, envelope: bytes) -> Path:
    """Put another certificate into the file and beside it, as somebody would who controls everything."""
    model, bare = folder / "model.onnx", folder / "bare.onnx"
    bare.write_bytes(model.read_bytes()[: unsealed_bytes(model)])
    seal(bare, model, envelope)
    bare.unlink()
    (folder / "certificate.json").write_bytes(envelope)
    (folder / "label.svg").unlink(missing_ok=True)
    (folder / "signer.pub").unlink(missing_ok=True)
    return model


@pytest.fixture(scope="session")
def put_certificate() -> Callable[[Path, bytes], Path]:
    """Puts another certificate into a folder; gives the model."""
    return reseal


@pytest.fixture(scope="session")
def sign_again() -> Callable[[Path, Callable[[dict[str, Any]], object], SigningKey], Path]:
    """Changes the statement in a folder and signs it again, as a dishonest maker would; gives the model."""

    def resign(folder: Path, change: Callable[[dict[str, Any]], object], key: SigningKey) -> Path:
        statement = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
        change(statement)
        statement["predicate"]["signer"]["public_key"] = key.public.hex
        return reseal(folder, sign(rfc8785.dumps(statement), key).to_bytes())

    return resign


@pytest.fixture
def folder(certified: Path, tmp_path: Path) -> Path:
    """A copy of the certified folder that may be changed."""
    shutil.copytree(certified, tmp_path / "out")
    return tmp_path / "out"
