"""A timer that reads a file's cost off its weights, so that costs are the same every time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from torch import nn

from certify.core.estimate import Estimate, EvidenceLevel
from compress.costs import comparison, known_losses, shipped_form, table_maker
from compress.costs.shipped_form import WholeModel
from compress.costs.timing import Conditions, Cost, TimedFile

CALL_S, WEIGHT_S = 20e-6, 1e-8
WATTS = 10.0


def cost_of(weights: int, call_s: float = CALL_S) -> Cost:
    seconds = call_s + WEIGHT_S * weights
    return Cost(
        Estimate(seconds, 0.99 * seconds, 1.01 * seconds, "s", 24, "made up"),
        Estimate(WATTS * seconds, 9.9 * seconds, 10.1 * seconds, "J", 24, "made up", EvidenceLevel.MODELLED),
        (seconds,) * 24,
        (WATTS * seconds,) * 24,
    )


class FakeTimer:
    """Costs by the weights of two dimensions or more; ``batches`` are the labels measured together."""

    integer = 0.25
    """Cost of an integer weight as a share of that of a float."""
    pair = 4.0
    """Cost of a byte with two int4 weights as a share of that of a float."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, files: Mapping[str, TimedFile]) -> dict[str, Cost]:
        self.batches.append(list(files))
        return {name: cost_of(self.weights(file)) for name, file in files.items()}

    def weights(self, file: TimedFile) -> int:
        count = 0
        for tensor in onnx.load(file.path).graph.initializer:
            if len(tensor.dims) > 1:
                values = 1
                for size in tensor.dims:
                    values *= size
                shares = {onnx.TensorProto.INT8: self.integer, onnx.TensorProto.UINT8: self.pair}
                count += int(values * shares.get(tensor.data_type, 1))
        return count


def weights_alone(model: nn.Module, taken: npt.NDArray[np.float32], *_: object) -> onnx.ModelProto:
    """A file that holds the weights of a module and computes nothing; exporting takes seconds."""
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    weights = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in model.state_dict().items()]
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "weights", ports[:1], ports[1:], initializer=weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch) -> None:
    """No losses from other tests."""
    monkeypatch.setattr(known_losses, "_known", {})


@pytest.fixture
def unexported(monkeypatch) -> None:
    """Files that hold weights alone, in the place of exported ones."""
    monkeypatch.setattr(shipped_form, "one_block", weights_alone)

    def whole(model: nn.Module, *_: object) -> WholeModel:
        return WholeModel(weights_alone(model, np.zeros(1, np.float32)))

    monkeypatch.setattr(shipped_form, "whole_model", whole)
    monkeypatch.setattr(comparison, "whole_model", whole)


@pytest.fixture
def timer(monkeypatch, tmp_path) -> FakeTimer:
    """The fake in the place of what measures, with a cache of its own and conditions that are always the same."""
    made = FakeTimer()
    monkeypatch.setenv("LEANMARK_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(table_maker, "timer", lambda conditions, progress=None: made)
    key = {"runtime": "fake", "version": "1", "threads": 1, "processor": "made up"}
    monkeypatch.setattr(Conditions, "to_json", lambda self: {**key, "threads": self.threads})
    return made
