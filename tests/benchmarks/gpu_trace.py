"""Joules of ResNet-50 in FP32, in FP16 and pruned on an NVIDIA GPU, and quality of its energy counter.

Run ``python tests/benchmarks/gpu_trace.py [--blocks 10] [--batch 1] [--out build/gpu_trace]``. It prints the update
interval of the energy counter, its agreement with integrated power, and a Markdown table; it writes the table and a
trace for ``--meter replay:PATH``. Without a GPU it prints a message. The models' weights are random, so only energy and
time are meaningful. ``--runtime onnxruntime-cpu --meter vcpu-watts --quick`` is a trial run without a GPU.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _bench import LeftOut, options, run
from null_runs import CONTRACT

from certify.assessments.efficiency.edition import load_edition
from certify.core.errors import LeanmarkError
from certify.core.estimate import EvidenceLevel
from certify.core.statistics.ratio import ratio_estimate
from certify.data.arrays import ArraySource
from certify.data.dataset import Split
from certify.measure import meters, runtimes, yardstick
from certify.measure.client import Worker
from certify.measure.machine import describe
from certify.measure.meters.base import Meter, Usage
from certify.measure.meters.nvml import Nvml
from certify.measure.meters.trace import TraceWindow, TraceWriter
from certify.measure.model_under_test import session_settings
from certify.measure.windows import SETTLE_S, Running, warm_up

RUNTIMES = ("onnxruntime-cuda", "torch-cuda")
CLASSES = 1000
PRUNED_MACS = 0.5
TICK_S = 3.0


def networks() -> dict[str, Any]:
    """ResNet-50 with random weights, the same in FP16 behind FP32 input and output, and with half its multiply-adds."""
    import torch
    import torchvision

    from compress.core.context import PassContext, PassData
    from compress.core.targets import choose
    from compress.passes.structured_prune import StructuredPrune

    class Half(torch.nn.Module):
        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.net = copy.deepcopy(net).half()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images.half()).float()

    torch.manual_seed(0)
    net = torchvision.models.resnet50(weights=None, num_classes=CLASSES).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (8, yardstick.SIDE, yardstick.SIDE, 3), dtype=np.uint8)
    split = Split(ArraySource(pixels), np.zeros(len(pixels), dtype=np.int64))
    data = PassData("noise", "noise", tuple(map(str, range(CLASSES))), split, split, split, (yardstick.SIDE,) * 2, None)
    pruned, record = StructuredPrune(macs=PRUNED_MACS).apply(net, PassContext(data, CONTRACT, choose(None)))
    if not record.changed:
        raise SystemExit(f"ResNet-50 was not pruned: {record.declined[0].why}.")
    return {"FP32": net, "FP16": Half(net), f"FP32, pruned to {PRUNED_MACS:g} of the MACs": pruned}


def files(runtime: str, folder: Path, batch: int) -> dict[str, tuple[Path, str]]:
    """The models as files that the runtime takes, and the name of each one's output."""
    return programs(folder, batch) if runtime == "torch-cuda" else onnx_files(folder)


def programs(folder: Path, batch: int) -> dict[str, tuple[Path, str]]:
    """Exported programs."""
    import torch

    found = {}
    example = torch.zeros(batch, 3, yardstick.SIDE, yardstick.SIDE)
    for number, (name, net) in enumerate(networks().items()):
        path = folder / f"{number}.pt2"
        program = torch.export.export(net, (example,))
        torch.export.save(program, path)
        found[name] = path, program.graph_signature.user_outputs[0]
    return found


def onnx_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """ONNX files; FP16 is made from the FP32 file by ONNX Runtime's own converter."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from compress.exchange.onnx_export import export

    found = {}
    for number, (name, net) in enumerate(networks().items()):
        path = folder / f"{number}.onnx"
        if name == "FP16":
            half = convert_float_to_float16(onnx.load(found["FP32"][0]), keep_io_types=True)
            onnx.save(half, path)
        else:
            export(net, CONTRACT, path, classes=CLASSES)
        found[name] = path, CONTRACT.output_name
    return found


@contextlib.contextmanager
def workers(
    runtime: str, models: dict[str, tuple[Path, str]], folder: Path, batch: int, window_s: float
) -> Iterator[dict[str, Running]]:
    """A warm worker for each model."""
    inputs = folder / "inputs.npy"
    np.save(inputs, np.concatenate([yardstick.images()] * batch))
    shape = (batch, 3, yardstick.SIDE, yardstick.SIDE)
    with contextlib.ExitStack() as live:
        running = {}
        for name, (path, output) in models.items():
            settings = session_settings(runtime, 1, CONTRACT.input_names, output, input_shape=shape)
            worker = live.enter_context(Worker(name, path, settings))
            worker.inputs(inputs, batch)
            running[name] = warm_up(worker, 1, window_s, 60.0)
        yield running


def measure(running: dict[str, Running], meter: Meter, blocks: int) -> Iterator[TraceWindow]:
    """Windows of all models in turn, there and back again in each block."""
    for _ in range(blocks):
        for name in (*running, *reversed(running)):
            one = running[name]
            time.sleep(SETTLE_S)
            meter.start()
            result = one.worker.window(one.inferences, one.inferences * one.inference_s)
            reading = meter.stop(Usage(result.duration_s, result.cpu_s))
            yield TraceWindow(
                result.duration_s, result.cpu_s, reading.energy_j, reading.raw, f"ResNet-50 {name}", one.inferences
            )


def ticks(meter: Nvml) -> str:
    """How often the energy counter moves, and by how much."""
    if meter.level is not EvidenceLevel.COUNTER:
        return "The GPU has no energy counter that moves; its power is integrated."
    moments, values = [], [meter.counter_mj()]
    end_s = time.perf_counter() + TICK_S
    while (now_s := time.perf_counter()) < end_s:
        if (value := meter.counter_mj()) != values[-1]:
            moments.append(now_s)
            values.append(value)
    waits = [1e3 * (b - a) for a, b in itertools.pairwise(moments)]
    steps = [b - a for a, b in itertools.pairwise(values)]
    if not waits:
        return f"The energy counter moved less than twice in {TICK_S:g} s."
    return (
        f"The energy counter moves every {statistics.median(waits):.1f} ms (from {min(waits):.1f} to {max(waits):.1f}, "
        f"{len(waits)} steps seen in {TICK_S:g} s), by {statistics.median(steps):.0f} mJ in between, idle."
    )


def agreement(windows: list[TraceWindow]) -> str:
    """Counter against integrated power, window by window."""
    both = [w.reading["counter_j"] / w.reading["integrated_j"] for w in windows if "counter_j" in w.reading]
    if not both:
        return "There was nothing to check the joules against."
    return (
        f"Counter against integrated power in {len(both)} windows: {statistics.mean(both):.4f} on average, from "
        f"{min(both):.4f} to {max(both):.4f}."
    )


def table(windows: list[TraceWindow], batch: int, level: EvidenceLevel) -> str:
    """A row a model, in Markdown; the ratio is paired by block."""
    labels = list(dict.fromkeys(window.label for window in windows))
    joules = {
        label: [w.energy_j / (w.inferences or 1) / batch for w in windows if w.label == label] for label in labels
    }
    blocks = {label: np.log(np.array(values).reshape(-1, 2).mean(axis=1)) for label, values in joules.items()}
    lines = [
        "| model | J per sample | against FP32 (95 %) | ms per inference | W | windows |",
        "|---|---|---|---|---|---|",
    ]
    for label in labels:
        own = [window for window in windows if window.label == label]
        seconds, inferences = sum(w.duration_s for w in own), sum(w.inferences or 0 for w in own)
        ratio = (
            ratio_estimate(blocks[label] - blocks[labels[0]], load_edition().plan, level)
            if label != labels[0]
            else None
        )
        against = "1" if ratio is None else f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        lines.append(
            f"| {label} | {statistics.mean(joules[label]):.4g} | {against} | {1e3 * seconds / inferences:.3g} | "
            f"{sum(w.energy_j for w in own) / seconds:.4g} | {len(own)} |"
        )
    return "\n".join(lines)


def usable(name: str | None) -> str | None:
    """The runtime that was asked for, or the first one for a GPU that can be used here."""
    return next((each for each in ([name] if name else RUNTIMES) if runtimes.get(each).unavailable() is None), None)


def main() -> None:
    """Measure, print and write."""
    parser = options(__doc__, "a few short windows")
    parser.add_argument("--blocks", type=int, default=10, help="two windows of each model in each")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runtime")
    parser.add_argument("--meter", default="nvml")
    parser.add_argument("--out", type=Path, default=Path("build/gpu_trace"))
    given = parser.parse_args()
    meter = meters.get(given.meter)
    if (reason := meter.unavailable()) is not None:
        raise LeftOut(f"there is no GPU whose energy can be read: {reason}")
    if (runtime := usable(given.runtime)) is None:
        raise LeftOut(f"none of {given.runtime or ', '.join(RUNTIMES)} can be used here.")
    window_s = 0.1 if given.quick else load_edition().plan.window_seconds(meter.name)
    lines = [ticks(meter)] if isinstance(meter, Nvml) else []
    given.out.mkdir(parents=True, exist_ok=True)
    trace = given.out / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    windows = []
    with tempfile.TemporaryDirectory() as name:
        models = files(runtime, Path(name), given.batch)
        with workers(runtime, models, Path(name), given.batch, window_s) as running:
            writer = TraceWriter(trace, meter.facts({}), meter.devices)
            for window in measure(running, meter, 3 if given.quick else given.blocks):
                writer.write(window)
                windows.append(window)
    machine = {**describe(), **runtimes.get(runtime).accelerator()}
    where = f"{machine.get('accelerator', machine['processor'])}, {runtime} {runtimes.get(runtime).version()}"
    lines += [agreement(windows), f"{where}, batch {given.batch}, {meter.facts({}).method}."]
    text = "\n\n".join([*lines, table(windows, given.batch, meter.level)]) + "\n"
    trace.with_suffix(".md").write_text(text)
    print(f"{text}\nTrace: {trace}")


if __name__ == "__main__":
    try:
        run(main)
    except LeanmarkError as error:
        raise SystemExit(str(error)) from error
