"""Weights from files and from torchvision, read without running any code in them."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from certify.core import files
from certify.core.errors import ModelError
from certify.core.progress import Progress
from certify.core.suggest import unknown_name
from certify.data.downloads import Remote, fetch
from compress.models.weight_keys import State, current_key, first_few

IN_TORCHSCRIPT = "/constants.pkl"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")

OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True)
class LoadedWeights:
    """A state dict and its origin.

    Attributes:
        state: tensors by key, on the CPU.
        name: the file or torchvision's name, for errors.
        origin: origin in words, for the certificate.
        transforms: torchvision's evaluation transforms for these weights, or None for a file.
    """

    state: State
    name: str
    origin: str
    transforms: Any = None


def load(weights: str | Path, model_name: str | None, progress: Progress) -> LoadedWeights:
    """Read a weight file, or torchvision's weights by name.

    Args:
        weights: a path, or a name such as ``DEFAULT`` or ``ResNet50_Weights.IMAGENET1K_V2``.
        model_name: torchvision's name of the model, or None for another model.
        progress: where to report a download.

    Raises:
        UsageError: it is neither a file nor the name of weights for this model.
        ModelError: the file cannot be read.
        DataError: torchvision's weights could not be downloaded.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        digest = files.sha256_file(path)
        return LoadedWeights(read(path), str(path), f"weights from {path.name} (SHA-256 {digest[:12]})")
    if model_name is not None and len(path.parts) == 1 and path.suffix not in (".safetensors", ".pth", ".pt", ".ckpt"):
        return _from_torchvision(str(weights), model_name, progress)
    raise ModelError(f"{path}: weight file not found; give a safetensors file or a state dict.")


def read(path: Path) -> State:
    """Read every tensor of a safetensors file or a torch checkpoint.

    Tensors of nested dicts are named by the keys that lead to them, joined by dots; anything else is ignored.
    :func:`compress.models.weight_keys.matched` selects the tensors of a model among them.

    Raises:
        ModelError: the file is missing, damaged, without tensors, TorchScript, or a pickle that would run code.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" or _is_safetensors(path) else _read_torch(path)


def write(tensors: State, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically.

    Raises:
        OSError: the file system refuses; the library itself raises its own error for a full disk.
    """
    with files.replacing(path) as beside:
        try:
            save_file(tensors, beside, metadata=None if metadata is None else dict(metadata))
        except safetensors.SafetensorError as error:
            number = OS_ERROR.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def fit(model: nn.Module, state: Mapping[str, torch.Tensor], name: str, leave_out: Collection[str] = ()) -> None:
    """Load a complete state dict into a model.

    Args:
        model: modified in place.
        state: tensors by key.
        name: name of the weights, for the error.
        leave_out: keys that are neither expected nor loaded (a classifier for other classes).

    Raises:
        ModelError: keys are missing, unexpected or of another shape or type (the first few of each are named), or a
            value is NaN or infinite.
    """
    wanted = {key: value for key, value in model.state_dict().items() if key not in leave_out}
    loaded = {key: value for key, value in _current_keys(state, wanted).items() if key not in leave_out}
    # Batch counters of batch normalisation: absent from old files, without effect on the outputs.
    loaded |= {key: wanted[key] for key in wanted if key.endswith("num_batches_tracked") and key not in loaded}
    missing = [key for key in wanted if key not in loaded]
    unexpected = [key for key in loaded if key not in wanted]
    misshaped = [
        f"{key} ({_shape(loaded[key])}, the model has {_shape(wanted[key])})"
        for key in wanted
        if key in loaded and loaded[key].shape != wanted[key].shape
    ]
    # Integers and float8 are the values of quantized weights, which mean nothing without their scales.
    mistyped = [
        f"{key} ({str(loaded[key].dtype).removeprefix('torch.')})"
        for key in wanted
        if key in loaded and wanted[key].is_floating_point() and loaded[key].dtype not in FLOATS
    ]
    kinds = {
        "missing": missing, "unexpected": unexpected, "of another shape": misshaped, "not in floating point": mistyped,
    }  # fmt: skip
    found = "; ".join(f"{len(keys)} {kind}: {first_few(keys)}" for kind, keys in kinds.items() if keys)
    if found:
        raise ModelError(f"{name} does not fit the model ({found}); give weights of this architecture.")
    require_finite(loaded, name)
    model.load_state_dict(loaded, strict=False)


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "scalar"


def _current_keys(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> State:
    """Return keys in the model's form; torchvision's DenseNet files have dots from before torch 0.4 (``norm.1``)."""
    renamed = {key: current_key(key) for key in state if key not in wanted}
    return {renamed[key] if renamed.get(key) in wanted else key: value for key, value in state.items()}


def _is_safetensors(path: Path) -> bool:
    """Return whether the file begins like the format: the header's length, then JSON."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size


def _read_safetensors(path: Path) -> State:
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as opened:  # type: ignore[no-untyped-call]
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  not a mapping
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is not a valid safetensors file ({error}).") from error


def _read_torch(path: Path) -> State:
    if _is_torchscript(path):
        raise ModelError(
            f"{path} is TorchScript, which passes cannot modify. Save its weights with "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth') and give them with the nn.Module "
            "that it was made from."
        )
    with path.open("rb") as file:
        if file.read(2)[:1] not in (b"\x80", b"P"):  # a pickle, or a zip archive
            raise ModelError(
                f"{path} is neither a safetensors file nor a state dict saved by torch.save; it may be a Git LFS "
                "pointer or a web page instead of the file."
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocol; unsafe content is refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: contains {_unsafe(path)}, which is not loaded, as a pickle can run any code. If you trust the "
            "file, load it in Python with torch.load(..., weights_only=False), and save the state_dict() or give the "
            "module itself to compress.run."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = str(error).partition("\n")[0]
        raise ModelError(
            f"{path} cannot be read as weights ({type(error).__name__}{why and f': {why}'}); get the file again, or "
            "save the state_dict() again."
        ) from error
    state = dict(_tensors(content))
    if not state:
        raise ModelError(f"{path}: contains no state dict (tensors by name); save the model's state_dict().")
    for key, tensor in state.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
            what = "without values" if tensor.is_meta else "quantized" if tensor.is_quantized else "sparse"
            raise ModelError(f"{path}: tensor '{key}' is {what}; save the state_dict() with dense floats.")
    return state


def _tensors(content: object, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of nested dicts, by the keys that lead to them."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value
        else:
            yield from _tensors(value, f"{prefix}{key}.")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(IN_TORCHSCRIPT) for name in archive.namelist())


def _unsafe(path: Path) -> str:
    """Name the classes and functions for which a checkpoint is refused."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        names = sorted(found, key=lambda name: name.startswith("torch."))  # the user's own before torch's
    except (RuntimeError, ValueError, pickle.UnpicklingError):  # a pickle outside of torch's zip format
        names = [name for name in _globals(path.read_bytes()) if name.split(".")[0] not in ("torch", "collections")]
    return f"objects of {first_few(names)}" if names else "pickled objects"


def _globals(content: bytes) -> Iterator[str]:
    """Yield full names of what a pickle would import; nothing is run."""
    texts: list[str] = []
    with contextlib.suppress(ValueError):  # damaged later in the file
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "GLOBAL":
                yield str(argument).replace(" ", ".")
            elif operation.name == "STACK_GLOBAL":
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)


def require_finite(state: Mapping[str, torch.Tensor], name: str) -> None:
    """Reject weights that contain NaN or infinity.

    Args:
        state: tensors by key.
        name: name of the weights, for the error.

    Raises:
        ModelError: a tensor does; the error names the first one.
    """
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{name}: tensor '{key}' has {count} of {tensor.numel()} values that are NaN or infinite; "
                "the weights are broken, give others."
            )


def _from_torchvision(name: str, model_name: str, progress: Progress) -> LoadedWeights:
    known = torchvision.models.get_model_weights(model_name)
    short = name.removeprefix(f"{known.__name__}.")
    if short not in known.__members__:
        raise unknown_name(f"weights of {model_name}:", name, list(known.__members__), "Or give an existing file.")
    chosen = known[short]
    remote = _published(chosen.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / remote.name
    fetch(remote, path, progress)
    return LoadedWeights(read(path), str(chosen), f"torchvision {chosen}", chosen.transforms())


def _published(url: str) -> Remote:
    """Return a weight file; torchvision states the beginning of its SHA-256 in its name, but not its size."""
    stated = DIGEST_IN_NAME.search(url.rsplit("/", 1)[-1])
    return Remote(url, f"sha256:{stated[1]}" if stated else None, None, instead="give WEIGHTS as a file")
