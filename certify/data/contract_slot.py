"""The preprocessing contract inside a model file: written with the normal form, and read back."""

from __future__ import annotations

from pathlib import Path

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import ModelError, UsageError
from certify.data.array_contract import as_given
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.model_file.model_file import ModelFile, open_model


def normalise(source: Path, target: Path, preprocess: Preprocess) -> None:
    """Write the normal form of a model file; normalising twice under the same name gives the same bytes.

    Args:
        source: any model file, with its external data next to it.
        target: path of the normal form; may be ``source`` itself.
        preprocess: the preprocessing contract to store in the file.

    Raises:
        ModelError: the file is damaged, or has no normal form.
    """
    with open_model(source) as model:
        model.write_normal_form(target, rfc8785.dumps(preprocess.to_json()))


def stored_contract(path: Path) -> Preprocess | None:
    """Return the preprocessing contract that a file carries, or None.

    Raises:
        ModelError: the file is damaged, or carries more than one.
        CertificateError: the contract is not canonical JSON.
        UsageError: a field of the contract is invalid.
    """
    with open_model(path) as model:
        return contract_in(model)


def contract_in(model: ModelFile) -> Preprocess | None:
    """Return the contract of a file that is already open; see :func:`stored_contract`."""
    path, stored = model.path, model.contracts()
    if not stored:
        return None
    if len(stored) > 1:
        raise ModelError(
            f"{path} carries {len(stored)} preprocessing contracts; give the right one with --preprocess FILE.yaml."
        )
    # Must be canonical JSON, because its digest is signed.
    values = parse_canonical(stored[0], f"the preprocessing contract of {path}")
    if not isinstance(values, dict):
        raise ModelError(f"{path}: its preprocessing contract is not a JSON object.")
    return Preprocess.from_json(values, f"preprocessing contract in {path} (--preprocess FILE.yaml replaces it)")


def as_given_to(path: Path, dataset: Dataset) -> Preprocess | None:
    """Return the contract that feeds a data set's arrays to a model unchanged, or None if the data are not arrays.

    Raises:
        UsageError: the model has several outputs, or one output for two classes, so a contract must be given.
        DataError: the model takes other inputs.
    """
    if dataset.test.kind != "arrays":
        return None
    with open_model(path) as model:
        ports = model.ports()
    # With several outputs, which one answers would be a guess.
    if ports is None or len(ports[1]) != 1:
        raise UsageError(
            f"{path} must have exactly one output to be used without a contract; give a contract of kind 'arrays' with "
            "--preprocess FILE.yaml."
        )
    (output,) = ports[1]
    if output.shape[-1:] == (1,) and dataset.test.targets is None:
        raise UsageError(
            f"{path} has one output for two classes, either a logit or a probability; state which as 'reading' in a "
            "contract of kind 'arrays' with --preprocess FILE.yaml."
        )
    return as_given(dataset, {port.name: port.dtype for port in ports[0]}, output.name)


def contract_of(model: Path, stated: Preprocess | str | Path | None, default: Preprocess | None = None) -> Preprocess:
    """Return the preprocessing contract of a model: the given one, the one in the file, or the default; never a guess.

    Raises:
        UsageError: none of them exists.
    """
    if isinstance(stated, Preprocess):
        return stated
    if stated is not None:
        contract: Preprocess | None = Preprocess.from_yaml(Path(stated))
    else:
        contract = stored_contract(model) or default
    if contract is None:
        raise UsageError(
            f"{model} carries no preprocessing contract, and none was given; describe how images become its input with "
            "--preprocess FILE.yaml (input size, colours, mean, std, resize, crop). leanmark does not guess: a wrong "
            "guess costs accuracy and looks like a bad model."
        )
    return contract
