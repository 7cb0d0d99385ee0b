"""What is too large for one message keeps its weights beside, and goes through every pass as if it had them inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import default_preprocess
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.model_stats import of_file
from compress.core.onnx_session import session
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.passes.half import Half
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.space_to_depth import SpaceToDepth
from compress.passes.trim_kernels import TrimKernels
from compress.quantization.post_training.prepare import prepared

PASSES = (
    QuantizeStatic(max_loss=None),
    QuantizeStatic(calibration="entropy", max_loss=0.0),
    QuantizeDynamic(least_share=0),
    QuantizeWeights(block=16),
    Half(),
    SpaceToDepth(),
    TrimKernels(),
)
LITTLE = 100


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    """An exported net of convolutions and products, with its weights in it."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 4, 1), nn.ReLU(), nn.MaxPool2d(4),
        nn.Conv2d(16, 16, 3, 1, 1), nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export(net, default_preprocess(dataset), path, classes=4)
    return path


@pytest.fixture
def inside(exported, tmp_path):
    """A model with its weights in it."""
    path = tmp_path / "inside" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(exported.read_bytes())
    return path


@pytest.fixture
def beside(inside, tmp_path, monkeypatch):
    """The same with its weights beside it; from here on so is everything that is written."""
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", LITTLE)
    monkeypatch.setattr(onnx_file, "SMALL_BYTES", LITTLE)
    path = tmp_path / "beside" / "model.onnx"
    onnx_file.save(onnx.load(inside), path)
    return path


def _places(path):
    """What a file says about where its weights lie."""
    model = onnx.load(path, load_external_data=False)
    return {entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"}


def test_weights_are_in_one_external_file_when_too_large(inside, beside):
    assert sorted(p.name for p in beside.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert _places(beside) == {"model.onnx.data"}
    assert _places(inside) == set()
    first, second = load_model(inside), load_model(beside)
    for a, b in zip(first.graph.initializer, second.graph.initializer, strict=True):
        assert (a.name, onnx.numpy_helper.to_array(a).tobytes()) == (b.name, onnx.numpy_helper.to_array(b).tobytes())
    assert count(first) == count(second)
    samples = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    assert np.array_equal(run_onnx(inside, samples), run_onnx(beside, samples))


def test_saving_does_not_change_the_model(inside, tmp_path, monkeypatch):
    model = onnx.load(inside)
    before = model.SerializeToString(deterministic=True)
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", LITTLE)
    onnx_file.save(model, tmp_path / "again.onnx")
    assert model.SerializeToString(deterministic=True) == before


def test_older_file_is_kept_when_writing_fails(inside):
    before = inside.read_bytes()
    with pytest.raises(RuntimeError), onnx_file.replacing(inside) as written:
        written.write_bytes(b"half")
        raise RuntimeError
    assert inside.read_bytes() == before
    assert [p.name for p in inside.parent.iterdir()] == ["model.onnx"]


def _numbers(done):
    return {key: value for key, value in done.items() if isinstance(value, int | float)}


@pytest.mark.parametrize("config", PASSES, ids=lambda config: f"{config.name}-{getattr(config, 'calibration', '')}")
def test_pass_gives_the_same_result_when_weights_are_external(config, inside, context, tmp_path, request):
    samples = context.sample(4).numpy()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    result, record = config.apply(inside, replace(context, workspace=tmp_path / "a"))
    wanted = run_onnx(result, samples)
    beside = request.getfixturevalue("beside")
    result, again = config.apply(beside, replace(context, workspace=tmp_path / "b"))
    assert [d.what for d in again.declined] == [d.what for d in record.declined]
    assert _numbers(again.done) == pytest.approx(_numbers(record.done), rel=1e-3)
    assert np.allclose(run_onnx(result, samples), wanted, rtol=1e-4, atol=1e-5)
    if record.changed:
        assert _places(result) == {f"{result.name}.data"}
        assert sorted(p.name for p in (tmp_path / "b").iterdir()) == [result.name, f"{result.name}.data"]


def test_older_exporter_writes_one_external_file_when_weights_are_too_large(model, context, tmp_path, monkeypatch):
    from compress.exchange import onnx_export as exporting

    monkeypatch.setattr(onnx_file, "INLINE_BYTES", LITTLE)
    monkeypatch.setattr(exporting, "EXPORTERS", {"torchscript": exporting.EXPORTERS["torchscript"]})
    assert export(model, context.preprocess, tmp_path / "m.onnx", classes=4).exporter == "torchscript"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert _places(tmp_path / "m.onnx") == {"m.onnx.data"}


def test_facts_cover_all_files_when_weights_are_external(inside, beside):
    whole, parted = of_file(inside), of_file(beside)
    data = beside.with_name("model.onnx.data")
    assert parted.bytes == beside.stat().st_size + data.stat().st_size
    assert (parted.parameters, parted.macs) == (whole.parameters, whole.macs)
    changed = bytearray(data.read_bytes())
    changed[0] ^= 1
    data.write_bytes(changed)
    assert of_file(beside).digest != parted.digest


@pytest.mark.parametrize("location", ["../model.onnx.data", "/etc/hostname", "elsewhere/../../model.onnx.data"])
def test_file_is_refused_when_its_weights_are_outside_its_folder(beside, context, tmp_path, location):
    model = onnx.load(beside, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (tmp_path / "model.onnx.data").write_bytes((beside.parent / "model.onnx.data").read_bytes())
    beside.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="folder"):
        prepared(beside, tmp_path)
    with pytest.raises(ModelError, match="folder"):
        of_file(beside)


def test_session_runs_a_model_in_memory_when_it_is_too_large(inside, beside):
    samples = np.zeros((2, 3, 32, 32), dtype=np.float32)
    model = load_model(beside)
    running = session(model)
    del model
    name = running.get_inputs()[0].name
    assert np.array_equal(running.run(None, {name: samples})[0], run_onnx(inside, samples))


def test_old_operators_are_refused_when_weights_are_too_large(monkeypatch, tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((4, 3), dtype=np.float32), "w")
    product = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, s]) for n, s in (("x", 4), ("y", 3)))
    graph = onnx.helper.make_graph([product], "g", *([end] for end in ends), [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=7)
    onnx.save(model, tmp_path / "old.onnx")
    assert prepared(tmp_path / "old.onnx", tmp_path).opset_import[0].version == 13
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 4)
    with pytest.raises(ModelError, match="operator set 11"):
        prepared(tmp_path / "old.onnx", tmp_path)


def test_notes_of_the_exporter_are_left_out_when_a_model_is_saved(exported, tmp_path):
    model = onnx.load(exported)
    model.graph.node[0].doc_string = "File /home/somebody/net.py, line 3"
    model.graph.node[0].metadata_props.add(key="layer", value="first")
    assert any(entry.key.startswith("pkg.torch") for node in model.graph.node for entry in node.metadata_props)
    onnx_file.save(model, tmp_path / "saved.onnx")
    saved = onnx.load(tmp_path / "saved.onnx").graph
    assert [(entry.key, entry.value) for node in saved.node for entry in node.metadata_props] == [("layer", "first")]
    assert not saved.metadata_props
    assert not saved.node[0].doc_string


def test_shapes_are_inferred_without_a_copy_of_the_weights(exported, monkeypatch):
    model, given = load_model(exported), []
    infer = onnx.shape_inference.infer_shapes
    wanted = infer(model).graph.value_info
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda each: given.append(each.ByteSize()) or infer(each))
    before = model.ByteSize()
    onnx_file.infer_shapes(model)
    assert given[0] < before - 0.9 * sum(
        len(tensor.raw_data) for tensor in model.graph.initializer if len(tensor.raw_data) > onnx_file.SMALL_BYTES
    )
    assert list(model.graph.value_info) == list(wanted)
