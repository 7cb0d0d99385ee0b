"""Checkpoints of models with resized layers: safetensors and a structure record, without pickle."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from certify.core import files
from certify.core.errors import ModelError
from compress.exchange import replacements
from compress.models import torchvision, weights
from compress.models.built_model import ModelSource
from compress.models.factories import names
from compress.models.huggingface import FACTORY as HUGGING_FACE
from compress.models.plain_copy import plain_copy
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Rounding, take_apart

CHECKPOINT = "model.safetensors"
STRUCTURE = "model.structure.json"
FORMAT = 1
RECORD_KEYS = {"format", "weights_sha256", "source", "replaced", "sizes", "rounding", "shared", "extra"}
Sizes = dict[str, dict[str, Any]]


def structure_path(path: Path) -> Path:
    """Return the path of the record for ``model.safetensors``: ``model.structure.json``.

    Example:
        >>> structure_path(Path("build/model.safetensors")).name
        'model.structure.json'
    """
    return path.with_name(f"{path.stem}.structure.json")


def save(
    path: Path,
    model: nn.Module,
    source: ModelSource | None,
    extra: Mapping[str, Any] | None = None,
    *,
    original: nn.Module | None = None,
) -> None:
    """Write a model's tensors to ``path`` and its structure next to it.

    The record states how to build a new model, and for each module the sizes (``in_channels``, ``num_features``,
    ``num_heads``, ...: every attribute that is a number or a tuple of numbers) that differ from the new one's, and the
    plain layers that replace other parts; for a model with fake quantizers also what they round. Shared tensors are
    written once.

    Args:
        path: path of the safetensors file.
        model: model of the architecture that ``source`` builds, with layers of any size.
        source: None for a model without a factory; it can only be loaded into ``original`` or one of the same sizes.
        extra: further values that JSON can hold.
        original: the module from which a model without a factory was made, and into which it will be loaded.

    Raises:
        ModelError: the model differs from a new one in more than sizes and plain layers.
        OSError: the file system refuses; older files are then unchanged.
    """
    tensors, shared = _distinct(model)
    fresh = original if source is None else source.instantiate()
    network, rounding = take_apart(model)
    replaced = {} if fresh is None else replacements.replaced(network, fresh)
    record: dict[str, Any] = {
        "format": FORMAT,
        "source": None
        if source is None
        else {"factory": source.factory, "kwargs": dict(source.kwargs), "classes": source.classes},
        "replaced": replaced,
        "sizes": {} if fresh is None else _sizes(network, fresh, replaced),
        "rounding": None if rounding is None else rounding.to_json(),
        "shared": shared,
        "extra": dict(extra or {}),
    }
    weights.write(tensors, path)
    record["weights_sha256"] = files.sha256_file(path)
    files.write_text(structure_path(path), json.dumps(record, indent=1, sort_keys=True) + "\n")


def load(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """Load a compressed torch model, to continue training it.

    Args:
        path: the output folder of :func:`compress.run`, or the ``.safetensors`` file, with its record next to it.
        into: the original module, which is not modified; needed if the record does not name a torchvision model.
            Factories of other modules are not called, because a checkpoint must not choose what code runs.

    Returns:
        The model, in evaluation mode, ready for training.

    Raises:
        ModelError: a file is missing or damaged, the two files do not belong together, or they do not fit the model.

    Example:
        >>> import tempfile
        >>> import compress
        >>> from compress.testing.networks import network
        >>> with tempfile.TemporaryDirectory() as folder:  # where compress.run writes this file
        ...     save(Path(folder, "model.safetensors"), network("residual"), source=None)
        ...     model = compress.load(folder, into=network("residual"))
        >>> model.training
        False
    """
    path = Path(path) / CHECKPOINT if Path(path).is_dir() else Path(path)
    record = read_record(path)
    into = _fresh(record["source"], path) if into is None else plain_copy(into)
    # Check before parsing the weights, because a record of other sizes would give an error about shapes.
    if files.sha256_file(path) != record["weights_sha256"]:
        raise ModelError(f"{path} does not belong to {structure_path(path).name}; save both again.")
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as opened:  # type: ignore[no-untyped-call]
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  not a mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a valid safetensors file ({error}).") from error
    state |= {alias: state[key] for alias, key in record["shared"].items() if key in state}
    replacements.put(into, record["replaced"])
    _set_sizes(into, record["sizes"], path)
    if record["rounding"] is not None:
        into = _rounded(into, record["rounding"], path)
    _set_tensors(into, state, path)
    into.eval()
    return into


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a checkpoint; ``["extra"]`` holds the extra values given to :func:`save`.

    Raises:
        ModelError: one of the two files is missing, or the record is malformed.
    """
    beside = structure_path(path)
    for needed in (path, beside):
        if not needed.is_file():
            raise ModelError(f"{needed}: file not found; a checkpoint consists of {path.name} and {beside.name}.")
    try:
        record = json.loads(beside.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{beside}: is not a valid structure record ({error}); save the model again.") from error
    if not isinstance(record, dict) or set(record) != RECORD_KEYS or record["format"] != FORMAT:
        raise ModelError(f"{beside}: is not a structure record of format {FORMAT}; save the model again.")
    if not all(isinstance(record[key], dict) for key in ("replaced", "sizes", "shared", "extra")):
        raise ModelError(f"{beside}: is malformed; save the model again.")
    return record


def _fresh(fields: Any, path: Path) -> nn.Module:
    """Build a new model as described in the record."""
    try:
        source = None if fields is None else ModelSource(fields["factory"], fields["kwargs"], int(fields["classes"]))
        if source is not None and source.factory in {
            HUGGING_FACE,
            *(f"{torchvision.FACTORY}:{name}" for name in names()),
        }:
            return source.instantiate()
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{structure_path(path)}: does not state how to build the model ({error!r}).") from error
    maker = "a module without a factory" if source is None else f"the factory {source.factory}"
    raise ModelError(f"{path}: was saved from {maker}; give a model of the same structure to load it into.")


def _rounded(model: nn.Module, fields: Any, path: Path) -> nn.Module:
    """Return the model with the fake quantizers described in the record."""
    try:
        return FakeQuantModel(model, Rounding.from_json(fields))
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{structure_path(path)} rounds parts that the model does not have ({error!r}).") from error


def _distinct(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return each tensor once by name, and the first name for every further name of a shared tensor."""
    tensors: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        # Compare all of these, because views of one storage with different shapes are different tensors to a reader.
        place = (tensor.data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        # Empty tensors have no storage, and all have the same address.
        if tensor.numel() and place in first:
            shared[name] = first[place]
            continue
        first[place] = name
        # safetensors refuses tensors that share memory or are not contiguous.
        tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, shared


def _sizes(model: nn.Module, original: nn.Module, replaced: Collection[str]) -> Sizes:
    """Return the sizes that differ from the original's, outside of replaced parts."""
    fresh = dict(original.named_modules())
    changed = {
        path: {name: value for name, value in _numbers(module) if value != getattr(fresh[path], name, None)}
        for path, module in model.named_modules()
        if not any(path == other or path.startswith(f"{other}.") for other in replaced)
    }
    return {path: values for path, values in changed.items() if values}


def _numbers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a module that are numbers, or tuples or lists of numbers."""
    for name, value in vars(module).items():
        if name.startswith("_") or name == "training":
            continue
        items = value if isinstance(value, tuple | list) else (value,)
        if items and all(isinstance(item, int | float) for item in items):
            yield name, value


def _set_sizes(model: nn.Module, sizes: Sizes, path: Path) -> None:
    modules = dict(model.named_modules())
    for where, values in sizes.items():
        known = dict(_numbers(modules[where])) if where in modules else {}
        for name, value in values.items():
            if name not in known:
                raise ModelError(f"{structure_path(path)}: the model has no size '{name}' at '{where}'.")
            # JSON has only lists, but modules compare and unpack tuples.
            setattr(modules[where], name, type(known[name])(value))


def _set_tensors(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load the tensors of the checkpoint into the model, whatever their shapes; the names must match exactly."""
    wanted = set(model.state_dict())
    if wanted != set(state):
        missing, left = sorted(wanted - set(state)), sorted(set(state) - wanted)
        kinds = {"missing": missing, "left over": left}
        found = [f"{len(keys)} {kind} ({keys[0]}, ...)" for kind, keys in kinds.items() if keys]
        raise ModelError(f"{path} does not fit the model: {' and '.join(found)}.")
    places = [
        (f"{where}.{name}" if where else name, module, name, parameter)
        for where, module in model.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]
    parameters: dict[int, nn.Parameter] = {}  # by the id of the old one, so that shared parameters stay shared
    for key, module, name, parameter in places:
        if id(parameter) not in parameters:
            parameters[id(parameter)] = nn.Parameter(state[key].clone(), parameter.requires_grad)
        module._parameters[name] = parameters[id(parameter)]
    for where, module in model.named_modules():
        for name in module._buffers:
            key = f"{where}.{name}" if where else name
            if key in state:
                module._buffers[name] = state[key].clone()
