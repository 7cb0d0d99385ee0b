"""From torch to ONNX, through the parity gate."""

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
from certify.core.feeding import by_input
from certify.core.progress import Progress, Silent
from certify.data import Preprocess, TokenPreprocess
from compress.core import onnx_file
from compress.core.foreign_code import eval_copy
from compress.core.samples import as_tensor
from compress.exchange.exporter_output import frozen_choice, quiet, reads_values, reason
from compress.exchange.fake_quant_parity import compare_fake_quant
from compress.exchange.parity import Parity, Samples, compare, require_finite, together
from compress.models.tokens import as_exported
from compress.quantization.aware_training.export import as_integers
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel
from compress.quantization.aware_training.marked_export import as_marked

OPSET = 20
EXAMPLE_BATCH = 2
"""Not 1: the tracer takes a dimension of 1 for a constant."""
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
"""What exporters raise on a model that they do not know; kept as the reason for taking the other one."""


class Disagreement(Exception):
    """An exported file that gives something else than the model, or would for other inputs."""


@dataclass(frozen=True)
class ExportRecord:
    """How a file was exported.

    Attributes:
        exporter: ``dynamo`` (the current one) or ``torchscript`` (the older one).
        opset: version of ONNX's operator set.
        parity: how far the file agrees with the torch model.
        declined: why the current exporter's file was not taken, or None.
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

    Both exporters fold batch normalisation into the convolution before it. The current one is tried first; where it
    fails or its file disagrees, the older one (through TorchScript) is.

    Args:
        model: a classifier; left as it is.
        preprocess: the contract, which names input and output and states the input's shape.
        path: of the file; replaced as a whole.
        classes: outputs that the model must have.
        opset: of the file.
        samples: (n, ...) as the contract makes them that both are compared on beside noise from a fixed seed, n at
            least 2; real ones tell what noise does not, such as a branch that the file lacks.
        progress: where to say how far it is.

    Raises:
        ModelError: outputs of another width or not finite, inputs that the contract does not name, or both exporters
            fail; the sentence says how each did.
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
                    if by_values and (place := frozen_choice(caught)):
                        raise Disagreement(f"would keep one outcome of a choice by values, {place}; use torch.where")
                    parity = together([_require_parity(ready, written, some) for some in checked])
            except Disagreement as error:
                declined.append(f"the {exporter} exporter's file {error}")
            except EXPORT_FAILURES as error:
                by_values = by_values or reads_values(error)
                declined.append(f"the {exporter} exporter failed: {reason(error)}")
            else:
                return ExportRecord(exporter, opset, parity, "; ".join(declined) or None)
    raise ModelError(f"The model can't be exported to ONNX faithfully ({'; '.join(declined)}).")


def write_once(model: nn.Module, preprocess: Preprocess, path: Path) -> None:
    """Write a model by the current exporter, without comparing anything; for those who want the graph alone.

    Raises:
        ModelError: the exporter fails.
    """
    try:
        with quiet():
            _with_dynamo(model, preprocess, path, OPSET)
    except EXPORT_FAILURES as error:
        raise ModelError(f"The model can't be exported to ONNX ({reason(error)}).") from error


def _form(model: nn.Module, preprocess: Preprocess) -> nn.Module:
    """What the exporters are given: the model with the inputs that the contract names."""
    return as_marked(model, preprocess) if isinstance(model, FakeQuantModel) else as_exported(model, preprocess)


def _with_dynamo(model: nn.Module, preprocess: Preprocess, path: Path, opset: int) -> None:
    torch.onnx.export(
        model,
        _example(preprocess),
        path,
        dynamo=True,
        opset_version=opset,
        input_names=list(preprocess.input_names),
        output_names=[preprocess.output_name],
        dynamic_shapes=_free_batch(preprocess),
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
    if _weight_bytes(model) > onnx_file.INLINE_BYTES:  # this exporter gives each weight a file of its own
        exported = onnx.load(path)
        for other in path.parent.iterdir():
            other.unlink()
        onnx_file.save(exported, path)


EXPORTERS: dict[str, Callable[[nn.Module, Preprocess, Path, int], None]] = {
    "dynamo": _with_dynamo,
    "torchscript": _with_torchscript,
}


def _example(preprocess: Preprocess) -> tuple[torch.Tensor, ...]:
    """One tensor for each input."""
    zeros = np.zeros(preprocess.input_shape(EXAMPLE_BATCH), dtype=preprocess.memory)
    return tuple(torch.from_numpy(values) for values in by_input(preprocess.input_names, zeros).values())


def _free_batch(preprocess: Preprocess) -> tuple[Any, ...]:
    """Dynamic dimensions in the form of the arguments: one tensor, or the many of compress.models.tokens.Separately."""
    free = tuple({0: "batch"} for _ in preprocess.input_names)
    return (free,) if isinstance(preprocess, TokenPreprocess) else free


def _require_classifier(model: nn.Module, samples: Samples, classes: int) -> None:
    with torch.inference_mode():
        given = model(as_tensor(samples))
    shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
    if shape != (len(samples), classes):
        raise ModelError(
            f"The model gives {shape} for {len(samples)} samples, where a classifier of {classes} outputs gives "
            f"({len(samples)}, {classes}); it can't be exported as one."
        )
    require_finite(given.float().numpy())


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
