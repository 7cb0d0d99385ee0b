"""Small ONNX files and the program to run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from certify.cli.main import main


@pytest.fixture
def leanmark() -> Callable[..., Result]:
    """Runs the program."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model with the given inputs, all of shape (1, 3, 8, 8), which are added up."""

    def make(name: str = "model.onnx", inputs: tuple[str, ...] = ("pixels",)) -> Path:
        ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, 3, 8, 8]) for port in inputs]
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])
        nodes = [
            helper.make_node("Sum", list(inputs), ["sum"]),
            helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
        ]
        graph = helper.make_graph(nodes, "tiny", ports, [scores])
        path = tmp_path / name
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
        return path

    return make
