"""Files of other tools go through every pass, or are declined: never broken."""

from __future__ import annotations

import foreign_files as foreign
import numpy as np
import onnx
import pytest

import compress
from certify.core.errors import ModelError
from certify.data import default_preprocess
from certify.model_file.onnx_graph.load import check_feedable, load_model
from compress.core import onnx_session
from compress.passes.half import Half
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_weights import QuantizeWeights
from compress.passes.space_to_depth import SpaceToDepth
from compress.passes.trim_kernels import TrimKernels

FREE = ("n", 3, "h", "w")
FILES = {
    "every weight is an input, ir 3": lambda: foreign.listed(foreign.model(opset=9, ir=3)),
    "every weight is an input, ir 8": lambda: foreign.listed(foreign.model()),
    "some weights are inputs": lambda: foreign.listed(foreign.model(), "w1", "b3"),
    "branches read weights that are inputs": lambda: foreign.listed(
        foreign.model(head=foreign.chosen_head("w3", "other"))
    ),
    "branches read one weight each": lambda: foreign.model(head=foreign.chosen_head("w3", "other")),
    "both branches read one weight": lambda: foreign.model(head=foreign.chosen_head("other", "other")),
    "branches read an activation": lambda: foreign.model(foreign.read_in_a_branch()),
    "a loop holds a convolution": lambda: foreign.model(foreign.convolution_loop()),
    "a loop hides the rank": lambda: foreign.model(foreign.loop(foreign.node("Relu", "before", "after"))),
    "a scan reads a weight": lambda: foreign.model(head=foreign.scanned_head()),
    "stale height and width": lambda: foreign.stale(foreign.model(), "c1", "n", 16, 64, 64),
    "stale batch": lambda: foreign.stale(foreign.model(), "r1", 7, 16, 16, 16),
    "stale rank": lambda: foreign.stale(foreign.model(), "r2", "n", 24),
    "stale features": lambda: foreign.stale(foreign.model(), "f", "n", 99),
    "a batch of -1": lambda: foreign.model(inputs=(-1, 3, 32, 32), outputs=(-1, 4)),
    "stale output": lambda: foreign.model(outputs=("n", 99)),
    "Upsample with an attribute": lambda: foreign.listed(
        foreign.model([foreign.node("Upsample", "r1", "m", scales=[1.0, 1.0, 2.0, 1.5])], opset=7, ir=3)
    ),
    "Upsample, nearest": lambda: foreign.model([foreign.node("Upsample", "r1 scales", "m")], opset=9),
    "Upsample, linear": lambda: foreign.model([foreign.node("Upsample", "r1 scales", "m", mode="linear")], opset=9),
    "early Resize": lambda: foreign.model([foreign.node("Resize", "r1 scales", "m", mode="linear")], opset=10),
    "operator set 27": lambda: foreign.model(opset=27, ir=13),
    "operator set 28 with a loop": lambda: foreign.model(foreign.convolution_loop(), opset=28, ir=13),
    "a bias is an output": lambda: foreign.giving(foreign.model(), "b3"),
    "weights are outputs": lambda: foreign.giving(foreign.model(), "w1", "w3", "other"),
    "free sides and no output shape": lambda: foreign.model(inputs=FREE, outputs=()),
    "no output shape": lambda: foreign.model(outputs=()),
}
PASSES = (TrimKernels(), SpaceToDepth(), QuantizeStatic(samples=8), QuantizeWeights(block=16), Half(samples=8))


@pytest.fixture(scope="module")
def contract(dataset):
    return default_preprocess(dataset)


@pytest.mark.parametrize("file", FILES)
def test_foreign_file_computes_the_same_after_a_pass(file, dataset, contract, tmp_path):
    source = foreign.write(FILES[file](), tmp_path)
    feed = contract.feed(dataset.validation, range(16))
    (wanted,) = onnx_session.run(onnx_session.session(source), ["output"], feed)
    changed = set()
    for applied in PASSES:
        result, record = compress.apply(applied, source, dataset, preprocess=contract)
        if not record.changed:
            continue
        check_feedable(load_model(result), contract, 1)
        (found,) = onnx_session.run(onnx_session.session(result), ["output"], feed)
        spread = [each - each.mean(axis=0) for each in (wanted, found)]
        assert np.corrcoef(*(each.ravel() for each in spread))[0, 1] > 0.95, (applied.name, record)
        changed.add(applied.name)
    assert "quantize_static" in changed


def test_means_become_pools_and_weights_stay_when_branches_read_them(dataset, contract, tmp_path):
    mean = (foreign.node("ReduceMean", "r2", "p", axes=[2, 3]),)
    original = foreign.model(head=foreign.chosen_head("w3", "other"))
    index = next(i for i, each in enumerate(original.graph.node) if each.op_type == "GlobalAveragePool")
    original.graph.node[index].CopyFrom(mean[0])
    source = foreign.write(original, tmp_path)
    original, record = compress.apply(QuantizeStatic(samples=8), source, dataset, preprocess=contract)
    kinds = [each.op_type for each in onnx.load(original).graph.node]
    assert record.changed and "ReduceMean" not in kinds and "GlobalAveragePool" in kinds


def test_file_is_refused_in_the_users_terms_when_no_shape_follows(dataset, contract, tmp_path):
    head = (foreign.node("Gemm", "f w3 b3", "r", transB=1), foreign.loop(foreign.node("Relu", "before", "after"))[0])
    head[1].input[2], head[1].output[0] = "r", "output"
    source = foreign.write(foreign.model(head=head, outputs=()), tmp_path)
    with pytest.raises(ModelError, match="states no shape for output, and none can be inferred from its graph"):
        compress.apply(TrimKernels(), source, dataset, preprocess=contract)


def test_operator_set_is_named_when_it_cannot_be_converted(dataset, contract, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("/project/onnx/BaseConverter.h:66: adapter_lookup: Assertion `false` failed: No Adapter")

    monkeypatch.setattr(onnx.version_converter, "convert_version", refuse)
    source = foreign.write(foreign.model(opset=27, ir=13), tmp_path)
    with pytest.raises(ModelError, match=r"operator set 27; .* from 13 to 26, as .* to 26 \(No Adapter\)\."):
        compress.apply(QuantizeStatic(samples=8), source, dataset, preprocess=contract)


def test_outer_values_are_renamed_in_branches_when_a_mean_is_removed():
    from compress.onnx_graph.spatial_means import drop_idle_means

    nodes = [foreign.node("GlobalAveragePool", "x", "p"), foreign.choice(
        "true", "output", foreign.node("Relu", "p", ""), foreign.node("Neg", "p", ""))]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "g", [foreign.info("x", 1, 4, 1, 1)], [foreign.info("output", 1, 4, 1, 1)])
    made = onnx.helper.make_model(graph)
    assert drop_idle_means(made) == ["p"]
    assert [inner.g.node[0].input[0] for inner in made.graph.node[0].attribute] == ["x", "x"]
