"""The preprocessing contract inside a model's file: written with the normal form, read back where one is carried."""

from __future__ import annotations

from pathlib import Path

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import ModelError, UsageError
from certify.data.dataset import Dataset
from certify.data.given_arrays import as_given
from certify.data.preprocess import Preprocess
from certify.model_file.model_file import ModelFile, open_model


def normalise(source: Path, target: Path, preprocess: Preprocess) -> None:
    """Write the normal form of a model's file; normalising twice under one name gives the same bytes.

    Args:
        source: any model file, with its external data beside it.
        target: where the normal form goes; may be ``source`` itself.
        preprocess: how samples become the model's input; stored in the file.

    Raises:
        ModelError: the file is damaged, or can't be brought into the normal form.
    """
    with open_model(source) as model:
        model.write_normal_form(target, rfc8785.dumps(preprocess.to_json()))


def stored_contract(path: Path) -> Preprocess | None:
    """The preprocessing contract that a file carries, or None where it carries none.

    Raises:
        ModelError: the file is damaged, or carries more than one.
        CertificateError: the contract is not canonical JSON.
        UsageError: a field of the contract is not allowed.
    """
    with open_model(path) as model:
        return contract_in(model)


def contract_in(model: ModelFile) -> Preprocess | None:
    """The same of a file that is open; raises as :func:`stored_contract` does."""
    path, stored = model.path, model.contracts()
    if not stored:
        return None
    if len(stored) > 1:
        raise ModelError(f"{path} carries {len(stored)} preprocessing contracts; give the right contract as a file.")
    values = parse_canonical(stored[0], f"the preprocessing contract of {path}")
    if not isinstance(values, dict):
        raise ModelError(f"{path}: its preprocessing contract is not a JSON object.")
    return Preprocess.from_json(values, f"preprocessing contract of {path}")


def as_given_to(path: Path, dataset: Dataset) -> Preprocess | None:
    """The contract that feeds the arrays of a data set to a file as they are; None for data of another kind.

    Raises:
        UsageError: the file has several outputs, or one for two classes, so that something must be said.
        DataError: the file takes other inputs.
    """
    if dataset.test.kind != "arrays":
        return None
    with open_model(path) as model:
        ports = model.ports()
    if ports is None or len(ports[1]) != 1:
        raise UsageError(f"{path} does not have one output; give a contract of kind arrays: --preprocess FILE.yaml.")
    (output,) = ports[1]
    if output.shape[-1:] == (1,) and dataset.test.targets is None:
        raise UsageError(
            f"{path} has one output for two classes, a logit or a probability; say which with reading in a contract of "
            "kind arrays: --preprocess FILE.yaml."
        )
    return as_given(dataset, {port.name: port.dtype for port in ports[0]}, output.name)


def contract_of(model: Path, given: Preprocess | str | Path | None, default: Preprocess | None = None) -> Preprocess:
    """The preprocessing contract of a model: the given one, the one in the file, or the default; never a guess.

    Raises:
        UsageError: there is none of them.
    """
    if isinstance(given, Preprocess):
        return given
    if given is not None:
        contract: Preprocess | None = Preprocess.from_yaml(Path(given))
    else:
        contract = stored_contract(model) or default
    if contract is None:
        raise UsageError(
            f"{model} carries no preprocessing contract, and none was given; say how images become its input with "
            "--preprocess FILE.yaml (input size, colours, mean, std, resize, crop). A wrong guess costs points of "
            "accuracy and looks like a bad model, so none is made."
        )
    return contract
