"""Width of the interval of an FP32 to int8 ResNet-50 ratio within a time limit, on this machine.

Run ``python tests/benchmarks/precision.py [--time-limit 120 300] [--quick]``; it prints the width, the number of
blocks, and the CPU share of other processes, and is not a test. The weights are the yardstick's, which are random.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from _bench import options, run
from int8_speed import TYPES, Images
from null_runs import CONTRACT, QUICK, share_of, yardstick_subject
from onnxruntime.quantization import QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from certify.assessments.efficiency.edition import load_edition
from certify.core.estimate import EvidenceLevel
from certify.core.statistics.ratio import block_log_ratios, ratio_estimate
from certify.measure import meters, runs, yardstick
from certify.measure.arms import Workers
from certify.measure.experiment import open_bench
from certify.measure.model_under_test import Subject, subject
from certify.measure.plan import Plan
from compress.core.targets import choose

TARGETS = {120.0: 0.05, 300.0: 0.03}
"""Half-width to aim at by time limit."""


def int8_subject(bench: runs.Bench) -> Subject:
    """The yardstick in int8, quantized as the pass does for this machine."""
    target, prepared, path = choose(None), Path(bench.folder, "prepared.onnx"), Path(bench.folder, "int8.onnx")
    logging.disable(logging.WARNING)
    quant_pre_process(str(yardstick.yardstick_file()), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        prepared, path, Images(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=target.reduce_range,
        activation_type=TYPES[target.activation_type], weight_type=TYPES[target.weight_type],
    )  # fmt: skip
    one = subject("candidate", path, CONTRACT, 1, bench.folder)
    np.save(one.inputs, yardstick.images())
    return one


def report(plan: Plan) -> None:
    """Measure once, and print one line."""
    edition = load_edition()
    with open_bench(plan, edition.plan, meters.choose("cpu"), None) as bench:
        arms = [runs.choose_threads(bench, model) for model in (yardstick_subject(bench), int8_subject(bench))]
        blocks = bench.blocks_a_start(arms)
        with Workers(arms, blocks) as workers:
            runs.main_run(bench, workers)
        main = bench.recorder.run("main")
        ratios = block_log_ratios(main, bench.quantity)
        ratio = ratio_estimate(ratios, edition.plan, EvidenceLevel.DIRECT, edition.plan.pilot_blocks)
    if ratio is None or ratios is None:
        print("No ratio: a window has no energy.")
        return
    reached, wanted = 100 * (ratio.high / ratio.value - 1), 100 * plan.wanted_half_width
    windows = main.windows
    took = windows[-1].start_s + windows[-1].duration_s - windows[0].start_s
    stolen, others = share_of(windows, "steal_share"), share_of(windows, "foreign_cpu_share")
    print(
        f"{plan.time_limit_s:.0f} s allowed, {took:.0f} s taken, {len(ratios)} blocks, new processes every {blocks}, "
        f"start {sum(arm.start_s for arm in arms):.2f} s a pair: ratio {ratio.value:.4f} "
        f"({ratio.low:.4f} to {ratio.high:.4f}), +-{reached:.1f} % of {wanted:.0f} % wanted; "
        f"standard deviation of a block {100 * float(np.std(ratios, ddof=1)):.1f} %; "
        f"steal {stolen}, others {others}",
        flush=True,
    )


def main() -> None:
    """One line for each time limit."""
    parser = options(__doc__, "one short run")
    parser.add_argument("--time-limit", type=float, nargs="+", default=list(TARGETS))
    given = parser.parse_args()
    if given.quick:
        report(replace(Plan(), **QUICK))
        return
    for limit in given.time_limit:
        report(Plan(time_limit_s=limit, wanted_half_width=TARGETS.get(limit, 0.05)))


if __name__ == "__main__":
    run(main)
