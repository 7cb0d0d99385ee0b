"""Gain of the rewrites for fast kernels: CPU time of an inference before and after, with accuracy.

Run ``python tests/benchmarks/fast_kernels.py [MODEL ...] [--quick] [--strict]``; it prints a Markdown table and is not
a test. Models are ``mobilenet_v3_large`` and ``resnet50`` (torchvision, random weights with batch norms from real
images, so accuracy is agreement with the float model), ``efficientnet_lite0``, ``resnet20`` and ``resnet56`` (trained).
Data are those of ``efficientnet_lite.py`` and ``cifar.py``; models without data are skipped, and so is OpenVINO if it
is not installed. Each window is a separate process with one thread; files run in forward, then in reverse order.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import cifar
import efficientnet_lite
import numpy as np
from _bench import Bars, options, run, several

from certify.data import Dataset, ImagePreprocess, Preprocess, default_preprocess, load
from certify.measure.machine import describe, processor_flags
from compress.core.targets import TARGETS, choose
from compress.core.timing import Feeding, timed, usable
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.passes import PassContext, PassData, find
from compress.quantization.post_training import quantizer

ROUNDS = 6
WINDOW_S = 0.4
MODELS = ("mobilenet_v3_large", "efficientnet_lite0", "resnet20", "resnet56", "resnet50")
IMAGENET = ImagePreprocess(
    "input", "logits", 224, 224, "NCHW", "RGB", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), None, "center",
    "bicubic", "logits",
)  # fmt: skip


def imagenet() -> Dataset:
    """150 images to calibrate, 100 to validate, the rest to compare."""
    calibration, validation, test = efficientnet_lite.images()
    names = tuple(map(str, range(efficientnet_lite.CLASSES)))
    return Dataset("imagenet_val", "bench", names, None, calibration, validation, test, input_size=(224, 224))


def export_random(name: str, contract: Preprocess, path: Path) -> None:
    """A network of torchvision's with random weights, whose batch norms have seen real images."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all images
        elif isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        model(torch.from_numpy(contract.batch(imagenet().calibration, range(32))))
    export(model.eval(), contract, path, classes=efficientnet_lite.CLASSES)


def export_cifar(name: str, contract: Preprocess, path: Path) -> None:
    """A trained ResNet for CIFAR-10."""
    export(cifar.published(getattr(cifar, name)), contract, path, classes=len(cifar.CLASSES))


def original(name: str, folder: Path) -> tuple[Path, Preprocess, Dataset]:
    """The float file of a model, its contract and its data."""
    path = folder / "float.onnx"
    if name in ("resnet20", "resnet56"):
        dataset = load(cifar.lossless_data())
        contract: Preprocess = default_preprocess(dataset)
        export_cifar(name, contract, path)
    elif name == "efficientnet_lite0":
        dataset, contract = imagenet(), efficientnet_lite.CONTRACT
        efficientnet_lite.export_float(path)
    else:
        dataset, contract = imagenet(), IMAGENET
        export_random(name, contract, path)
    return path, contract, dataset


@contextmanager
def gates_in_floats() -> Iterator[None]:
    """As before: each HardSigmoid between a DequantizeLinear and a QuantizeLinear."""
    with mock.patch.object(quantizer, "fit_ranges", lambda graph, ranges, target: ranges):
        yield


def quantized(path: Path, contract: Preprocess, dataset: Dataset, folder: Path, target: str) -> Path:
    """What the recipe int8 makes; a file for OpenVINO is kept however slow it is, to be timed here."""
    folder.mkdir()
    context = PassContext(PassData.without_test(dataset), contract, choose(target), workspace=folder)
    made = path
    for name in ("trim_kernels", "space_to_depth", "pad_channels"):
        made, _ = find(name)().apply(made, context)
    made, record = find("quantize_static")(max_time=1000.0 if TARGETS[target].max_time else None).apply(made, context)
    if not record.changed:
        print(f"{folder.name}: {record.declined[0].why}")
    return made


def milliseconds(path: Path, runtime: str, feeding: Feeding) -> float:
    """Processor time of one inference, from a window in a process of its own."""
    with timed(path, runtime, feeding) as timer:
        timer(3)
        runs = max(1, round(WINDOW_S / max(1e-5, timer(2) / 2)))
        return 1e3 * timer(runs) / runs


def accuracy(path: Path, wanted: np.ndarray, samples: np.ndarray, labels: np.ndarray, *, trained: bool) -> str:
    """Top-1 and agreement with the float file, as ONNX Runtime computes them."""
    found = run_onnx(path, samples).argmax(1)
    agreement = f"{np.mean(found == wanted):.1%}"
    return f"{np.mean(found == labels):.1%} / {agreement}" if trained else f"– / {agreement}"


def compare(name: str, folder: Path, rounds: int, bars: Bars) -> None:
    """Make all files of a model and print a row for each in each runtime."""
    path, contract, dataset = original(name, folder)
    files = {"float": path}
    make = functools.partial(quantized, path, contract, dataset)
    local = choose(None).name
    files["int8"] = make(folder / "int8", local)
    with gates_in_floats():
        files["int8, gates in floats"] = make(folder / "before", local)
    if "amx_int8" in processor_flags():
        files["int8 for AMX"] = make(folder / "amx", "cpu-amx")
    files["int8 for openvino"] = make(folder / "openvino", "openvino")
    if files["int8"].read_bytes() == files["int8, gates in floats"].read_bytes():
        del files["int8, gates in floats"]
    test = dataset.test
    samples = contract.batch(test, range(len(test)))
    wanted = run_onnx(path, samples).argmax(1)
    trained = name not in ("mobilenet_v3_large", "resnet50")
    feeding = Feeding.of(contract, samples[:8])
    bf16 = "openvino-bf16" if usable("openvino-bf16") is None else "openvino"
    runtimes = ["onnxruntime-cpu", *((bf16,) if usable(bf16) is None else ())]
    cells = [(runtime, what) for runtime in runtimes for what in files]
    times: dict[tuple[str, str], list[float]] = {cell: [] for cell in cells}
    for round_ in range(rounds):
        for runtime, what in cells if round_ % 2 else cells[::-1]:
            times[runtime, what].append(milliseconds(files[what], runtime, feeding))
    for runtime, what in cells:
        spent = times[runtime, what]
        base = times[runtime, "float"]
        faster = statistics.median(one / other for one, other in zip(base, spent, strict=True))
        right = accuracy(files[what], wanted, samples, test.labels, trained=trained)
        row = (
            name, runtime, what, f"{statistics.median(spent):.2f} [{min(spent):.2f}, {max(spent):.2f}]",
            f"{faster:.2f}", right, f"{files[what].stat().st_size / 1e6:.2f}",
        )  # fmt: skip
        print("| " + " | ".join(row) + " |", flush=True)
        if (name, runtime, what) == ("mobilenet_v3_large", "onnxruntime-cpu", "int8"):
            bars.at_least("MobileNetV3 in int8 in ONNX Runtime is faster than in floats by", faster, 1.4)


def processor() -> str:
    """Name of this machine's processor, and those of its instructions that matter here."""
    about = describe()
    return f"{about['processor']} ({', '.join(about['instructions'])})"


def missing(name: str) -> str | None:
    """What a model needs and is not here, in one sentence."""
    if name in ("resnet20", "resnet56"):
        return None if cifar.DATA.is_dir() else f"Left out: {cifar.DATA} is absent (see LEANMARK_BENCH_DATA)."
    if name == "efficientnet_lite0":
        return efficientnet_lite.missing()
    images = efficientnet_lite.DATA / "imagenet_val"
    return None if images.is_dir() else f"Left out: {images} is absent (see LEANMARK_BENCH_DATA)."


def main() -> int:
    """Compare the models that are named, all by default."""
    parser = options(__doc__, "ResNet-20 alone, two windows")
    several(parser, "models", MODELS)
    given = parser.parse_args()
    names, rounds, bars = given.models, 2 if given.quick else ROUNDS, Bars(not given.quick)
    if given.quick:
        names = ["resnet20"]
    print(f"{processor()}, load {os.getloadavg()[0]:.2f}, one thread, {rounds} windows\n")
    titles = ("model", "runtime", "file", "processor ms", "times as fast", "top-1 / agreement", "MB")
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for name in names:
        if (sentence := missing(name)) is not None:
            print(sentence)
            continue
        with tempfile.TemporaryDirectory() as folder:
            compare(name, Path(folder), rounds, bars)
    print(f"\nload at the end {os.getloadavg()[0]:.2f}")
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
