"""Pruning of ONNX files: which units can go, that removing them is exact, and what the refit recovers."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from certify.core.errors import ModelError, UsageError
from certify.data.split import Split
from certify.model_file.onnx_graph.counts import count
from compress.core.context import PassContext
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.onnx_graph.graph import Graph, probe
from compress.passes.reconstruct import Reconstruct
from compress.pruning.onnx_units import engine, refitting
from compress.pruning.onnx_units.allocation import GroupCosts, allocate
from compress.pruning.onnx_units.groups import find_groups, mask, take
from compress.pruning.onnx_units.lane import FileLane, execution_order
from compress.pruning.onnx_units.layers import find_layers, put, weight_of
from compress.pruning.onnx_units.rows import windows
from compress.pruning.onnx_units.sensitivity import OutputErrors, divergence
from compress.pruning.saturation import Limits, refit_before
from compress.quantization.post_training.calibration import Feeds
from compress.quantization.post_training.prepare import prepared
from compress.testing.networks import CLASSES, SIZE, network

HALF = {"round_to": 1, "samples": 96}


class Copies(nn.Module):
    """A residual block whose last four inner channels are multiples of the first four, and an MLP likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 4, 1)
        self.widen, self.narrow = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 6, 3, 1, 1)
        self.depth = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)
        self.head = nn.Linear(6, CLASSES)
        with torch.no_grad():
            for layer in (self.widen, self.up):
                layer.bias[4:], layer.weight[4:] = 2 * layer.bias[:4], 2 * layer.weight[:4]
            self.depth.weight[4:] = 1.5 * self.depth.weight[:4]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.narrow(torch.relu(self.depth(self.widen(x))))
        x = x.flatten(2).transpose(1, 2)
        x = x + self.down(torch.relu(self.up(x)))
        return self.head(x.mean(1))


@pytest.fixture
def written(context, tmp_path):
    """Writes a network as an ONNX file."""

    def write(model: nn.Module) -> Path:
        path = tmp_path / "net.onnx"
        export(model.eval(), context.preprocess, path, classes=CLASSES)
        return path

    return write


@pytest.fixture
def copies(written) -> Path:
    torch.manual_seed(0)
    return written(Copies())


def _groups(path: Path) -> tuple[Graph, list, dict[str, str]]:
    graph = Graph(prepared(path, path.parent))
    groups, declined = find_groups(graph, find_layers(graph))
    return graph, groups, {each.what: each.why for each in declined}


def _cut(path: Path) -> tuple[refitting.Cut, list[dict[str, np.ndarray]]]:
    """A graph next to the same without some units, and a batch of 11 samples."""
    graph, groups, _ = _groups(path)
    order = refitting.ordered(graph, find_layers(graph), groups)
    kept = {group.name: np.arange(6) for group in groups}
    cut = Graph(copy.deepcopy(graph.model))
    del cut.model.graph.value_info[:]
    for group in groups:
        take(cut, group, kept[group.name])
    samples = np.random.default_rng(0).normal(size=(11, 3, SIZE, SIZE)).astype(np.float32)
    return refitting.Cut(graph, cut, order, kept, groups), [{graph.model.graph.input[0].name: samples}]


def _apply(path: Path, context: PassContext, **parameters):
    return Reconstruct(**{**HALF, **parameters}).apply(path, context)


def test_outputs_are_recovered_when_half_of_the_units_are_copies(copies, context):
    made, record = _apply(copies, context, macs=0.605, max_ratio=0.5, scope="local")
    assert list(record.done["units"].values()) == [[8, 4], [8, 4]]
    found = record.done["reconstruction"]
    assert found["output_error_after"] < 1e-4 < 1e-2 < found["output_error_before"]
    samples = context.samples(48)
    wanted = run_onnx(copies, samples)
    np.testing.assert_allclose(run_onnx(made, samples), wanted, atol=0.02 * np.abs(wanted - wanted.mean(0)).max())


def test_share_in_the_record_matches_the_file_when_units_are_removed(copies, context):
    made, record = _apply(copies, context, macs=0.8)
    share = count(onnx.load(made)).macs / count(onnx.load(copies)).macs
    assert record.done["macs_share"] == pytest.approx(share) and share <= 0.8


def test_targets_are_taken_at_the_sum_when_a_shortcut_is_added(copies, context):
    _, record = _apply(copies, context, macs=0.72, max_ratio=0.5)
    assert sum(each["at_sum"] for each in record.done["reconstruction"]["layers"].values()) == 2


@pytest.mark.parametrize("name", ["depthwise", "attention"])
def test_removing_equals_masking_when_every_other_unit_is_removed(written, context, name):
    graph, groups, _ = _groups(written(network(name)))
    feeds = [{context.preprocess.input_names[0]: context.samples(4)}]
    answers = []
    for change in (take, mask, None):
        changed = engine._copy(graph)
        for group in groups:
            if change:
                change(changed, group, np.arange(0, group.units, 2))
        answers.append(next(probe(changed.model, [context.preprocess.output_name], feeds)).popitem()[1])
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)
    assert np.abs(answers[0] - answers[2]).max() > 1e-4


def test_units_of_inverted_bottlenecks_are_removed_with_their_gates(written):
    _, groups, declined = _groups(written(network("depthwise")))
    wide = [group for group in groups if group.units == 60]
    assert [(len(g.makers), len(g.depthwise), len(g.readers)) for g in wide] == [(2, 1, 2), (2, 1, 2)]
    assert [group.units for group in groups if group.units != 60] == [8, 8]
    assert any("residual streams" in why for why in declined.values())


def test_only_units_of_the_mlp_are_removed_when_it_is_a_transformer(written):
    _, groups, declined = _groups(written(network("attention")))
    assert [(len(group.makers), len(group.readers)) for group in groups] == [(1, 1)]
    reasons = " ".join(declined.values())
    assert "Reshape" in reasons and "output of the graph" in reasons


def test_units_are_kept_when_removal_is_not_masking(copies, context, monkeypatch):
    def wrong(graph, group, kept):
        take(graph, group, (kept + 1) % group.units)

    monkeypatch.setattr(engine, "take", wrong)
    made, record = _apply(copies, context)
    assert made == copies
    assert sum("not equivalent to masking" in each.why for each in record.declined) == 2


def test_cut_weights_are_kept_when_the_refit_does_not_help(copies, context, monkeypatch):
    errors = iter((0.1, 0.2, 0.3))
    monkeypatch.setattr(engine, "output_error", lambda *_: next(errors))
    made, record = _apply(copies, context, macs=0.8)
    assert made != copies and "reconstruction" not in record.done
    assert "further from the original's" in record.declined[-1].why


def test_file_is_unchanged_when_the_target_is_out_of_reach(copies, context):
    made, record = _apply(copies, context, macs=0.1)
    assert made == copies
    assert "of its multiply-adds remain" in record.declined[0].why


def test_units_are_kept_when_their_node_is_to_be_kept(copies, context):
    _, groups, _ = _groups(copies)
    _, record = _apply(copies, context, macs=0.9, keep_nodes=(groups[0].name,))
    assert list(record.done["units"]) == [groups[1].name]


class Unlabelled:
    """A part of a data set without its labels."""

    def __init__(self, split: Split) -> None:
        self._own = split

    def __len__(self) -> int:
        return len(self._own)

    def __getattr__(self, name: str) -> object:
        assert name not in ("labels", "targets"), f"{name} were read"
        return getattr(self._own, name)


def test_no_label_is_read_when_a_file_is_pruned(copies, context):
    data = replace(context.data, train=Unlabelled(context.data.train), calibration=Unlabelled(context.data.calibration))
    _, record = _apply(copies, replace(context, data=data), macs=0.8)
    assert record.changed


def test_pass_is_refused_when_there_are_test_samples_only(copies, context):
    data = replace(context.data, train=None, calibration=None, validation=None)
    with pytest.raises(UsageError, match="reconstruct needs calibration samples"):
        _apply(copies, replace(context, data=data))


def test_torch_is_not_loaded_when_a_file_is_pruned(copies, tmp_path):
    script = f"""
import sys
from pathlib import Path
import numpy as np
from certify.data import Dataset, array_split, default_preprocess
from compress.core.context import PassContext, PassData
from compress.core.targets import TARGETS
from compress.passes.reconstruct import Reconstruct
pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 32, 3)).astype(np.uint8)
part = array_split(pixels, np.arange(32) % 4, "noise")
data = Dataset("noise", "noise", tuple("abcd"), part, None, None, part, input_size=(32, 32))
context = PassContext(PassData.without_test(data), default_preprocess(data), TARGETS["cpu-vnni"],
                      workspace=Path({str(tmp_path)!r}))
made, record = Reconstruct(macs=0.8, samples=16, round_to=1).apply(Path({str(copies)!r}), context)
assert record.changed, record
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).resolve().parents[3])


def test_lane_matches_the_whole_graph_when_run_in_segments(written, context):
    graph = Graph(prepared(path := written(network("depthwise")), path.parent))
    feeds = [{context.preprocess.input_names[0]: each} for each in np.split(context.samples(8), 2)]
    names = [layer.product for layer in find_layers(graph)]
    wanted = [each[names[-1]] for each in probe(graph.model, names[-1:], feeds)]
    with FileLane(graph, execution_order(graph), feeds, [names[0]]) as lane:
        for name in names[1:-1]:
            assert len(list(lane.values(name))) == 2
        assert len(list(lane.values(names[0]))) == 2  # was to be asked for later
        found = [value for (value,) in lane.values(names[-1])]
    np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "told",
    [
        {"strides": [2, 1], "pads": [0, 1, 2, 1], "dilations": [1, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
    ],
)
def test_windows_reproduce_the_convolution_when_it_has_strides_pads_and_dilations(told):
    random = np.random.default_rng(0)
    x, weight = (random.normal(size=size).astype(np.float32) for size in ((2, 3, 8, 7), (4, 3, 3, 2)))
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **told)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)
    graph = onnx.helper.make_graph(
        [node], "conv", [value], [onnx.ValueInfoProto(name="y")], [onnx.numpy_helper.from_array(weight, "w")]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    wanted = next(probe(model, ["y"], [{"x": x}]))["y"]
    found = np.einsum("nchwij,ocij->nohw", windows(node, x, (3, 2), wanted.shape[2:]), weight)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_units_are_removed_where_they_matter_least_when_the_scope_is_global(copies):
    graph, groups, _ = _groups(copies)
    layers = find_layers(graph)
    costs = GroupCosts(10_000, layers, {layer.product: 1.0 for layer in layers}, groups)
    first, second = (group.name for group in groups)
    errors = {first: np.linspace(0.1, 0.8, 8), second: np.linspace(0.001, 0.008, 8)}
    found = allocate(costs, errors, 1 - 2.5 * costs.of_unit(second) / 10_000)
    assert found.kept == {first: 8, second: 5}
    local = allocate(costs, errors, 1 - 3.5 * costs.of_unit(first) / 10_000, scope="local")
    assert abs(local.kept[first] - local.kept[second]) <= 1


def test_output_errors_are_the_shares_of_the_branches_when_they_are_added():
    random = np.random.default_rng(0)
    tensors = {name: random.standard_normal((8, 8)).astype(np.float32) for name in ("u1", "d1", "u2", "d2")}
    tensors["little"] = np.float32(0.01)
    made = onnx.helper.make_node
    nodes = []
    for branch in ("1", "2"):
        nodes += [
            made("MatMul", ["x", f"u{branch}"], [f"h{branch}"], f"up{branch}"),
            made("Relu", [f"h{branch}"], [f"a{branch}"], f"relu{branch}"),
            made("MatMul", [f"a{branch}", f"d{branch}"], [f"r{branch}"], f"down{branch}"),
        ]
    nodes += [made("Mul", ["r2", "little"], ["s"], "scale"), made("Add", ["r1", "s"], ["y"], "sum")]
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 8]) for name in ("x", "y")]
    constants = [onnx.numpy_helper.from_array(values, name) for name, values in tensors.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "branches", ports[:1], ports[1:], constants),
        opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip
    graph = Graph(onnx.shape_inference.infer_shapes(model))
    groups, _ = find_groups(graph, find_layers(graph))
    before = model.SerializeToString()
    feeds = [{"x": random.standard_normal((n, 8)).astype(np.float32)} for n in (200, 56)]
    measured = OutputErrors(graph, feeds, "y", logits=False)
    order = refitting.ordered(graph, find_layers(graph), groups)
    found = refitting.order_units(graph, order, groups, feeds, 0, note=measured.measure)
    large, small = (group.name for group in groups)
    # Alone, the first branch is the output; the second one is a hundredth of it, and errors are squares.
    assert measured.found[large] == pytest.approx(found[large].errors, rel=0.3, abs=0.01)
    assert measured.found[small].max() == pytest.approx(1e-4 * found[small].errors.max(), rel=0.8)
    assert model.SerializeToString() == before


def test_divergence_is_that_of_the_classes_when_outputs_are_logits():
    wanted, found = np.log([[0.5, 0.5], [0.9, 0.1]]), np.log([[0.25, 0.75], [0.9, 0.1]]) + 5
    assert divergence(wanted, found) == pytest.approx((0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2)


def test_units_go_where_outputs_suffer_least_when_the_scope_is_outputs(copies, context, monkeypatch):
    def made_up(self, group, gram, elimination):
        self.found[group.name] = elimination.errors * 10.0 ** (9 * len(self.found))

    monkeypatch.setattr(engine.OutputErrors, "measure", made_up)
    _, record = _apply(copies, context, macs=0.9, scope="outputs")
    first, second = record.done["units"].values()
    assert first[0] > first[1]
    assert second[0] == second[1]


@pytest.mark.parametrize("harm", ["refit_layers", "compensate_readers"])
def test_refit_that_brings_the_outputs_closer_is_kept_when_the_other_one_harms(copies, context, monkeypatch, harm):
    honest = getattr(engine, harm)

    def harmful(cut, *rest, **more):
        refits = honest(cut, *rest, **more)
        for layer in find_layers(cut.pruned):
            put(cut.pruned, layer, 10 * weight_of(cut.pruned, layer), None)
        return refits

    monkeypatch.setattr(engine, harm, harmful)
    _, record = _apply(copies, context, macs=0.9)
    found = record.done["reconstruction"]
    assert found["only_readers"] is (harm == "refit_layers")
    assert found["output_error_after"] < 1e-3 < found["output_error_before"]


def test_file_is_unchanged_when_it_cannot_be_run_layer_by_layer(copies, context, monkeypatch):
    def broken(*_, **__):
        raise ModelError("enough")

    monkeypatch.setattr(engine, "order_units", broken)
    made, record = _apply(copies, context)
    assert made == copies
    assert "cannot be run layer by layer (enough)" in record.declined[0].why


def test_layer_is_not_refitted_and_named_when_its_gram_matrix_would_be_too_large(copies, context, monkeypatch):
    for module in (engine, refitting):
        monkeypatch.setattr(module, "MOST_INPUTS", 50)  # the second convolution reads 72 numbers
    _, record = _apply(copies, context, macs=0.97)
    assert list(record.done["units"].values())[0][0] == 8 and len(record.done["units"]) == 1
    assert any("has more than 50 inputs" in each.why for each in record.declined)


def test_refits_are_compared_on_other_samples_when_there_is_only_one_part(copies, context):
    graph, _, _ = _groups(copies)
    layers = find_layers(graph)
    data = replace(context.data, train=None, validation=None)
    settings = engine.FileSettings("reconstruct", 0.9, "global", 1, 0.9, 1000, 16, ())
    work = engine._Work(settings, graph, layers, replace(context, data=data))
    fitted, checked = (
        {sample.tobytes() for feed in feeds for batch in feed.values() for sample in batch}
        for feeds in (work._feeds, work._checked)
    )
    assert fitted and checked and not fitted & checked


def test_held_out_samples_join_the_fit_when_both_choices_are_made(copies, context):
    data = replace(context.data, train=None, validation=None)
    _, record = _apply(copies, replace(context, data=data), macs=0.72, max_ratio=0.5, samples=1000)
    assert record.done["reconstruction"]["samples"] == record.done["samples"] == len(data.calibration)


def test_weights_stay_when_they_are_held_by_the_ridge_that_was_chosen(copies, monkeypatch):
    cut, feeds = _cut(copies)
    before = [weight_of(cut.pruned, layer) for layer in find_layers(cut.pruned)]
    monkeypatch.setattr("compress.pruning.folds.Folds.ridge", lambda *_, **__: 1e9)
    refitting.refit_layers(cut, feeds)
    for layer, weights in zip(find_layers(cut.pruned), before, strict=True):
        np.testing.assert_allclose(weight_of(cut.pruned, layer), weights, rtol=1e-3, atol=1e-4)


def test_layer_before_a_relu_is_fitted_to_what_lies_behind_it(copies, monkeypatch):
    fitted = []

    def noted(limits, *args, **kwargs):
        fitted.append(limits)
        return refit_before(limits, *args, **kwargs)

    monkeypatch.setattr(refitting, "refit_before", noted)
    cut, feeds = _cut(copies)
    refitting.refit_layers(cut, feeds)
    # Behind the depthwise convolution and behind the first layer of the MLP.
    assert fitted == [Limits(0.0, np.inf)] * 2


def test_layer_is_not_refitted_when_it_has_fewer_than_two_rows_per_input(copies):
    cut, feeds = _cut(copies)
    refits = list(refitting.refit_layers(cut, feeds).values())
    # The head reads 6 numbers, once per sample.
    assert refits[-1].before == refits[-1].after
    assert all(each.after < each.before for each in refits[:-1])


def test_no_sample_is_fed_twice_when_the_batch_of_the_file_is_fixed(copies, context):
    graph, _, _ = _groups(copies)
    graph.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16
    padded, whole = (Feeds(context, graph.model, 40, 8, "reconstruct", whole=only) for only in (False, True))
    fed = [[sample.tobytes() for feed in feeds for sample in next(iter(feed.values()))] for feeds in (padded, whole)]
    assert (len(fed[0]), len(set(fed[0])), padded.samples) == (48, 40, 40)
    assert (len(fed[1]), len(set(fed[1])), whole.samples) == (32, 32, 32)
    settings = engine.FileSettings("reconstruct", 0.9, "global", 1, 0.9, 40, 8, ())
    work = engine._Work(settings, graph, find_layers(graph), context)
    assert work._feeds.samples == 32
