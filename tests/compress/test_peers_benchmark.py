"""The arithmetic of the benchmark beside other toolkits: turns, verdicts, and times refused on a busy machine."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from certify.core.windows import Window
from certify.data.array_contract import ArrayPreprocess
from certify.data.contract_slot import normalise
from certify.measure.host import Snapshot
from certify.model_file.model_file import open_model

BENCHMARKS = str(Path(__file__).resolve().parents[1] / "benchmarks")
PARTS = ("compare", "finished", "job", "limit", "makers", "making", "page", "scores", "times", "verdicts")


@pytest.fixture(scope="module")
def bench():
    """The benchmark's parts, imported as its own folder is."""
    sys.path.insert(0, BENCHMARKS)
    yield SimpleNamespace(**{name: importlib.import_module(f"peer_bench.{name}") for name in PARTS})
    sys.path.remove(BENCHMARKS)


def window(name: str, milliseconds: float, foreign: float | None) -> Window:
    host = {"foreign_cpu_share": foreign}
    return Window(
        "main", 1, 0, 0, name, 1, 10, 0.0, milliseconds / 100, milliseconds / 200, milliseconds / 1e4, {}, host
    )


def made(bench, name: str, **facts: object):
    known = {"file": Path("model.onnx"), "bytes": 1000, "wall_s": 5.0, "cpu_s": 4.0, "peak_bytes": 100 * 2**20}
    own = name.startswith("leanmark")
    return bench.making.Artifact(name, name, own=own, **{**known, "version": "1", "foreign_cores": 0.0, **facts})


def score(bench, right: int, of: int = 1000):
    labels = np.zeros(of, dtype=int)
    found = np.tile([0.0, 1.0], (of, 1))
    found[:right] = [1.0, 0.0]
    return bench.scores.score(found, np.tile([1.0, 0.0], (of, 1)), labels)


@pytest.mark.parametrize(("files", "blocks"), [(2, 1), (3, 2), (5, 3)])
def test_order_gives_every_file_the_same_mean_place(bench, files: int, blocks: int) -> None:
    names = list(range(files))
    order = bench.times.order(names, blocks, seed=3)
    assert len(order) == 2 * files * blocks
    places = {name: np.flatnonzero(np.array(order) == name) for name in names}
    assert {len(found) for found in places.values()} == {2 * blocks}
    assert len({found.mean() for found in places.values()}) == 1


@pytest.mark.parametrize(
    ("own", "peer", "word"),
    [
        ((0.9, 0.8, 1.0), (1.0, 0.95, 1.1), "first"),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "first"),
        ((1.3, 0.9, 1.4), (1.0, 0.8, 1.0), "level"),
        ((1.3, 1.0, 1.4), (1.0, 0.8, 1.0), "level"),
        ((1.05, 1.04, 1.06), (1.0, 0.99, 1.01), "level"),
        ((1.06, 1.05, 1.07), (1.0, 0.99, 1.01), "behind"),
    ],
)
def test_cost_verdict_is_level_if_ranges_overlap_or_lie_within_five_percent(bench, own, peer, word: str) -> None:
    verdicts = bench.verdicts
    found = verdicts.cost_verdict(verdicts.Range(*own), verdicts.Range(*peer))
    assert found.word == word and found.by == pytest.approx(own[0] / peer[0])


@pytest.mark.parametrize(("own", "peer", "word"), [(5, 0, "first"), (0, 0, "first"), (4, 6, "level"), (0, 9, "behind")])
def test_share_verdict_is_behind_only_if_the_paired_interval_excludes_0(bench, own: int, peer: int, word: str) -> None:
    """Of 1,000 samples, ``own`` only the first file got right, ``peer`` only the second."""
    first, second = np.ones(1000, dtype=bool), np.ones(1000, dtype=bool)
    second[:own], first[own : own + peer] = False, False
    found = bench.verdicts.share_verdict(first, second)
    assert found.word == word and found.by == pytest.approx((own - peer) / 1000)


@pytest.mark.parametrize(
    ("cores", "refused"),
    [([0.0, 0.0], False), ([0.1, 0.1], False), ([0.0, 0.11], True), ([0.0, None], True)],
)
def test_times_are_refused_if_the_neighbours_of_any_file_used_a_tenth_of_a_core(bench, cores, refused: bool) -> None:
    assert (bench.verdicts.refusal(cores) is not None) == refused


def test_unknown_use_by_others_is_not_taken_for_quiet(bench) -> None:
    assert bench.verdicts.foreign_cores([0.01, None], 2) is None
    assert bench.verdicts.foreign_cores([], 2) is None


def test_summary_gives_medians_with_extremes_when_the_machine_is_quiet(bench) -> None:
    windows = {"float": [window("float", ms, 0.01) for ms in (4.0, 2.0, 3.0)]}
    found = bench.times.summary("onnxruntime-cpu", 1, 1, windows, {}, processors=2)
    assert found.refused is None and found.foreign_cores == pytest.approx(0.02)
    taken = found.times["float"]
    assert (taken.wall_ms.median, taken.wall_ms.low, taken.wall_ms.high) == pytest.approx((3.0, 2.0, 4.0))
    assert taken.cpu_ms.median == pytest.approx(1.5) and taken.energy_mj.median == pytest.approx(0.03)


def test_summary_gives_no_time_when_one_file_had_busy_neighbours(bench) -> None:
    windows = {"float": [window("float", 3.0, 0.0)] * 4, "leanmark": [window("leanmark", 1.0, 0.06)] * 4}
    found = bench.times.summary("onnxruntime-cpu", 1, 1, windows, {}, processors=2)
    assert found.times == {} and "0.12 of a core" in found.refused


class Neighbours:
    """Counters of a machine of two processors, of which others use so many cores in each second between readings."""

    def __init__(self, *cores: float) -> None:
        busy_s = np.repeat(np.cumsum(cores), 2)[:-1] if len(cores) > 1 else np.array([])
        self._busy_s = iter([0.0, *busy_s, float(sum(cores))])
        self._time_s = -1.0

    def snapshot(self) -> Snapshot:
        self._time_s += 1.0
        return Snapshot(self._time_s, 0.0, next(self._busy_s), 2 * self._time_s, 2, None, None, None)


def test_probe_waits_until_the_neighbours_stop(bench, monkeypatch) -> None:
    monkeypatch.setattr(bench.times, "PROBE_S", 0.0)
    assert bench.times.quiet(60.0, Neighbours(1.0, 1.0, 0.0)) is None


def test_probe_gives_up_after_the_wait(bench, monkeypatch) -> None:
    monkeypatch.setattr(bench.times, "PROBE_S", 0.0)
    assert "used 1.00 of a core" in bench.times.quiet(0.0, Neighbours(1.0))


def compared(bench, groups=(), **facts: object):
    files = made(bench, "float"), made(bench, "leanmark", **facts), made(bench, "ort-best"), made(bench, "nncf-onnx")
    job = bench.job.Job("resnet20", Path("jobs"), ("input",), "logits", 10, "int8", False, True, macs=500_000_000)
    right = {"float": 1000, "leanmark": 950, "ort-best": 990, "nncf-onnx": 900}
    scores = {("onnxruntime-cpu", name): score(bench, count) for name, count in right.items()}
    return bench.compare.Comparison(job, files, scores, groups, {1: {"int8": 500.0, "fp32": 200.0}})


def test_losing_rows_stay_in_the_page(bench) -> None:
    text = bench.page.markdown({"date": "today"}, [compared(bench, bytes=1100)])
    assert "| accuracy | onnxruntime-cpu | ort-best | behind | -4.00 points |" in text
    assert "| accuracy | onnxruntime-cpu | nncf-onnx | first | +5.00 points |" in text
    assert "| bytes | – | ort-best | behind | 1.10 times the peer's |" in text
    assert "Rows in which a peer is ahead: 3." in text


def test_busy_machine_leaves_everything_but_times_in_the_page(bench) -> None:
    refused = bench.times.Group("onnxruntime-cpu", 1, 1, {}, "other processes used 2.00 of a core", {})
    found = compared(bench, [refused], foreign_cores=1.5)
    text = bench.page.markdown({}, [found])
    assert "| onnxruntime-cpu | 1 | 1 | all | not measured: other processes used 2.00 of a core |" in text
    assert (
        "| leanmark |  | 1 | 1,000 | 5.0† | 4.0† | 100 |" in text
        and "| ort-best |  | 1 | 1,000 | 5.0 | 4.0 | 100 |" in text
    )
    assert "95.00 [93.47, 96.19]" in text
    kept = json.loads(json.dumps(bench.page.as_json({}, [found])))
    assert kept["models"][0]["times"][0]["times"] == {}
    assert [row["verdict"] for row in kept["models"][0]["places"] if row["figure"].startswith("time")] == [None]


def test_time_is_compared_with_every_peer_and_with_the_float_file(bench) -> None:
    times = {"float": 8.0, "leanmark": 4.0, "ort-best": 3.0, "nncf-onnx": 5.0}
    windows = {name: [window(name, ms, 0.0)] * 2 for name, ms in times.items()}
    found = compared(bench, [bench.times.summary("onnxruntime-cpu", 1, 1, windows, {}, 2)])
    words = {row.peer: row.verdict.word for row in bench.compare.rows(found) if row.figure.startswith("time")}
    assert words == {"float": "first", "ort-best": "behind", "nncf-onnx": "first"}
    text = bench.page.markdown({}, [found])
    assert "| 4.000 [4.000, 4.000] | 2.000 [2.000, 2.000] | ~0.04 | 50% |" in text  # 250 of 500 GOPS


def test_file_for_openvino_gives_way_to_the_other_when_it_was_declined(bench) -> None:
    declined = made(bench, "leanmark-openvino", file=None, why_not="declined: slower")
    found = compared(bench)
    with_declined = bench.compare.Comparison(found.job, (*found.artifacts, declined), {})
    assert with_declined.own("openvino") == "leanmark"
    whole = bench.compare.Comparison(found.job, (*found.artifacts, made(bench, "leanmark-openvino")), {})
    assert whole.own("openvino") == "leanmark-openvino" and whole.own("onnxruntime-cpu") == "leanmark"


def test_file_for_amx_counts_in_onnx_runtime_alone(bench) -> None:
    found = compared(bench)
    whole = bench.compare.Comparison(found.job, (*found.artifacts, made(bench, "leanmark-amx")), {})
    assert whole.own("onnxruntime-cpu") == "leanmark-amx" and whole.own("openvino") == "leanmark"


@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "amx_int8"}])
def test_maker_for_amx_needs_a_processor_with_it(bench, monkeypatch, flags: set[str]) -> None:
    monkeypatch.setattr(bench.makers, "processor_flags", lambda: flags)
    why = "not made: this processor has no amx_int8"
    assert bench.makers.MAKERS["leanmark-amx"].missing() == (None if "amx_int8" in flags else why)


def test_maker_without_its_package_becomes_a_row(bench) -> None:
    maker = bench.makers.Maker("Absent", "absent", "no_such_module", lambda job, out: out, hint=" (of old)")
    assert maker.missing() == "not made: the package absent is not installed here (of old)"


def test_plot_shows_every_scored_file(bench) -> None:
    drawn = bench.page.svg(compared(bench), "onnxruntime-cpu")
    assert drawn.startswith("<svg") and "95.0 %" in drawn and "nncf-onnx" in drawn
    assert bench.page.svg(compared(bench), "openvino") is None


def product(widths: tuple[int, ...], path: Path) -> None:
    """A file of matrix products from ``x`` to ``y``."""
    weights = [np.eye(a, b, dtype=np.float32) for a, b in zip(widths, widths[1:], strict=False)]
    names = ["x", *(f"h{place}" for place in range(1, len(weights))), "y"]
    nodes = [onnx.helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(len(weights))]
    tensors = [onnx.numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    ends = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", widths[0]), ("y", widths[-1]))
    ]
    graph = onnx.helper.make_graph(nodes, "products", *ends, tensors)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


def test_finished_job_gives_both_files_and_the_test_part(bench, tmp_path) -> None:
    contract = ArrayPreprocess(("x",), ((8,),), ("float32",), "y", "logits")
    done, scratch = tmp_path / "done", tmp_path / "scratch"
    done.mkdir()
    for name, inner in (("baseline.onnx", 8), ("model.onnx", 4)):
        product((8, inner, 3), tmp_path / name)
        normalise(tmp_path / name, done / name, contract)
    (done / "lineage.json").write_text(json.dumps({"recipe": {"name": "balanced", "passes": ["structured_prune"]}}))
    samples, labels = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32), np.arange(30) % 3
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", x=samples, y=labels)
    spec = f"arrays:train={tmp_path}/train.npz,test={tmp_path}/test.npz"
    folder, read = bench.finished.parse(f"{done}={spec}")
    job, made = bench.finished.prepare(folder, read, scratch)
    assert (job.model, job.classes, job.trained, made.settings) == (
        "done",
        3,
        True,
        "recipe balanced: structured_prune",
    )
    assert (job.macs, made.macs) == (88, 44)
    assert job.float_file.read_bytes() == (done / "baseline.onnx").read_bytes() and made.file == done / "model.onnx"
    assert np.array_equal(job.samples("test"), samples) and np.array_equal(job.labels("test"), labels)


@pytest.mark.parametrize("text", ["build", "build=", "no-such-folder=mnist5k"])
def test_finished_job_without_data_or_files_is_refused(bench, text: str) -> None:
    with pytest.raises(ValueError, match="FOLDER=DATA|leanmark compress first"):
        bench.finished.parse(text)


def test_share_of_the_limit_counts_what_is_left_of_a_pruned_file(bench) -> None:
    windows = {name: [window(name, ms, 0.0)] * 2 for name, ms in {"float": 8.0, "leanmark": 4.0}.items()}
    found = compared(bench, [bench.times.summary("onnxruntime-cpu", 1, 1, windows, {}, 2)], macs=250_000_000)
    assert "| 4.000 [4.000, 4.000] | 2.000 [2.000, 2.000] | ~0.04 | 25% |" in bench.page.markdown({}, [found])


@pytest.mark.parametrize("kind", ["gemm", "conv"])
@pytest.mark.parametrize("form", ["float", "int8"])
def test_chain_of_the_limit_has_the_stated_multiply_adds(bench, kind: str, form: str, tmp_path) -> None:
    path = tmp_path / "chain.onnx"
    model = bench.limit.chain(kind, form)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    contract = ArrayPreprocess(("input",), (bench.limit.SHAPES[kind],), ("float32",), "output", "logits")
    with open_model(path) as file:
        assert file.counts(contract).macs == bench.limit.MACS[kind]


def test_limit_is_the_best_rate_of_each_precision(bench) -> None:
    def group(runtime: str, **milliseconds: float):
        windows = {name: [window(name, ms, 0.0)] for name, ms in milliseconds.items()}
        return bench.times.summary(runtime, 1, 1, windows, {}, 2)

    macs = bench.limit.MACS
    found = {
        "gemm": [group("onnxruntime-cpu", float=20.0, int8=5.0), group("openvino", float=10.0, int8=10.0)],
        "conv": [group("onnxruntime-cpu", float=100.0, int8=50.0)],
    }
    assert bench.limit.best(found) == pytest.approx({"fp32": 2 * macs["gemm"] / 1e7, "int8": 2 * macs["gemm"] / 5e6})
