"""How many calibration samples run at a time follows from what their activations take."""

from __future__ import annotations

import math

import onnx
import pytest
from onnx import TensorProto, helper

from compress.core.free_memory import free_bytes
from compress.onnx_graph.graph import Graph
from compress.quantization.post_training import batch_size
from compress.quantization.post_training.batch_size import BatchSize, choose_batch, live_bytes

MIB = 1 << 20


def chain(channels: int, side: object = 32, *, residual: bool = False) -> Graph:
    """Four ReLUs in a row; with ``residual`` the first one's output is added at the end."""
    names = ["x", "a", "b", "c", "d"]
    nodes = [helper.make_node("Relu", [one], [two]) for one, two in zip(names, names[1:], strict=False)]
    if residual:
        nodes.append(helper.make_node("Add", ["a", "d"], ["e"]))
    last = nodes[-1].output[0]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, side, 32]) for name in ("x", last)]
    made = helper.make_model(helper.make_graph(nodes, "chain", ports[:1], ports[1:]))
    return Graph(onnx.shape_inference.infer_shapes(made))


def test_two_values_are_alive_at_a_time_when_operators_form_a_chain():
    assert live_bytes(chain(4)) == 2 * 4 * 32 * 32 * 4


def test_value_stays_alive_when_it_is_read_later():
    assert live_bytes(chain(4, residual=True)) == 3 * 4 * 32 * 32 * 4


@pytest.mark.parametrize(
    ("channels", "free", "samples"),
    [(4, math.inf, 4), (256, math.inf, 4), (512, math.inf, 2), (32768, math.inf, 1), (256, 96 * MIB, 2)],
)
def test_samples_are_a_power_of_two_when_activations_are_known(channels, free, samples):
    chosen = choose_batch(chain(channels), free)
    assert chosen == BatchSize(samples, 2 * channels * 32 * 32 * 4)


def test_few_samples_run_when_a_size_is_unknown():
    assert choose_batch(chain(4, "side"), math.inf) == BatchSize(batch_size.UNKNOWN, None)


@pytest.mark.parametrize(("limit", "used", "free"), [("max", "5", 102400), ("4096", "1024", 3072), ("1024", "4096", 0)])
def test_free_memory_is_that_of_the_control_group_when_it_has_less(tmp_path, limit, used, free):
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 100 kB\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    assert free_bytes(tmp_path / "meminfo", tmp_path) == free


def test_free_memory_is_unbounded_when_nothing_reports_it(tmp_path):
    assert free_bytes(tmp_path / "meminfo", tmp_path) == math.inf
