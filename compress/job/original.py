"""The untouched original that a job begins with: a named model, a module, or an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from certify.core.errors import DataError, ModelError, UsageError
from certify.core.files import sha256_file
from certify.core.progress import Progress
from certify.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, Preprocess, default_preprocess
from certify.data.contract_slot import stored_contract
from compress.core.model_stats import state_digest
from compress.models import catalog
from compress.models.built import BuiltModel, ModelSource
from compress.models.plain import plain_copy
from compress.models.probe import probe
from compress.models.tokens import as_classifier, token_input


@dataclass(frozen=True)
class OriginalModel:
    """What is known of the original before it is trained or exported.

    Attributes:
        spec: as the user named it.
        origin: where it comes from, in one sentence.
        weights: file or name of the weights, or None.
        digest: hex SHA-256 of weights or file, for telling jobs apart; None where a name says all.
        preprocess: its preprocessing contract.
        module: the torch module; None for an ONNX file.
        file: the ONNX file; None for a module.
        built: what built a named model (see compress.models.catalog); None otherwise.
    """

    spec: str
    origin: str
    weights: str | None
    digest: str | None
    preprocess: Preprocess
    module: nn.Module | None = None
    file: Path | None = None
    built: BuiltModel | None = None

    @property
    def source(self) -> ModelSource | None:
        """How to build the module again, for the checkpoint's structure record; None for a user's module."""
        return None if self.built is None else self.built.source


@dataclass(frozen=True)
class Request:
    """What the user asked for about the model."""

    model: Any
    weights: str | None = None
    preprocess: Preprocess | Path | None = None
    seed: int = 0


def find_original(request: Request, dataset: Dataset, progress: Progress) -> OriginalModel:
    """Find out what the user means by the model.

    Raises:
        UsageError: an unknown name, weights for a model that can't take them, or an ONNX file without a contract.
        ModelError: the model can't be built, or its outputs do not fit the data.
        DataError: the data hold numbers, and no classes.
    """
    if dataset.test.targets is not None:
        raise DataError(
            f"The data {dataset.spec} hold numbers to predict, and compress works on classifiers; grade models of "
            "numbers with leanmark certify --metric regression:SCALE."
        )
    given = request.preprocess
    contract = given if given is None or isinstance(given, Preprocess) else Preprocess.from_yaml(Path(given))
    if isinstance(request.model, Path) or str(request.model).lower().endswith(".onnx"):
        return _from_file(Path(request.model), request, contract)
    if isinstance(request.model, str):
        return _from_name(request, dataset, contract, progress)
    return _from_module(request, dataset, contract)


def _from_file(path: Path, request: Request, contract: Preprocess | None) -> OriginalModel:
    if request.weights is not None:
        raise UsageError(f"{path} is an ONNX file with weights of its own; leave the weights out.")
    if not path.is_file():
        raise ModelError(f"{path}: no such ONNX file.")
    contract = contract or stored_contract(path)
    if contract is None:
        raise UsageError(
            f"{path} carries no preprocessing contract, and none was given; say how images become its input with "
            "--preprocess FILE.yaml."
        )
    return OriginalModel(
        str(path), f"the ONNX file {path.name}, as given", None, sha256_file(path), contract, file=path
    )


def _from_name(request: Request, dataset: Dataset, contract: Preprocess | None, progress: Progress) -> OriginalModel:
    built = catalog.build(
        request.model, len(dataset.classes), request.weights, dataset.class_map, request.seed, progress
    )
    weights = None if request.weights is None else Path(request.weights)
    contract = contract or _stated_contract(built, dataset)
    _require_outputs(request.model, probe(built.model, contract.noise(2), request.model), contract, dataset)
    digest = sha256_file(weights) if weights is not None and weights.is_file() else built.digest
    return OriginalModel(
        spec=request.model,
        origin=built.origin,
        weights=request.weights,
        digest=digest,
        preprocess=contract,
        module=built.model,
        built=built,
    )


def _stated_contract(built: BuiltModel, dataset: Dataset) -> Preprocess:
    """The contract that the data suggests, with what the weights or the architecture state instead of it."""
    if built.tokens is not None:
        return built.tokens.contract(dataset)
    class_map = dataset.class_map if built.uses_class_map else None
    contract = default_preprocess(dataset, built.mean or IMAGENET_MEAN, built.std or IMAGENET_STD, class_map=class_map)
    if built.interpolation is not None:
        contract = replace(contract, interpolation=built.interpolation)
    if built.input_size is None or (built.resize is None and _covers(dataset.input_size, built.input_size)):
        return contract
    height, width = built.input_size
    if built.resize is None:
        return replace(contract, height=height, width=width, resize="exact", crop="none")
    return replace(contract, height=height, width=width, resize=built.resize, crop="center")


def _covers(size: tuple[int, ...], least: tuple[int, int]) -> bool:
    return size[0] >= least[0] and size[1] >= least[1]


def _from_module(request: Request, dataset: Dataset, contract: Preprocess | None) -> OriginalModel:
    if not isinstance(request.model, nn.Module):
        raise UsageError(
            f"A model is a name, the path of an .onnx file or an nn.Module; got {type(request.model).__name__}."
        )
    if request.weights is not None:
        raise UsageError("A module is used with the weights that it has; load others into it before.")
    own = plain_copy(request.model)
    module, kind = as_classifier(own), f"{type(own).__module__}:{type(own).__qualname__}"
    takes = token_input(module)
    if contract is None and takes is not None:
        contract = takes.contract(dataset)
    tried = contract or default_preprocess(dataset)
    outputs = probe(module, tried.noise(2), kind)
    if contract is None and outputs != len(dataset.classes):
        tried = default_preprocess(dataset, class_map=dataset.class_map)
    _require_outputs(kind, outputs, tried, dataset)
    origin = f"the module {type(own).__qualname__}, with the weights that it was given with"
    return OriginalModel(kind, origin, None, state_digest(module), tried, module=module)


def _require_outputs(kind: str, outputs: int, contract: Preprocess, dataset: Dataset) -> None:
    classes = len(dataset.classes)
    fits = outputs == classes if contract.class_map is None else outputs > max(contract.class_map)
    if not fits:
        raise ModelError(f"{kind} has {outputs} output(s) and the data {classes} classes; fit its head.")
