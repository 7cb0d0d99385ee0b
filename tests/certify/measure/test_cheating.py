"""Real files that cheat, observed as a measurement observes them: each trips the one guard that is there for it.

What a file or a session shows is real; windows and predictions, on which these guards do not look, are made up and
honest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.data.preprocess import Preprocess
from certify.evidence import Evidence, Workload
from certify.judge.edition import Edition
from certify.judge.grade import grade
from certify.judge.guards import GUARDS
from certify.judge.profile import derive
from certify.measure import observe, runtimes
from certify.measure.client import Worker
from certify.measure.experiment import save_inputs
from certify.measure.plan import Plan
from certify.measure.runtimes.base import SessionOptions
from certify.measure.runtimes.onnxruntime_base import OnnxRuntime
from certify.measure.subject import Subject, session_facts, session_settings, subject

RUNTIME = "onnxruntime-cpu"
Observed = Mapping[str, Mapping[str, Any]]
Edit = Callable[[onnx.ModelProto], None]


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def put(model: onnx.ModelProto, **arrays: np.ndarray) -> None:
    """Set or add weights."""
    for name, array in arrays.items():
        kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, numpy_helper.from_array(array, name)])


def insert(model: onnx.ModelProto, after: str, *nodes: onnx.NodeProto) -> None:
    """Put nodes behind the node of a name; who read its output reads the last one's."""
    place = next(i for i, node in enumerate(model.graph.node) if node.name == after)
    output = model.graph.node[place].output[0]
    for node in model.graph.node[place + 1 :]:
        node.input[:] = [nodes[-1].output[0] if name == output else name for name in node.input]
    rest = [*nodes, *model.graph.node[place + 1 :]]
    del model.graph.node[place + 1 :]
    model.graph.node.extend(rest)


HALF = np.arange(32) < 16


def zeroed(model: onnx.ModelProto) -> None:
    put(model, w2=weights(model)["w2"] * HALF[:, None, None, None])


def half_zero(model: onnx.ModelProto) -> None:
    zeroed(model)
    put(model, w1=weights(model)["w1"] * HALF[:, None, None, None])


def nearly_zeroed(model: onnx.ModelProto) -> None:
    put(model, w2=(weights(model)["w2"] * np.where(HALF, 1, 1e-12)[:, None, None, None]).astype(np.float32))


def multiplied(model: onnx.ModelProto) -> None:
    put(model, mask=HALF.astype(np.float32).reshape(1, 32, 1, 1))
    insert(model, "relu2", helper.make_node("Mul", ["r2", "mask"], ["masked"], name="mul"))


def cancelled(model: onnx.ModelProto) -> None:
    """A whole branch that is computed and then multiplied by nothing."""
    put(model, nothing=np.float32(0), w4=weights(model)["w2"] + 1)
    branch = [
        helper.make_node("Conv", ["r1", "w4"], ["c4"], name="conv4", pads=[1] * 4),
        helper.make_node("Mul", ["c4", "nothing"], ["m4"], name="mul4"),
        helper.make_node("Add", ["c2", "m4"], ["a4"], name="add4"),
    ]
    insert(model, "conv2", *branch)


def selected(model: onnx.ModelProto) -> None:
    put(model, keep=np.broadcast_to(HALF.reshape(1, 32, 1, 1), (1, 32, 32, 32)).copy(), nothing=np.float32(0))
    insert(model, "relu1", helper.make_node("Where", ["keep", "r1", "nothing"], ["masked"], name="where"))


def scored(model: onnx.ModelProto) -> None:
    """The mask is computed from importance scores inside the graph, as a pruning method in training does it."""
    put(model, importance=np.linspace(1, 0, 32, dtype=np.float32).reshape(32, 1, 1, 1), threshold=np.float32(0.5))
    for node in model.graph.node:
        node.input[:] = ["w2_masked" if name == "w2" else name for name in node.input]
    made = [
        helper.make_node("Greater", ["importance", "threshold"], ["chosen"], name="greater"),
        helper.make_node("Cast", ["chosen"], ["chosen_float"], name="cast", to=1),
        helper.make_node("Mul", ["w2", "chosen_float"], ["w2_masked"], name="mask_weight"),
    ]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*made, *rest])


MASKS: dict[str, Edit] = {
    "zeros in the weights": zeroed,
    "weights too small to matter": nearly_zeroed,
    "a factor behind the activation": multiplied,
    "a constant condition": selected,
    "a mask computed from scores": scored,
}


@dataclass(frozen=True)
class Court:
    """Judges what is observed of candidates against the small float net.

    Attributes:
        folder: where files are written.
        pair: the honest pair.
        baseline: what is observed of the baseline.
        make_evidence: the builder of honest evidence.
        edition: by which it is judged.
    """

    folder: Path
    pair: Any
    baseline: Observed
    make_evidence: Callable[..., Evidence]
    edition: Edition

    def edited(self, edit: Edit) -> Path:
        """A copy of the baseline that was tampered with; it still runs."""
        model = onnx.load(str(self.pair.baseline))
        edit(model)
        onnx.checker.check_model(model, full_check=True)
        path = self.folder / "candidate.onnx"
        onnx.save(model, str(path))
        return path

    def judge(self, observed: Observed, **header: Any) -> dict[str, str]:
        """Outcome of every guard, with what was observed of the candidate."""
        told = {name: {"baseline": self.baseline[name], "candidate": values} for name, values in observed.items()}
        return self.outcomes(told, **header)

    def outcomes(self, told: Mapping[str, Any], **header: Any) -> dict[str, str]:
        evidence = self.make_evidence(observations=told, header=header)
        profile = derive(evidence, self.edition)
        failed = [guard for guard in profile.guards if guard.outcome == "fail"]
        refused = grade(profile, self.edition)
        for guard in failed:
            assert any(guard.name in reason and guard.sentence[1:] in reason for reason in refused.reasons)
        return {guard.name: guard.outcome for guard in profile.guards if guard.outcome != "pass"}


def look(path: Path, contract: Preprocess, folder: Path, arm: str, width: int = 4) -> dict[str, Any]:
    """Everything that a measurement observes of one file, by name."""
    model = subject(arm, path, contract, 1, folder)
    graphs = observe.graphs([model], RUNTIME, 1, folder)
    found = [*graphs, observe.interfaces([model], {arm: width}, 1)]
    return {observation.name: observation.values[arm] for observation in found}


@pytest.fixture(scope="module")
def court(small_pair, make_evidence, edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Court:
    folder = tmp_path_factory.mktemp("court")
    baseline = look(small_pair.baseline, small_pair.contract, folder, "baseline")
    return Court(folder, small_pair, baseline, make_evidence, edition)


def test_no_guard_is_tripped_when_the_pair_is_honest(court: Court) -> None:
    pair = court.pair
    assert court.judge(look(pair.candidate, pair.contract, court.folder, "candidate")) == {}


@pytest.mark.parametrize("mask", MASKS)
def test_channels_removed_fails_alone_when_channels_are_masked_by(mask: str, court: Court) -> None:
    path = court.edited(MASKS[mask])
    assert court.judge(look(path, court.pair.contract, court.folder, "candidate")) == {"channels_removed": "fail"}


@pytest.mark.parametrize("padding", [half_zero, cancelled])
def test_channels_removed_fails_alone_when_the_baseline_is_padded(padding: Edit, court: Court) -> None:
    found = look(court.edited(padding), court.pair.contract, court.folder, "baseline")
    told = {name: {"baseline": values, "candidate": court.baseline[name]} for name, values in found.items()}
    assert court.outcomes(told) == {"channels_removed": "fail"}


def test_same_task_fails_alone_when_the_baseline_computes_what_nobody_reads(court: Court) -> None:
    def more(model: onnx.ModelProto) -> None:
        put(model, w4=weights(model)["w2"])
        insert(model, "relu1", helper.make_node("Conv", ["r1", "w4"], ["unread"], name="conv4", pads=[1] * 4))
        for node in model.graph.node:
            if node.name == "conv2":
                node.input[0] = "r1"
        shape = ["batch", 32, 32, 32]
        model.graph.output.append(helper.make_tensor_value_info("unread", onnx.TensorProto.FLOAT, shape))

    found = look(court.edited(more), court.pair.contract, court.folder, "baseline")
    told = {name: {"baseline": values, "candidate": court.baseline[name]} for name, values in found.items()}
    assert court.outcomes(told) == {"same_task": "fail"}


def test_channels_removed_fails_alone_when_scales_silence_quantized_channels(court: Court) -> None:
    model = onnx.load(str(court.pair.candidate))
    dequantize = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0].startswith("w2"))
    scale = dequantize.input[1]
    put(model, **{scale: (weights(model)[scale] * np.where(HALF, 1, 1e-20)).astype(np.float32)})
    path = court.folder / "scales.onnx"
    onnx.save(model, str(path))
    found = look(path, court.pair.contract, court.folder, "candidate")
    assert court.judge(found) == {"channels_removed": "fail"}


def test_quantization_fused_fails_alone_when_the_runtime_leaves_pairs_apart(court: Court) -> None:
    """The outputs of the convolutions are never quantized, so that they run in float on integers made floats again."""
    model = onnx.load(str(court.pair.candidate))
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    skipped: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in convolutions:
            skipped[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in skipped:
            skipped[node.output[0]] = skipped[node.input[0]]
        else:
            node.input[:] = [skipped.get(name, name) for name in node.input]
            kept.append(node)
    assert skipped
    del model.graph.node[:]
    model.graph.node.extend(kept)
    path = court.folder / "apart.onnx"
    onnx.save(model, str(path))
    found = look(path, court.pair.contract, court.folder, "candidate")
    assert found["quantization"]["fused"] < found["quantization"]["intended"]
    assert court.judge(found) == {"quantization_fused": "fail"}


def test_same_task_fails_alone_when_the_output_is_shorter(court: Court) -> None:
    def halve(model: onnx.ModelProto) -> None:
        old = weights(model)
        put(model, w3=old["w3"][:2], b3=old["b3"][:2])
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2

    path = court.edited(halve)
    width = onnx.load(str(path)).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    found = look(path, court.pair.contract, court.folder, "candidate", width)
    assert court.judge(found) == {"same_task": "fail"}


def test_same_task_fails_alone_when_pictures_are_made_smaller(court: Court) -> None:
    """The contract, which the candidate brings itself, halves the picture before anything is measured."""

    def shrink(model: onnx.ModelProto) -> None:
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 16
        pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
        for attribute in pool.attribute:
            attribute.ints[:] = [8, 8]

    path = court.edited(shrink)
    contract = replace(court.pair.contract, height=16, width=16)
    assert court.judge(look(path, contract, court.folder, "candidate")) == {"same_task": "fail"}


def test_same_task_fails_alone_when_colours_are_dropped(court: Court) -> None:
    def grey(model: onnx.ModelProto) -> None:
        put(model, w1=weights(model)["w1"].sum(axis=1, keepdims=True))
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1

    contract = replace(court.pair.contract, colour="L", mean=(0.0,), std=(0.5,))
    assert court.judge(look(court.edited(grey), contract, court.folder, "candidate")) == {"same_task": "fail"}


def sessions(pair: Any, threads: tuple[int, int], graph_optimization: tuple[str, str]) -> dict[str, Any]:
    """Facts of real sessions of both models."""
    facts = {}
    for arm, path, count, level in zip(
        ("baseline", "candidate"), (pair.baseline, pair.candidate), threads, graph_optimization, strict=True
    ):
        settings = session_settings(RUNTIME, count, pair.contract.input_name, pair.contract.output_name)
        with Worker(arm, path, {**settings, "graph_optimization": level}) as worker:
            facts[arm] = session_facts(worker)
    return dict(observe.sessions(facts, {}, RUNTIME).values)


@pytest.mark.parametrize(
    ("threads", "levels", "tripped"),
    [
        ((2, 2), ("all", "all"), {}),
        ((2, 2), ("none", "all"), {"baseline_at_best_settings": "fail"}),
        ((1, 2), ("all", "all"), {"baseline_at_best_settings": "fail"}),
    ],
    ids=["honest", "graph optimisation off", "another number of threads"],
)
def test_baseline_at_best_settings_fails_alone_when_its_session_is_slowed(
    threads: tuple[int, int], levels: tuple[str, str], tripped: dict[str, str], court: Court
) -> None:
    assert court.outcomes({"sessions": sessions(court.pair, threads, levels)}) == tripped


class _Elsewhere(OnnxRuntime):
    """A provider that has a kernel for nothing in these nets: the library puts every node on the processor."""

    provider = "AzureExecutionProvider"
    own_providers = frozenset({"AzureExecutionProvider"})


@pytest.fixture
def own_affinity() -> Iterator[None]:
    """A session opened in this process pins it."""
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("own_affinity")
def test_one_device_fails_alone_when_nodes_fall_back(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _Elsewhere()
    if runtime.unavailable():
        pytest.skip("this build of onnxruntime has no provider beside the processor's")
    monkeypatch.setattr(runtimes, "get", lambda name: runtime)
    contract = court.pair.contract
    options = SessionOptions(contract.input_name, contract.output_name, 2, (min(os.sched_getaffinity(0)),) * 2)
    facts, costs = {}, {}
    for arm, path in (("baseline", court.pair.baseline), ("candidate", court.pair.candidate)):
        session = runtime.open(path, replace(options, profile=True))
        session.run(session.prepare(contract.batch(court.pair.dataset.test, [0])))
        facts[arm], costs[arm] = session.facts(), {"places": observe.places(session.nodes())}
    told = dict(observe.sessions(facts, costs, "elsewhere").values)
    workload = Workload(RUNTIME, "1", runtime.provider, 1, 2, 2)
    assert court.outcomes({"sessions": told}, workload=workload) == {"one_device": "fail"}
    assert told["candidate"]["elsewhere"]


def inputs(court: Court, pixels: np.ndarray) -> dict[str, Any]:
    """What is observed of the inputs that the windows of both models would go through."""
    dataset = replace(court.pair.dataset, test=Split(ArraySource(pixels), np.arange(len(pixels)) % 4))
    models = [
        subject(arm, court.pair.baseline, court.pair.contract, 1, court.folder) for arm in ("baseline", "candidate")
    ]
    return {"inputs": observe.inputs(save_inputs(models, dataset, Plan())).values}


RANDOM = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
PICTURES = np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None] // 2 + RANDOM // 4


@pytest.mark.parametrize(
    ("pixels", "tripped"),
    [
        (PICTURES, {}),
        (np.zeros_like(RANDOM), {"inputs_real": "fail"}),
        (RANDOM, {"inputs_real": "fail"}),
        (np.repeat(PICTURES[:1], 64, axis=0), {"inputs_real": "fail"}),
    ],
    ids=["pictures", "zeros", "random numbers", "one picture again and again"],
)
def test_inputs_real_fails_alone_when_inputs_are(pixels: np.ndarray, tripped: dict[str, str], court: Court) -> None:
    assert court.outcomes(inputs(court, pixels)) == tripped


@pytest.mark.parametrize("part", ["train", "calibration", "validation"])
def test_test_unseen_fails_alone_when_a_part_holds_test_samples(part: str, court: Court) -> None:
    rng = np.random.default_rng(1)
    others = {
        name: Split(ArraySource(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)), np.arange(8) % 4)
        for name in ("train", "calibration", "validation")
    }
    honest: Dataset = replace(court.pair.dataset, **others)
    told = {observation.name: observation.values for observation in observe.data(honest)}
    assert court.outcomes(told) == {}
    seen = replace(honest, **{part: honest.test.subset([0, 1, 2])})
    told = {observation.name: observation.values for observation in observe.data(seen)}
    assert court.outcomes(told) == {"test_unseen": "fail"}


def test_every_guard_against_fake_savings_has_a_real_cheat_here() -> None:
    """The others judge the machine and the meter, which no file can touch."""
    against = {"quantization_fused", "channels_removed", "one_device", "same_task", "baseline_at_best_settings",
               "inputs_real", "test_unseen"}  # fmt: skip
    told = Path(__file__).read_text()
    assert against <= set(GUARDS)
    assert all(f"test_{name}_fails_alone" in told for name in against)


def test_subject_reads_the_same_facts_when_channels_are_only_masked(court: Court) -> None:
    """What a mask can't change: multiply-adds, parameters and bytes moved stay those of the whole net."""
    found: list[Subject] = [
        subject("candidate", path, court.pair.contract, 1, court.folder)
        for path in (court.pair.baseline, court.edited(zeroed))
    ]
    assert found[0].facts.macs == found[1].facts.macs
    assert found[0].facts.bytes_moved == found[1].facts.bytes_moved
