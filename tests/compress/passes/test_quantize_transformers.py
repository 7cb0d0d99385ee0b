"""A small vision transformer and a small encoder of BERT's kind, with outliers, through every pass that rounds."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from certify.data import default_preprocess
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.fusion import quantization
from certify.model_file.onnx_graph.load import load_model
from compress.core.targets import detect
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.onnx_graph.graph import Graph
from compress.passes.half import Half
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_weights import QuantizeWeights
from compress.quantization.post_training.quantizer import Quantizer
from compress.quantization.post_training.score_products import score_products, with_integers

WIDTH, HEADS, CLASSES = 32, 2, 4


class Block(nn.Module):
    """Attention and MLP; normalised before them (ViT) or after (BERT)."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.before = before
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        shares = (parts[0] @ parts[1].transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        return self.out((shares @ parts[2]).transpose(1, 2).reshape(batch, length, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.norms
        if self.before:
            x = x + self.attend(first(x))
            return x + self.mlp(second(x))
        x = first(x + self.attend(x))
        return second(x + self.mlp(x))


class Encoder(nn.Module):
    """Patches, two blocks, mean, classifier."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.places = nn.Parameter(0.2 * torch.randn(1, 16, WIDTH))
        self.blocks = nn.Sequential(Block(before), Block(before))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)
        with torch.no_grad():
            for block in self.blocks:
                for norm in block.norms:
                    norm.weight[3] = 12.0  # the outlier channels of trained transformers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


@pytest.fixture(scope="module", params=["vit", "bert"])
def exported_encoder(request, dataset, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(request.param) / f"{request.param}.onnx"
    export(Encoder(request.param == "vit").eval(), default_preprocess(dataset), path, classes=CLASSES)
    return path


@pytest.fixture
def encoder(exported_encoder, tmp_path):
    return shutil.copy(exported_encoder, tmp_path / exported_encoder.name)


def cosine(context, one, other):
    samples = context.preprocess.batch(context.data.validation, range(48))
    a, b = run_onnx(one, samples), run_onnx(other, samples)
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    "applied",
    [
        QuantizeStatic(samples=48),
        QuantizeStatic(samples=48, target="openvino", max_time=1000),
        QuantizeDynamic(reduce_range=detect().saturates or None),  # so that sums are exact on every machine
        QuantizeWeights(samples=48),
        QuantizeWeights(bits=8, rounding="rtn", int8_activations=True),
        Half(samples=16),
    ],
    ids=["static", "openvino", "dynamic", "weights4", "weights8", "half"],
)
def test_outputs_stay_close_and_multiply_adds_are_counted(encoder, context, applied):
    result, record = applied.apply(encoder, context)
    assert record.changed
    assert cosine(context, encoder, result) > 0.99
    before, after = count(load_model(encoder)), count(load_model(result))
    assert after.macs == before.macs
    assert after.not_counted == ()
    if isinstance(applied, QuantizeWeights):
        assert after.parameters == before.parameters
    assert result.stat().st_size < encoder.stat().st_size


def test_only_weights_are_quantized_and_all_are_fused(encoder, context, tmp_path):
    quantized, record = QuantizeStatic(samples=48).apply(encoder, context)
    graph = onnx.load(quantized).graph
    rounded = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    producers = {name: node.op_type for node in graph.node for name in node.output}
    assert "Softmax" not in {producers.get(name) for name in rounded}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
    fused = quantization(onnx.load(quantized), onnx.load(tmp_path / "fused.onnx"))
    assert fused.unfused == ()
    assert fused.intended == record.done["quantized"] == 10


@pytest.mark.parametrize(("target", "rounded"), [("cpu-vnni", 0), ("openvino-avx2", 0), ("openvino-vnni", 2)])
def test_queries_and_keys_are_signed_bytes_for_openvino_alone(encoder, context, target, rounded):
    made, record = QuantizeStatic(samples=48, target=target, max_time=1000).apply(encoder, context)
    graph = Graph(onnx.load(made))
    products = [node for node in graph.nodes if node.name in score_products(graph)]
    assert (len(products), with_integers(graph, score_products(graph))) == (2, rounded)
    assert record.done.get("scores") == (rounded or None)
    sources = [graph.producers[name] for node in products for name in node.input]
    zeros = [graph.constant(node.input[2]) for node in sources if node.op_type == "DequantizeLinear"]
    assert len(zeros) == 2 * rounded and all(zero.dtype == np.int8 and zero == 0 for zero in zeros)
    shares = [name for node in graph.nodes if node.op_type == "Softmax" for name in node.output]
    assert {reader.op_type for name in shares for reader in graph.consumers[name]} == {"MatMul"}


def test_queries_and_keys_stay_float_when_the_loss_is_too_large_otherwise(encoder, context, monkeypatch):
    excess = Quantizer.excess

    def judged(self, candidate):
        return 5.0 if with_integers(Graph(candidate), self.scores) else excess(self, candidate)

    monkeypatch.setattr(Quantizer, "excess", judged)
    made, record = QuantizeStatic(samples=48, target="openvino-vnni", max_time=1000, max_loss=1).apply(encoder, context)
    assert (record.done["scores"], record.done["quantized"]) == (0, 10)
    assert with_integers(Graph(onnx.load(made)), score_products(Graph(onnx.load(made)))) == 0


def test_outliers_are_smoothed_by_a_multiplication_only_when_a_residual_also_reads_them(encoder, context):
    quantized, record = QuantizeStatic(samples=48).apply(encoder, context)
    multiplications = [n for n in onnx.load(quantized).graph.node if n.name.endswith(".smoothed")]
    assert record.done["smoothing_multiplications"] == len(multiplications)
    if encoder.stem == "vit":
        assert (record.done["smoothed"], len(multiplications)) == (4, 0)
    else:  # all but the first layer, which reads no LayerNorm
        assert (record.done["smoothed"], len(multiplications)) == (3, 3)
    assert sum("no matrix product with constant weights" in each.why for each in record.declined) >= 1


def test_smoothing_stays_float_when_everything_is_quantized(encoder, context):
    quantized, _ = QuantizeStatic(samples=48, operators="all").apply(encoder, context)
    graph = onnx.load(quantized).graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    factors = [n.input[1] for n in graph.node if n.name.endswith(".smoothed")]
    assert not {producers.get(name) for name in factors} & {"DequantizeLinear"}
    assert len(factors) == (0 if encoder.stem == "vit" else 3)
