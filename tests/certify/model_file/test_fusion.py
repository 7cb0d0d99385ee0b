from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node

from certify.model_file.onnx_graph.fusion import quantization


def _qdq(build, conv_weight, output_quantized: bool) -> onnx.ModelProto:
    weights = {
        "w_q": np.clip(conv_weight * 50, -127, 127).astype(np.int8),
        "w_s": np.full(6, 0.02, dtype=np.float32),
        "w_z": np.zeros(6, dtype=np.int8),
        "s": np.array(0.05, dtype=np.float32),
        "z": np.array(128, dtype=np.uint8),
    }
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"], name="q"),
        make_node("DequantizeLinear", ["x_q", "s", "z"], ["x_d"], name="dq"),
        make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w_d"], axis=0, name="dq_w"),
        make_node("Conv", ["x_d", "w_d"], ["c"], name="the_conv"),
    ]
    if output_quantized:
        nodes += [
            make_node("QuantizeLinear", ["c", "s", "z"], ["c_q"], name="q_out"),
            make_node("DequantizeLinear", ["c_q", "s", "z"], ["y"], name="dq_out"),
        ]
    else:
        nodes.append(make_node("Relu", ["c"], ["y"], name="relu"))
    return build(nodes, weights)


@pytest.mark.parametrize(("output_quantized", "fused", "unfused"), [(True, 1, ()), (False, 0, ("the_conv",))])
def test_quantization_is_read_from_the_runtimes_own_graph(
    build, conv_weight, tmp_path: Path, output_quantized: bool, fused: int, unfused: tuple[str, ...]
) -> None:
    import onnxruntime as ort

    model = _qdq(build, conv_weight, output_quantized)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = quantization(model, onnx.load(str(tmp_path / "optimised.onnx")))
    assert (found.intended, found.fused, found.unfused) == (1, fused, unfused)


def test_quantization_is_not_intended_when_weights_are_float(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight})
    found = quantization(model, model)
    assert (found.intended, found.fused, found.unfused) == (0, 0, ())
