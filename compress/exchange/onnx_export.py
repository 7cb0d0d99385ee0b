"""Export from torch to ONNX, with a parity gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.core.input_mapping import by_input
from certify.core.progress import Progress, Silent
from certify.data import Preprocess, TokenPreprocess
from compress.core import onnx_file
from compress.core.foreign_code import eval_copy
from compress.core.samples import as_tensor
from compress.exchange.exporter_output import frozen_choice, quiet, reads_values, reason
from compress.exchange.fake_quant_parity import compare_fake_quant
from compress.exchange.operator_table import kept_operators
from compress.exchange.parity import Parity, Samples, compare, require_finite, together
from compress.models.tokens import TokenClassifier, as_exported
from compress.quantization.aware_training.export import as_integers
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel
from compress.quantization.aware_training.marked_export import as_marked

OPSET = 20
EXAMPLE_BATCH = 2
"""Not 1: the tracer treats a dimension of 1 as a constant."""
CHECKED_SAMPLES = 8
EXPORT_FAILURES = (
    AssertionError,
    torch.onnx.errors.OnnxExporterError,
    ModelError,
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    IndexError,
    NotImplementedError,
)
"""Errors of exporters on unsupported models; recorded as the reason for using the other exporter."""


class Disagreement(Exception):
    """An exported file that gives different outputs than the model, or would for other inputs."""


@dataclass(frozen=True)
class ExportRecord:
    """How a file was exported.

    Attributes:
        exporter: ``dynamo`` (the current one) or ``torchscript`` (the older one).
        opset: version of ONNX's operator set.
        parity: agreement of the file with the torch model.
        declined: reason why the current exporter's file was not used, or None.
    """

    exporter: str
    opset: int
    parity: Parity
    declined: str | None = None


def export(
    model: nn.Module,
    preprocess: Preprocess,
    path: Path,
    *,
    classes: int,
    opset: int = OPSET,
    samples: Samples | None = None,
    progress: Progress | None = None,
) -> ExportRecord:
    """Write a model as ONNX with a free batch dimension; the file is only kept if it agrees with the model.

    Both exporters fold batch normalisation into the preceding convolution. The current one is tried first, and the
    older one (through TorchScript) if that fails or its file disagrees.

    Args:
        model: a classifier; not modified.
        preprocess: the contract, which names input and output and states the input's shape.
        path: path of the file; replaced atomically.
        classes: number of outputs that the model must have.
        opset: operator set of the file.
        samples: (n, ...) from the contract, n at least 2, on which both are compared besides noise from a fixed seed;
            real samples can reveal differences that noise cannot, such as a branch that the file lacks.
        progress: where to report progress.

    Raises:
        ModelError: outputs have another width or are not finite, the contract does not name an input, or both exporters
            fail; the error states both reasons.
    """
    noise = preprocess.noise(CHECKED_SAMPLES)
    checked = [noise] if samples is None else [noise, samples]
    ready = eval_copy(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for some in checked:
        _require_classifier(ready, some, classes)
    declined: list[str] = []
    by_values = False
    with (progress or Silent()).task(f"Exporting {path.name}") as bar:
        for exporter, write in EXPORTERS.items():
            bar.advance(0, note=exporter)
            try:
                with onnx_file.replacing(path) as written:
                    with quiet() as caught:
                        write(_form(ready, preprocess), preprocess, written, opset)
                    # The older exporter records one path of a branch; parity on the checked samples cannot show that.
                    if by_values and (place := frozen_choice(caught)):
                        raise Disagreement(f"freezes a choice that depends on values, {place}; use torch.where")
                    parity = together([_require_parity(ready, written, some) for some in checked])
            except Disagreement as error:
                declined.append(f"the {exporter} exporter's file {error}")
            except EXPORT_FAILURES as error:
                by_values = by_values or reads_values(error)
                declined.append(f"the {exporter} exporter failed: {reason(error)}")
            else:
                return ExportRecord(exporter, opset, parity, "; ".join(declined) or None)
    raise ModelError(f"The model cannot be exported to ONNX faithfully ({'; '.join(declined)}).")


def write_once(model: nn.Module, preprocess: Preprocess, path: Path) -> str:
    """Write a model by the current exporter, without comparing anything; for uses of the graph alone.

    Returns:
        What the file's notes put before the paths of the model's modules: empty, unless the model was wrapped so that
        it takes the inputs that the contract names.

    Raises:
        ModelError: the exporter fails.
    """
    form = as_exported(model, preprocess) if isinstance(model, TokenClassifier) else model
    try:
        with quiet():
            _with_dynamo(form, preprocess, path, OPSET)
    except EXPORT_FAILURES as error:
        raise ModelError(f"The model cannot be exported to ONNX ({reason(error)}).") from error
    return next((f"{name}." for name, inside in form.named_modules() if name and inside is model), "")


def _form(model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """Return the module for the exporters: the model with the inputs that the contract names."""
    return as_marked(model, preprocess) if isinstance(model, FakeQuantModel) else as_exported(model, preprocess)


def _with_dynamo(model: nn.Module, preprocess: Preprocess, path: Path, opset: int) -> None:
    with kept_operators():
        torch.onnx.export(
            model,
            _example(preprocess),
            path,
            dynamo=True,
            opset_version=opset,
            input_names=list(preprocess.input_names),
            output_names=[preprocess.output_name],
            dynamic_shapes=_free_batch(preprocess),
            # Protobuf messages hold at most 2 GiB.
            external_data=_weight_bytes(model) > onnx_file.INLINE_BYTES,
            optimize=True,
            verbose=False,
        )


def _with_torchscript(model: nn.Module, preprocess: Preprocess, path: Path, opset: int) -> None:
    torch.onnx.export(
        model,
        _example(preprocess),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=list(preprocess.input_names),
        output_names=[preprocess.output_name],
        dynamic_axes={name: {0: "batch"} for name in (*preprocess.input_names, preprocess.output_name)},
        verbose=False,
    )
    if _weight_bytes(model) > onnx_file.INLINE_BYTES:  # this exporter writes one file per weight
        exported = onnx.load(path)
        for file in path.parent.iterdir():
            file.unlink()
        onnx_file.save(exported, path)


EXPORTERS: dict[str, Callable[[nn.Module, Preprocess, Path, int], None]] = {
    "dynamo": _with_dynamo,
    "torchscript": _with_torchscript,
}


def _example(preprocess: Preprocess) -> tuple[torch.Tensor, ...]:
    """Return one tensor per input."""
    zeros = np.zeros(preprocess.input_shape(EXAMPLE_BATCH), dtype=preprocess.memory)
    return tuple(torch.from_numpy(values) for values in by_input(preprocess.input_names, zeros).values())


def _free_batch(preprocess: Preprocess) -> tuple[Any, ...]:
    """Return dynamic dimensions in the form of the arguments: one tensor, or several as in models.tokens.Separately."""
    free = tuple({0: "batch"} for _ in preprocess.input_names)
    return (free,) if isinstance(preprocess, TokenPreprocess) else free


def _require_classifier(model: nn.Module, samples: Samples, classes: int) -> None:
    with torch.inference_mode():
        outputs = model(as_tensor(samples))
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(samples), classes):
        raise ModelError(
            f"The model returns {shape} for {len(samples)} samples, but a classifier of {classes} outputs must return "
            f"({len(samples)}, {classes}); adapt its head before the export."
        )
    require_finite(outputs.float().numpy())


def _require_parity(model: nn.Module, path: Path, samples: Samples) -> Parity:
    if isinstance(model, FakeQuantModel):
        parity = compare_fake_quant(model, path, as_integers(model, path), samples)
    else:
        parity = compare(model, path, samples)
    if not parity.holds:
        raise Disagreement(f"disagrees with it: {parity}")
    return parity


def _weight_bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
