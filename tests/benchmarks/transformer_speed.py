"""Effect of each rewrite of a transformer's file: CPU time, bytes, and agreement of the outputs.

Run ``python tests/benchmarks/transformer_speed.py [minilm] [vit] [--quick]``; it prints figures and is not a test.
Times are CPU milliseconds of one inference at batch 1 with one thread, which on an idle processor equal wall time: each
file runs in a separate process, in windows in alternating order. MiniLM has its trained weights (see ``minilm.py``),
ViT-B/16 random ones, so its outputs are meaningless and only its times are printed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from _bench import options, run, several

from certify.data import Dataset
from certify.data.preprocess import Preprocess
from certify.measure.client import Worker
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import session_settings
from certify.measure.runtimes import get
from certify.measure.windows import Running, warm_up
from certify.model_file.onnx_graph.load import load_model
from certify.model_file.onnx_graph.slow_kernels import FORMS
from compress.core import onnx_file
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.job import recipe
from compress.passes import OnnxPass, PassContext, PassData
from compress.passes.quantize_embeddings import QuantizeEmbeddings

ROUNDS, WINDOW_S, INPUTS = 8, 1.0, 8
RUNTIMES = ("onnxruntime-cpu", "openvino", "openvino-bf16")


def processor() -> str:
    """Name of the processor, and what others used of it when the program started."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, onnxruntime {onnxruntime.__version__}"


def cpu_ms(files: Mapping[str, Path], contract: Preprocess, inputs: Path, runtime: str) -> dict[str, list[float]]:
    """CPU milliseconds of an inference in each window, by file."""
    found: dict[str, list[float]] = {name: [] for name in files}
    settings = session_settings(
        runtime, 1, contract.input_names, contract.output_name, input_shape=contract.port_shape(1)
    )
    running: dict[str, Running] = {}
    try:
        for name, path in files.items():
            worker = Worker(name, path, settings)
            worker.inputs(inputs, 1)
            running[name] = warm_up(worker, 1, WINDOW_S, WINDOW_S)
        for number in range(ROUNDS):
            for name in list(files)[:: 1 if number % 2 == 0 else -1]:
                one = running[name]
                window = one.worker.window(one.inferences, WINDOW_S)
                found[name].append(1e3 * window.cpu_s / one.inferences)
    finally:
        for one in running.values():
            one.worker.close()
    return found


def answers(path: Path, contract: Preprocess, dataset: Dataset) -> np.ndarray:
    """Outputs for the test samples, (n, outputs)."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = np.array_split(np.arange(len(dataset.test)), 20)
    return np.concatenate([session.run(None, contract.feed(dataset.test, part))[0] for part in parts])


def rewritten(path: Path, *forms: str) -> Path:
    """The file with some of the forms for fast kernels."""
    model = load_model(path)
    for form in forms:
        FORMS[form](model)
    written = path.with_name(f"{path.stem}.{len(forms)}.onnx")
    onnx_file.save(model, written)
    return written


def steps(floats: Path, context: PassContext) -> dict[str, Path]:
    """The float file and what the recipe's passes make of it, one after the other; the tables in 4 bits beside."""
    sums, *_ = FORMS
    files = {"float": floats, "float, sums": rewritten(floats, sums), "float, fast_kernels": rewritten(floats, *FORMS)}
    path, said = floats, "int8"
    for applied in recipe.load("transformer").passes:
        assert isinstance(applied, OnnxPass)
        before = path
        path, record = applied.apply(path, context)
        if not record.changed:
            print(f"{applied.name} declines: {record.declined[0].why}")
            continue
        said = "int8" if applied.name == "quantize_static" else f"{said}, {applied.name}"
        files[said] = path
        if said == "int8":
            files["int8, sums"] = rewritten(path, sums)
        if applied.name == "quantize_embeddings":
            files["int8, quantize_embeddings in 4 bits"] = QuantizeEmbeddings(bits=4).apply(
                _copy(before, "four"), context
            )[0]
    return files


def _copy(path: Path, stem: str) -> Path:
    written = path.with_name(f"{stem}.onnx")
    written.write_bytes(path.read_bytes())
    return written


def show(files: Mapping[str, Path], contract: Preprocess, dataset: Dataset, folder: Path, trained: bool) -> None:
    """Time the files in each runtime that is here, and print a line for each."""
    inputs = folder / "inputs.npy"
    save_samples(inputs, dataset.test, list(range(INPUTS)), contract)
    said = {}
    if trained:
        wanted = answers(files["float"], contract, dataset)
        for name, path in files.items():
            own = answers(path, contract, dataset)
            cosine = (wanted * own).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(own, axis=1)
            same = np.mean(own.argmax(1) == wanted.argmax(1))
            right = np.mean(own.argmax(1) == dataset.test.labels)
            said[name] = f", accuracy {right:.1%}, agreement {same:.1%}, cosine of logits {cosine.mean():.4f}"
    for runtime in RUNTIMES:
        if (reason := get(runtime).unavailable()) is not None:
            print(f"{runtime}: {reason}")
            continue
        for name, taken in cpu_ms(files, contract, inputs, runtime).items():
            middle, ends = statistics.median(taken), f"[{min(taken):.2f}, {max(taken):.2f}]"
            size = files[name].stat().st_size / 1e6
            print(f"{runtime}, {name}: {middle:.2f} ms {ends}, {size:.1f} MB{said.get(name, '')}")


def minilm(folder: Path) -> None:
    """The trained sentence classifier."""
    import minilm as benchmark

    if (sentence := benchmark.missing()) is not None:
        print(sentence)
        return
    built, dataset = benchmark.fitted(folder)
    contract = built.tokens.contract(dataset)
    floats = folder / "float.onnx"
    export(built.model, contract, floats, classes=len(dataset.classes))
    context = PassContext(PassData.without_test(dataset), contract, choose(None), workspace=folder)
    show(steps(floats, context), contract, dataset, folder, trained=True)


def vit(folder: Path) -> None:
    """ViT-B/16 at 224 pixels with random weights, on images of noise."""
    from torchvision.models import vit_b_16

    from certify.data import array_split, default_preprocess

    random = np.random.default_rng(0)
    parts = [
        array_split(random.integers(0, 256, (16, 224, 224, 3), dtype=np.uint8), np.arange(16) % 10, "noise")
        for _ in range(4)
    ]
    dataset = Dataset("noise", "noise", tuple("abcdefghij"), *parts, input_size=(224, 224))
    contract, floats = default_preprocess(dataset), folder / "float.onnx"
    export(vit_b_16(num_classes=10).eval(), contract, floats, classes=10)
    context = PassContext(PassData.without_test(dataset), contract, choose(None), workspace=folder)
    show(steps(floats, context), contract, dataset, folder, trained=False)


def main() -> None:
    """Print the processor, and the figures of the models that were named, of both where none was."""
    parser = options(__doc__, "MiniLM alone")
    several(parser, "models", ["minilm", "vit"])
    given = parser.parse_args()
    print(processor())
    for name in given.models[:1] if given.quick else given.models:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            {"minilm": minilm, "vit": vit}[name](Path(folder))


if __name__ == "__main__":
    run(main)
