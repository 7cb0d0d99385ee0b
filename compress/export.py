"""From torch to ONNX, through the parity gate."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from certify import files
from certify.data import Preprocess
from certify.errors import ModelError
from certify.progress import Progress, Silent
from compress.parity import Parity, Samples, compare, require_finite

OPSET = 20
EXAMPLE_BATCH = 2
"""Not 1: the tracer takes a dimension of 1 for a constant."""
CHECKED_SAMPLES = 8
INLINE_BYTES = 2_000_000_000
"""A protobuf message can't exceed 2 GB; models with more weights than this keep them in a file beside."""
EXPORT_FAILURES = (
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
NOISY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


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
        samples: (n, C, H, W) float32 that both are compared on, n at least 2; noise from a fixed seed if None.
        progress: where to say how far it is.

    Raises:
        ModelError: outputs of another width or not finite, or both exporters fail; the sentence says how each did.
    """
    checked = _noise(preprocess) if samples is None else samples
    ready = copy.deepcopy(model).to("cpu").to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    _require_classifier(ready, checked, classes)
    declined: list[str] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside,
        (progress or Silent()).task(f"Exporting {path.name}") as bar,
    ):
        for exporter, write in EXPORTERS.items():
            written = Path(beside) / exporter / path.name
            written.parent.mkdir()
            bar.advance(0, note=exporter)
            try:
                with _quiet():
                    write(ready, preprocess, written, opset)
                parity = compare(ready, written, checked)
            except EXPORT_FAILURES as error:
                declined.append(f"the {exporter} exporter failed: {_first_line(error)}")
                continue
            if parity.holds:
                _move(written, path)
                return ExportRecord(exporter, opset, parity, "; ".join(declined) or None)
            declined.append(f"the {exporter} exporter's file disagrees with it: {parity}")
    raise ModelError(f"The model can't be exported to ONNX faithfully ({'; '.join(declined)}).")


def _with_dynamo(model: nn.Module, preprocess: Preprocess, path: Path, opset: int) -> None:
    torch.onnx.export(
        model,
        (_example(preprocess),),
        path,
        dynamo=True,
        opset_version=opset,
        input_names=[preprocess.input_name],
        output_names=[preprocess.output_name],
        dynamic_shapes=({0: "batch"},),
        external_data=_weight_bytes(model) > INLINE_BYTES,
        optimize=True,
        verbose=False,
    )


def _with_torchscript(model: nn.Module, preprocess: Preprocess, path: Path, opset: int) -> None:
    torch.onnx.export(
        model,
        (_example(preprocess),),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=[preprocess.input_name],
        output_names=[preprocess.output_name],
        dynamic_axes={preprocess.input_name: {0: "batch"}, preprocess.output_name: {0: "batch"}},
        verbose=False,
    )


EXPORTERS: dict[str, Callable[[nn.Module, Preprocess, Path, int], None]] = {
    "dynamo": _with_dynamo,
    "torchscript": _with_torchscript,
}


def _example(preprocess: Preprocess) -> torch.Tensor:
    return torch.zeros(preprocess.input_shape(EXAMPLE_BATCH))


def _noise(preprocess: Preprocess) -> Samples:
    """Standard normal inputs from a fixed seed, (n, C, H, W): in the range of normalised pictures."""
    random = np.random.default_rng(0)
    return random.standard_normal(preprocess.input_shape(CHECKED_SAMPLES), dtype=np.float32)


def _require_classifier(model: nn.Module, samples: Samples, classes: int) -> None:
    with torch.inference_mode():
        given = model(torch.from_numpy(samples))
    shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
    if shape != (len(samples), classes):
        raise ModelError(
            f"The model gives {shape} for {len(samples)} samples, where a classifier of {classes} outputs gives "
            f"({len(samples)}, {classes}); it can't be exported as one."
        )
    require_finite(given.float().numpy())


def _weight_bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _move(written: Path, path: Path) -> None:
    """Put the file, and the weights beside it if there are, in their place; the file that names the others last."""
    for other in sorted(written.parent.iterdir()):
        if other != written:
            other.replace(path.parent / other.name)
    files.copy(written, path)


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters print, warn and log; what fails still raises."""
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
