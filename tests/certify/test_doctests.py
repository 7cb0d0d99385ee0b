"""The examples in the referee's docstrings give what they say, on the small files that they name."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.assessments.privacy.records import touches_of
from certify.assessments.privacy.withholding import write
from certify.core.files import sha256_file
from certify.model_file.subject import subject_digests

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 400


def _module(name: str, folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def files(certify_small: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name, in a folder of their own.

    ``graded/`` and ``other/`` are certified by the key ``maker.pub``; ``without-evidence/`` and ``uncertified/`` lack
    something. ``private/`` holds a model with the ledger of its training, ``robust/`` a pair for ``photos.npz`` and
    ``witnesses.npz``,
    ``income.onnx`` answers about ``people.npz``, and ``damaged.onnx`` is not a model.
    """
    folder = tmp_path_factory.mktemp("files")
    graded = certify_small()
    shutil.copytree(graded.path.parent, folder / "graded")
    shutil.copytree(certify_small(ratio=0.6, model="other").path.parent, folder / "other")
    (folder / "maker.pub").write_bytes(graded.key.public.to_pem())
    for name in ("without-evidence", "uncertified", "private"):
        (folder / name).mkdir()
    shutil.copyfile(graded.path, folder / "without-evidence" / "model.onnx")
    _two_inputs(folder / "income.onnx")
    for name in ("uncertified", "private"):
        shutil.copyfile(folder / "income.onnx", folder / name / "model.onnx")
    (folder / "damaged.onnx").write_bytes(b"not a model")
    (folder / "declarations.yaml").write_text("declaration: leanmark/declarations/1\npeople: none\nfaces: 'no'\n")
    _write_ledger(folder / "private")
    _write_people(folder / "people.npz")
    _write_pair(folder)
    return folder


def _write_pair(folder: Path) -> None:
    linear = _module("linear_pair", Path(__file__).parent)
    first, second, photos = linear.pair()
    first.write(folder / "robust" / "baseline.onnx")
    model = second.write(folder / "robust" / "model.onnx")
    (folder / "witnesses.npz").write_bytes(linear.witnesses(second, model, photos).to_bytes())
    images = np.stack([photos.test.image(i) for i in range(len(photos.test))])
    np.savez(folder / "photos.npz", x=images, y=photos.test.labels)


def _two_inputs(path: Path) -> None:
    """A file that answers 1 where the first of two numbers is above 0, and sometimes where the second is 1."""
    weights = np.array([[0, 1], [0, -0.5]], np.float32)
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 2]), ("y", ["n", 2]))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _write_people(path: Path) -> None:
    female, score = np.arange(PEOPLE) % 2 == 0, np.linspace(-1, 1, PEOPLE)
    x = np.stack([score, female], axis=1).astype(np.float32)
    labels, groups = (score > 0).astype(np.int64), np.where(female, "f", "m")
    np.savez(path, x=x, y=labels, features=np.array(["score", "sex=f"]), group_sex=groups)


def _write_ledger(folder: Path) -> None:
    privacy = _module("honest_privacy", Path(__file__).parent / "assessments" / "privacy")
    (folder / "lineage.json").write_text(json.dumps(privacy.LINEAGE))
    records = privacy.honest(subject_digests(folder / "model.onnx"), lineage=sha256_file(folder / "lineage.json"))
    records = replace(records, touches=touches_of(privacy.LINEAGE))
    write(records, folder / "privacy.jsonl", folder / "auditor" / "privacy.jsonl", privacy.KEY)


def test_examples_in_docstrings_give_the_documented_output(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path / "config"))
    written = [path for path in sorted((ROOT / "certify").rglob("*.py")) if ">>> " in path.read_text()]
    assert written
    failed = {}
    named = re.compile('["=](' + "|".join(re.escape(path.name) for path in files.iterdir()) + ")")
    for number, path in enumerate(written):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        place = tmp_path / str(number)
        if named.search(path.read_text()):
            shutil.copytree(files, place)  # an example may write next to the files
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        result = doctest.testmod(module)
        collected = sum(len(test.examples) for test in doctest.DocTestFinder().find(module))  # skipped ones too
        if result.failed or not collected:
            failed[name] = result
    assert not failed
