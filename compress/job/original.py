"""The untouched original at the start of a job: a named model, a module, or an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.errors import ModelError, UsageError
from certify.core.files import sha256_file
from certify.core.folders import without_home
from certify.core.progress import Progress
from certify.data import DEFAULT_SPEC, Dataset, Preprocess, TokenInput
from certify.data.contract_slot import as_given_to
from certify.model_file.suffixes import is_onnx
from compress.core.model_stats import state_digest
from compress.core.samples import as_tensor
from compress.job.preprocessing import (
    NOTHING,
    StatedFields,
    carried_by,
    from_ports,
    image_contract,
    of_built,
    read_stated,
    stored_in,
)
from compress.models import catalog, huggingface
from compress.models.built_model import BuiltModel, ModelSource
from compress.models.named_inputs import contract_for, fed_by
from compress.models.plain_copy import plain_copy
from compress.models.probe import probe
from compress.models.tokens import as_classifier, token_input

LONGEST = 256
"""Longest name of a model in the schemas of lineage and certificate."""
TRIED = 32
"""Number of samples for telling logits from probabilities in a model with one output."""


@dataclass(frozen=True)
class OriginalModel:
    """Facts about the original before it is trained or exported.

    Attributes:
        spec: model as the user named it; name of an ONNX file, without its folder.
        origin: origin, in one sentence.
        weights: file or name of the weights, or None.
        digest: hex SHA-256 of weights or file, which distinguishes jobs; None if the name is sufficient.
        preprocess: preprocessing contract.
        stated: sources of the contract's fields, in words.
        module: the torch module; None for an ONNX file.
        file: the ONNX file; None for a module.
        built: builder's result for a named model (see compress.models.catalog); None otherwise.
        arguments: the user's arguments of the factory.
    """

    spec: str
    origin: str
    weights: str | None
    digest: str | None
    preprocess: Preprocess
    stated: str
    module: nn.Module | None = None
    file: Path | None = None
    built: BuiltModel | None = None
    arguments: Mapping[str, Any] | None = None

    @property
    def described(self) -> str:
        """The spec with the user's arguments of the factory: ``nets:leaf(width=2)``; shortened if it is long."""
        arguments = ", ".join(f"{name}={value}" for name, value in (self.arguments or {}).items())
        whole = f"{self.spec}({arguments})" if arguments else self.spec
        return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 4]}...)"

    @property
    def needs_training(self) -> bool:
        """Whether it has no weights that fit the data."""
        return self.built is not None and self.built.needs_training

    @property
    def source(self) -> ModelSource | None:
        """How to rebuild the module, for the checkpoint's structure record; None for a user's module."""
        return None if self.built is None else self.built.source


@dataclass(frozen=True)
class Request:
    """The user's request for a model.

    Attributes:
        model: name, path of an ONNX file, or module.
        weights: file or name of weights.
        preprocess: see :func:`compress.job.preprocessing.read_stated`.
        seed: seed of random weights.
        arguments: arguments of the model's factory.
    """

    model: Any
    weights: str | None = None
    preprocess: object = None
    seed: int = 0
    arguments: Mapping[str, Any] | None = None

    @property
    def is_file(self) -> bool:
        """Whether the model is an ONNX file."""
        return isinstance(self.model, Path) or is_onnx(str(self.model))

    def data(self, data: Any) -> Any:
        """Return the requested data; only an architecture that is trained here has a default.

        Raises:
            UsageError: no data was given for a model or weights of the user's own, or the model does not exist.
        """
        if data is not None:
            return data
        by_name = isinstance(self.model, str) and not self.is_file and not huggingface.takes(self.model)
        architecture = by_name and catalog.is_architecture(self.model)
        if architecture and self.weights is None:
            return DEFAULT_SPEC
        whose = "with weights" if architecture else "of your own"
        name = self.model if isinstance(self.model, str | Path) else type(self.model).__qualname__
        raise UsageError(
            f"{name} is a model {whose}, which has no default data; name the data that it was trained for with --data, "
            "such as --data imagefolder:PATH (in Python: data=)."
        )


def find_original(request: Request, dataset: Dataset, progress: Progress) -> OriginalModel:
    """Resolve the user's request to a model.

    Raises:
        UsageError: a name is unknown, the model takes no such weights, or an ONNX file has no contract.
        ModelError: the model cannot be built, or its outputs do not fit the data.
        DataError: the model does not take this kind of data.
    """
    if request.arguments and (request.is_file or not isinstance(request.model, str)):
        raise UsageError("Model arguments need a factory by name; build the module with them, or leave them out.")
    try:
        json.dumps(request.arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Model arguments must be JSON values, which a checkpoint can store ({error}).") from error
    preprocess = read_stated(request.preprocess)
    if request.is_file:
        return _from_file(Path(request.model).expanduser(), request, preprocess, dataset)
    if isinstance(request.model, str):
        return _from_name(request, dataset, preprocess, progress)
    return _from_module(request, dataset, preprocess)


def _from_file(path: Path, request: Request, preprocess: StatedFields | Preprocess, dataset: Dataset) -> OriginalModel:
    if request.weights is not None:
        raise UsageError(f"{path} is an ONNX file, which contains its weights; leave out --weights.")
    if not path.is_file():
        raise ModelError(f"{path}: ONNX file not found.")
    contract: Preprocess | None = preprocess if isinstance(preprocess, Preprocess) else None
    stated = "as given"
    if isinstance(preprocess, StatedFields):
        contract, stated = stored_in(path, preprocess) or as_given_to(path, dataset), "from the file"
        if contract is None and dataset.test.kind == "image":
            contract, stated = image_contract(dataset, preprocess, from_ports(path, preprocess), None, own=str(path))
        elif preprocess.fields:
            carried = {} if contract is None else contract.to_json()
            contract = Preprocess.from_json({**carried, **preprocess.fields}, preprocess.place())
            stated = f"{', '.join(preprocess.fields)} {preprocess.by}{', the rest from the file' if carried else ''}"
    if contract is None:
        raise UsageError(
            f"{path} contains no preprocessing contract, and none was given; describe its input with "
            "--preprocess FILE.yaml."
        )
    return OriginalModel(
        path.name, f"the ONNX file {path.name}, as given", None, sha256_file(path), contract, stated, file=path
    )


def _from_name(
    request: Request, dataset: Dataset, preprocess: StatedFields | Preprocess, progress: Progress
) -> OriginalModel:
    classes = _outputs(dataset)
    built = catalog.build(
        request.model, classes, request.weights, dataset.class_map, request.seed, progress, request.arguments
    )
    weights = None if request.weights is None else Path(request.weights).expanduser()
    class_map = dataset.class_map if built.uses_class_map else None
    trained_here = not built.pretrained and (huggingface.takes(request.model) or catalog.is_architecture(request.model))
    # A network trained here can take any normalisation; other weights need the one that they were trained with.
    own = None if trained_here else request.model
    if dataset.test.kind == "arrays" and not isinstance(preprocess, Preprocess):
        contract: Preprocess = contract_for(built.model, dataset)
        stated = "as given"
    else:
        contract, stated = _contract(built.tokens, dataset, preprocess, of_built(built), class_map, own)
    fed_by(built.model, contract)
    _require_outputs(request.model, built.model, contract, dataset)
    digest = sha256_file(weights) if weights is not None and weights.is_file() else built.digest
    return OriginalModel(
        spec=without_home(request.model),
        origin=built.origin,
        weights=None if request.weights is None else without_home(request.weights),
        digest=digest,
        preprocess=contract,
        stated=stated,
        module=built.model,
        built=built,
        arguments=request.arguments,
    )


def _contract(
    tokens: TokenInput | None,
    dataset: Dataset,
    preprocess: StatedFields | Preprocess,
    carried: StatedFields,
    class_map: tuple[int, ...] | None,
    own: str | None,
) -> tuple[Preprocess, str]:
    """Return the contract of a torch model, and the sources of its fields."""
    if isinstance(preprocess, Preprocess):
        return preprocess, "as given"
    if tokens is not None:
        if preprocess is not NOTHING:
            raise UsageError("A text model takes a preprocessing contract of the kind tokens, or none.")
        return tokens.contract(dataset), "from the model and the data"
    return image_contract(dataset, preprocess, carried, class_map, own=own)


def _from_module(request: Request, dataset: Dataset, preprocess: StatedFields | Preprocess) -> OriginalModel:
    if not isinstance(request.model, nn.Module):
        raise UsageError(
            f"The 'model' must be a name, the path of an ONNX file or an nn.Module, got {type(request.model).__name__}."
        )
    if request.weights is not None:
        raise UsageError("A module is used with its own weights; load others into it first, and leave out weights.")
    own = plain_copy(request.model)
    module, kind = as_classifier(own), f"{type(own).__module__}:{type(own).__qualname__}"
    described = (token_input(module), dataset, preprocess, carried_by(own))
    if dataset.test.kind == "arrays" and not isinstance(preprocess, Preprocess):
        contract: Preprocess = contract_for(module, dataset)
        stated = "as given"
    else:
        contract, stated = _contract(*described, None, kind)
    fed_by(module, contract)
    ours = dataset.class_map is not None and not isinstance(preprocess, Preprocess)
    # A module whose outputs are not the data's classes may have those of the data set that it was published for.
    if ours and probe(module, contract.noise(2), kind) != len(dataset.classes):
        contract, stated = _contract(*described, dataset.class_map, kind)
    _require_outputs(kind, module, contract, dataset)
    origin = f"the module {type(own).__qualname__}, with the weights that it was given with"
    return OriginalModel(kind, origin, None, state_digest(module), contract, stated, module=module)


def _outputs(dataset: Dataset) -> int:
    """Return the number of outputs that fit the data: one per class, or one number."""
    return len(dataset.classes) if dataset.test.targets is None else 1


def _require_outputs(kind: str, module: nn.Module, contract: Preprocess, dataset: Dataset) -> None:
    """Try the model on samples of the data, and reject one whose outputs do not fit or are ambiguous."""
    split = dataset.validation or dataset.test
    samples = contract.batch(split, np.arange(TRIED) % len(split)) if contract.kind == "arrays" else contract.noise(2)
    outputs, wanted = probe(module, samples[:2], kind), _outputs(dataset)
    if contract.class_map is not None:
        fits = outputs > max(contract.class_map)
    else:
        fits = outputs == wanted or (outputs == 1 and wanted == 2)
    if not fits:
        meant = f"{wanted} classes" if dataset.test.targets is None else "one number per sample"
        raise ModelError(f"{kind} has {outputs} output(s), but the data has {meant}; adapt the head of the model.")
    if outputs == 1 and wanted == 2 and contract.reading == "logits":
        with torch.no_grad():
            values = module(as_tensor(samples))
        if bool(((values >= 0) & (values <= 1)).all()):
            raise UsageError(
                f"{kind} has one output for two classes, always between 0 and 1, which may be logits or probabilities; "
                "state which with 'reading' in a preprocessing contract, or remove the sigmoid from the model."
            )
