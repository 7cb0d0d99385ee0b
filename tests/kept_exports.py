"""Files and programs of torch's exporter, kept for the session: many tests export the same small network.

Only torch's part is left out for a network seen before, which is most of the time of such tests; what leanmark does
before and after it runs every time. A program has no values, so it is kept by the shapes of a network's tensors.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from compress.pruning import program

_programs: dict[str, SimpleNamespace] = {}


class _Content(pickle.Pickler):
    """Writes tensors by their values; torch's own form names their addresses."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            facts = type(value).__name__, str(value.dtype), value.requires_grad, value.stride()
            return tuple, ((*facts, self.content(value)),)
        return NotImplemented

    def content(self, value: torch.Tensor) -> Any:
        return value.detach().cpu().numpy()


class _Shapes(_Content):
    """Writes tensors by their shapes."""

    def content(self, value: torch.Tensor) -> Any:
        return tuple(value.shape)


def _digest(model: nn.Module, *more: object, writer: type[_Content] = _Content) -> str | None:
    """Of everything that a file follows from; None if the model has a part that cannot be written, such as a lambda."""
    codes = [type(module).forward.__code__ for module in model.modules() if hasattr(type(module).forward, "__code__")]
    written = io.BytesIO()
    try:
        writer(written).dump((model, [(code.co_code, repr(code.co_consts), code.co_names) for code in codes], more))
    except Exception:  # of whatever the model's code raises
        return None
    return hashlib.sha256(written.getvalue()).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def kept_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks that any process of this session exported are not exported again."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "exports"
    folder.mkdir(exist_ok=True)
    exporter = torch.onnx.export

    def export(model: nn.Module, args: Any = (), f: Path | None = None, **options: Any) -> object:
        keeps = f is not None and options.get("dynamo") and not options.get("external_data", True)
        name = _digest(model, args, options) if keeps else None
        if f is None or name is None:
            return exporter(model, args, f, **options)
        if not (folder / name).exists():
            exporter(model, args, f, **options)
            draft = folder / f"{name}.{os.getpid()}"
            shutil.copyfile(f, draft)
            draft.replace(folder / name)
        else:
            shutil.copyfile(folder / name, f)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        yield


@pytest.fixture(scope="module", autouse=True)
def kept_programs() -> Iterator[None]:
    """Operators of networks of the same shapes are not listed again in this process."""
    exported = program._exported

    def of(model: nn.Module, sample: torch.Tensor) -> Any:
        name = _digest(model, sample, model.training, writer=_Shapes)
        if name in _programs:
            kept = _programs[name]
            return SimpleNamespace(
                graph=copy.deepcopy(kept.graph), graph_signature=kept.graph_signature, constants=kept.constants
            )
        made = exported(model, sample)
        if name is not None and not made.constants:
            _programs[name] = SimpleNamespace(
                graph=copy.deepcopy(made.graph), graph_signature=made.graph_signature, constants={}
            )
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "_exported", of)
        yield
