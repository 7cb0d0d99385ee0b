"""Speed of int8 relative to FP32 in ONNX Runtime on this machine: the yardstick ResNet-50 at 224 x 224, in turn.

Run ``python tests/benchmarks/int8_speed.py [THREADS] [--quick]``; it prints milliseconds and is not a test. The
yardstick's weights are random, so only speed is meaningful; agreement is what ``leanmark compress resnet50 --recipe
int8`` reports.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from _bench import options, run
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from certify.measure.yardstick import INPUT_NAME, images, yardstick_file
from compress.core.targets import choose

ROUNDS, CALLS = 9, 20
TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


class Images(CalibrationDataReader):
    """The yardstick's own images, one at a time."""

    def __init__(self) -> None:
        self._left = [{INPUT_NAME: image[None]} for image in images()]

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed."""
        return self._left.pop() if self._left else None


def milliseconds(session: onnxruntime.InferenceSession, calls: int) -> float:
    """Mean of some calls."""
    feed = {INPUT_NAME: images()[:1]}
    session.run(None, feed)
    began = time.perf_counter()
    for _ in range(calls):
        session.run(None, feed)
    return (time.perf_counter() - began) / calls * 1e3


def main() -> None:
    """Quantize as the pass does for this machine, and time both files in turn, one session alive at a time."""
    parser = options(__doc__, "three rounds of five calls")
    parser.add_argument("threads", type=int, nargs="?", default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    threads, (count, calls) = given.threads, (3, 5) if given.quick else (ROUNDS, CALLS)
    target = choose(None)
    with tempfile.TemporaryDirectory() as name:
        prepared, quantized = Path(name, "prepared.onnx"), Path(name, "int8.onnx")
        quant_pre_process(str(yardstick_file()), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            prepared, quantized, Images(), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=target.reduce_range, activation_type=TYPES[target.activation_type],
            weight_type=TYPES[target.weight_type],
        )  # fmt: skip
        rounds = []
        for _ in range(count):
            row = []
            for path in (yardstick_file(), quantized):
                session_options = onnxruntime.SessionOptions()
                session_options.intra_op_num_threads = threads
                session = onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
                row.append(milliseconds(session, calls))
                del session
            rounds.append(row)
    base, int8 = (statistics.median(column) for column in zip(*rounds, strict=True))
    faster = statistics.median(row[0] / row[1] for row in rounds)
    print(f"{target.name}, {threads} threads: FP32 {base:.1f} ms, int8 {int8:.1f} ms, {faster:.2f} times as fast")


if __name__ == "__main__":
    run(main)
