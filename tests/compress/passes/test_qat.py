"""Training with rounding: the file holds what was trained, and runs on integers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from certify.core.errors import ModelError, UsageError
from certify.data import default_preprocess
from compress.core.model_stats import state_digest
from compress.core.targets import TARGETS
from compress.exchange import checkpoint
from compress.exchange.fake_quant_parity import compare_fake_quant
from compress.exchange.onnx_export import export, write_once
from compress.exchange.parity import run_onnx
from compress.onnx_graph.graph import Graph, count_types
from compress.passes import PassContext, PassData
from compress.passes.qat import Qat
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.trim_kernels import TrimKernels
from compress.quantization.aware_training.export import as_integers
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Rounding
from compress.quantization.aware_training.marked_export import as_marked
from compress.quantization.post_training.integer_weights import integer_weights

CLASSES, SIZE = 4, 32
QUICK = {"epochs": 1, "samples": 16, "calibration": "minmax"}


class Block(nn.Module):
    """Keeps what it takes, and adds to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


class Small(nn.Module):
    """Convolutions with batch norms, two residual additions, two kinds of pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.first, self.second = Block(16), Block(16)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mean(self.second(self.first(self.pool(self.stem(x))))).flatten(1))


def _used(net: nn.Module) -> nn.Module:
    """With batch norms that have statistics of their own, as in a trained net."""
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.randn(32, 3, SIZE, SIZE))
    return net.eval()


def _small() -> nn.Module:
    torch.manual_seed(0)
    return _used(Small())


@pytest.fixture(scope="module")
def around(dataset, tmp_path_factory):
    """A context whose workspace outlives a test."""
    torch.set_num_threads(1)
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=default_preprocess(dataset),
        target=TARGETS["cpu-vnni"],
        teacher=_small(),
        workspace=tmp_path_factory.mktemp("qat"),
    )


@pytest.fixture(scope="module")
def trained(around):
    """(model, record, file, what was said of the export)."""
    network, record = Qat(**QUICK, lr=1e-2).apply(_small(), around)
    path = around.workspace / "trained.onnx"
    return network, record, path, export(network, around.preprocess, path, classes=CLASSES)


def _optimised(path, folder):
    """Operators of a file as ONNX Runtime runs it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return count_types(onnx.load(folder / "optimised.onnx").graph)


def test_file_outputs_match_the_trained_model(trained, around):
    made, _, path, exported = trained
    samples = around.sample(16).numpy()
    with torch.no_grad():
        wanted = made(torch.from_numpy(samples)).numpy()
    found = run_onnx(path, samples)
    assert exported.exporter == "dynamo"
    assert exported.parity.max_relative_difference < 1e-5
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()  # a value between two codes may fall either way
    assert np.abs(found - wanted).mean() < 1e-3 * np.abs(wanted).max()


def test_file_runs_in_integer_kernels(trained, tmp_path):
    kinds = _optimised(trained[2], tmp_path)
    assert kinds["QLinearConv"] == 3
    assert kinds["QLinearAdd"] == 2
    assert not {"Conv", "Gemm", "MatMul", "Add", "Relu", "DequantizeLinear"} & kinds.keys()


def test_file_holds_the_learnt_steps_and_integers(trained):
    made, _, path, _ = trained
    graph = Graph(onnx.load(path))
    scales = {float(graph.constant(node.input[1])) for node in graph.nodes if node.op_type == "QuantizeLinear"}
    assert scales == {float(made.at(site.place).step.detach()) for site in made.rounding.sites}
    weights = {weight.codes.shape: weight.codes for weight in integer_weights(graph).values()}
    for layer in made.rounding.layers:
        stored = weights[tuple(made.model.get_submodule(layer.path).weight.shape)]
        assert stored.dtype == np.int8
    stem = next(layer for layer in made.rounding.layers if layer.path == "stem.0")
    codes = made.of(stem).codes(made.model.stem[0].weight).numpy()
    assert np.array_equal(weights[codes.shape], codes)


def test_steps_are_learnt_in_training(trained):
    record = trained[1]
    assert record.done["largest_change_of_a_step"] > 1e-3
    assert record.done["folded_batch_norms"] == 3
    assert record.done["rounded_layers"] == 4
    assert record.declined == ()


def test_checkpoint_is_restored_when_loaded_into_a_fresh_model(trained, around, tmp_path):
    made, path = trained[0], tmp_path / "model.safetensors"
    checkpoint.save(path, made, None, original=Small())
    loaded = checkpoint.load(path, into=Small())
    assert isinstance(loaded, FakeQuantModel)
    assert loaded.rounding == made.rounding
    assert state_digest(loaded) == state_digest(made)
    with torch.no_grad():
        assert torch.equal(loaded(around.sample(4)), made(around.sample(4)))


def test_checkpoint_is_refused_when_its_rounding_is_malformed(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, trained[0], None, original=Small())
    record = json.loads(checkpoint.structure_path(path).read_text())
    record["rounding"]["layers"][0]["module"] = "os.system"
    checkpoint.structure_path(path).write_text(json.dumps(record))
    with pytest.raises(ModelError, match="record of a quantized model is malformed"):
        checkpoint.load(path, into=Small())


def test_gate_fails_when_the_weights_of_the_file_differ(trained, around, tmp_path):
    made, folder = trained[0], tmp_path / "own"
    folder.mkdir()
    path = folder / "m.onnx"
    write_once(as_marked(made, around.preprocess), around.preprocess, path)
    places = as_integers(made, path)
    samples = around.sample(4).numpy()
    assert compare_fake_quant(made, path, places, samples).holds
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight_quantized"))
    codes = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.roll(codes, 1, axis=0), weight.name))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="gives different codes than the trained model"):
        compare_fake_quant(made, path, places, samples)


def test_first_layer_stays_float_before_residual_blocks(around, tmp_path):
    """The channels are put last where its values are rounded, which the network need not follow."""
    network, record = Qat(**QUICK, keep_first=True).apply(_small(), around)
    path = tmp_path / "kept.onnx"
    export(network, around.preprocess, path, classes=CLASSES)
    graph = Graph(onnx.load(path))
    assert [node.input[1] for node in graph.weighted() if node.op_type == "Conv"] == ["model.stem.0.weight"]
    assert any(node.op_type == "Reshape" and node.name.endswith(".reshaped") for node in graph.nodes)


def test_second_rounding_is_refused(trained, around):
    made, _, path, _ = trained
    again, record = Qat(**QUICK).apply(made, around)
    assert again is not made
    assert "already" in record.declined[0].why
    same, record = QuantizeStatic(samples=16).apply(path, around)
    assert same == path
    assert "already quantized" in record.declined[0].why


def test_unknown_layer_names_the_nearest(around):
    with pytest.raises(UsageError, match=r"did you mean 'stem\.0'"):
        Qat(**QUICK, keep_layers=("stem.9",)).apply(_small(), around)


class Mixed(nn.Module):
    """Whatever does not become integers by itself: gates, a layer that runs twice, an idle tap, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.SiLU())
        self.norm = nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.block = Block(8)
        self.narrow = nn.Conv2d(8, 8, 3, 4, 1)
        self.idle = nn.Conv2d(8, 8, 3, 1, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x))
        x = self.block(nn.functional.hardswish(self.twice(self.twice(x))))
        return self.head(self.idle(nn.functional.relu6(self.narrow(x))).flatten(1))


@pytest.fixture(scope="module")
def mixed(around):
    torch.manual_seed(0)
    net = _used(Mixed())
    network, record = Qat(**QUICK, keep_layers=("stem.0",), target="cpu-avx2").apply(net, replace(around, teacher=net))
    path = around.workspace / "mixed.onnx"
    return network, record, path, export(network, around.preprocess, path, classes=CLASSES)


def test_layers_that_stay_float_are_declined_by_name(mixed):
    _, record, _, exported = mixed
    why = {declined.what: declined.why for declined in record.declined}
    assert exported.parity.max_relative_difference < 1e-5
    assert why["stem.0:conv2d:0"] == "the recipe keeps it float"
    assert why["twice:conv2d:0"] == why["twice:conv2d:1"] == "its weight is used twice"
    assert record.done["rounded_layers"] == 4


def test_weights_have_seven_bits_when_the_processor_saturates(mixed):
    _, record, path, _ = mixed
    codes = [weight.codes for weight in integer_weights(Graph(onnx.load(path))).values()]
    assert record.done["weight_bits"] == 7
    assert len(codes) == 4
    assert max(int(np.abs(each).max()) for each in codes) == 64


def test_remaining_batch_norm_keeps_its_statistics_when_trained(mixed):
    made = mixed[0].train()
    before = made.model.norm.running_mean.clone()
    made(torch.randn(4, 3, SIZE, SIZE))
    made.eval()
    assert torch.equal(made.model.norm.running_mean, before)


def test_idle_taps_of_integers_are_cut_off(mixed, around):
    path = mixed[2]
    trimmed, record = TrimKernels().apply(path, around)
    assert list(record.done["kernels"].values()) == [["3x3", "2x2"], ["3x3", "1x1"]]
    samples = around.sample(6).numpy()
    np.testing.assert_allclose(run_onnx(trimmed, samples), run_onnx(path, samples), rtol=1e-5, atol=1e-6)


class Attending(nn.Module):
    """A patch embedding and one encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_transformer_is_rounded_only_around_its_layers(around, tmp_path):
    torch.manual_seed(0)
    net = Attending().eval()
    network, record = Qat(**QUICK).apply(net, replace(around, teacher=net))
    path = tmp_path / "m.onnx"
    assert export(network, around.preprocess, path, classes=CLASSES).parity.holds
    assert record.done["attentions_opened"] == 1
    assert {layer.path for layer in network.rounding.layers} == {
        "patches", "layer.self_attn.qkv", "layer.self_attn.proj", "layer.linear1", "layer.linear2", "head",
    }  # fmt: skip
    kinds = count_types(onnx.load(path).graph)
    assert kinds["LayerNormalization"] == 2
    assert _optimised(path, tmp_path).keys() & {"LayerNormalization", "SkipLayerNormalization"}


def test_rounding_survives_json(trained):
    rounding = trained[0].rounding
    assert Rounding.from_json(json.loads(json.dumps(rounding.to_json()))) == rounding
