"""How images become the original's input: fields stated by the user or the model, then defaults, which are printed.

For the user's own weights, mean and standard deviation are never guessed: a wrong guess costs accuracy and looks like a
bad model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from certify.core.errors import CertificateError, ModelError, UsageError
from certify.core.yaml_document import read_document
from certify.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, ImagePreprocess, Preprocess, default_preprocess
from certify.data.contract import MAX_YAML_BYTES
from certify.data.contract_slot import stored_contract
from certify.model_file.model_file import open_model
from compress.job.known_fields import fields_of_ports
from compress.models import image_input
from compress.models.built_model import BuiltModel

NORMALISATION = ("mean", "std")
CARRIED = ("transforms", "processor", "pretrained_cfg")
"""Attributes of modules that describe their input."""
PRINTED = ("resize", "crop", "interpolation", "scale", "mean", "std", "layout", "dtype", "reading")


@dataclass(frozen=True)
class StatedFields:
    """Some fields of a contract, and their source.

    Attributes:
        fields: fields of :class:`certify.data.ImagePreprocess` by name.
        by: source in words, for the job's first line.
        place: file and line of a field, for errors.
        input: another library's description, in the form of BuiltModel; it fills what ``fields`` leave open.
    """

    fields: Mapping[str, Any]
    by: str
    place: Callable[..., str]
    input: Mapping[str, Any]


NOTHING = StatedFields({}, "", lambda *_: "preprocessing contract", {})


def read_stated(value: object) -> StatedFields | Preprocess:
    """Parse the ``preprocess`` argument.

    Args:
        value: a whole contract; some of its fields as a mapping, or in a YAML file; torchvision's evaluation
            transforms; timm's data config; a Hugging Face image processor; or None.

    Raises:
        UsageError: it is none of them, or the file cannot be read.

    Example:
        >>> read_stated({"mean": [0.5, 0.5, 0.5]}).fields
        {'mean': [0.5, 0.5, 0.5]}
    """
    if isinstance(value, Preprocess):
        return value
    if value is None:
        return NOTHING
    if isinstance(value, str | Path):
        document = read_document(Path(value), MAX_YAML_BYTES)
        # Contracts of tokens and arrays have no fields that model or data could fill.
        if document.values.get("kind", "image") != "image":
            return Preprocess.from_yaml(Path(value))
        fields = {key: value for key, value in document.values.items() if key != "kind"}
        return StatedFields(fields, Path(value).name, document.place, {})
    described = _described(value)
    if described is not None:
        return replace(NOTHING, by=f"the {type(value).__name__}", input=described)
    if isinstance(value, Mapping):
        return replace(NOTHING, by="as given", fields=value)
    raise UsageError(
        "The 'preprocess' parameter must be a contract, a YAML file or dict of its fields, torchvision's evaluation "
        f"transforms, timm's data config or an image processor, got {type(value).__name__}."
    )


def stored_in(path: Path, user: StatedFields) -> Preprocess | None:
    """Return the contract in a file; None if it cannot be read and the user states a whole one instead."""
    try:
        return stored_contract(path)
    except (CertificateError, ModelError, UsageError):
        if any(field.name not in user.fields for field in fields(ImagePreprocess) if field.default is MISSING):
            raise
        return None


def from_ports(path: Path, user: StatedFields) -> StatedFields:
    """Return the contract fields that the ports of a file without a contract imply.

    Raises:
        UsageError: the file has more than one input or output, and none is chosen.
    """
    with open_model(path) as file:
        known = fields_of_ports(file)
    for name in ("input_name", "output_name"):
        if name not in known and name not in user.fields:
            port = name.partition("_")[0]
            raise UsageError(f"{path} does not have exactly one {port}; choose one with --{port}-name NAME.")
    return replace(NOTHING, fields=known, by="the file")


def carried_by(module: object) -> StatedFields:
    """Return what a module itself states about its input; nothing for most modules."""
    for name in CARRIED:
        described = _described(getattr(module, name, None))
        if described is not None:
            return replace(NOTHING, by=f"the model's {name}", input=described)
    return NOTHING


def _described(value: object) -> Mapping[str, Any] | None:
    """Return another library's description in the form of BuiltModel, or None for anything else."""
    # The image processors of transformers.
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    try:
        if isinstance(value, Mapping):
            if "input_size" in value and "mean" in value:
                return image_input.of_timm(value)
            return image_input.of_processor(value) if "image_mean" in value or "do_normalize" in value else None
        return image_input.of_torchvision(value) if hasattr(value, "crop_size") else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"The {type(value).__name__} does not describe a model input ({error!r}).") from error


def of_built(built: BuiltModel) -> StatedFields:
    """Return what the weights or architecture of a named model state; ``by`` is empty if nothing covers the weights."""
    names = ("input_size", "resize", "mean", "std", "interpolation")
    return replace(NOTHING, by=built.stated_by or "", input={name: getattr(built, name) for name in names})


def image_contract(
    dataset: Dataset, user: StatedFields, carried: StatedFields, class_map: tuple[int, ...] | None, *, own: str | None
) -> tuple[Preprocess, str]:
    """Return the contract, and the sources of its fields in words.

    Args:
        dataset: data set with the images that the model takes.
        user: statements of the user, which take precedence.
        carried: the model's statements.
        class_map: see :func:`certify.data.default_preprocess`.
        own: name of a model with the user's own weights; None for weights trained here or published.

    Raises:
        UsageError: mean or standard deviation of the user's own weights is missing, or a field is not allowed.
    """
    # An architecture's usual mean and std say nothing about the user's own weights.
    described = {**(carried.input if carried.by or own is None else _without(carried.input)), **user.input}
    known = {key for key in NORMALISATION if key in user.fields or described.get(key)}
    if own is not None and len(known) < len(NORMALISATION):
        raise UsageError(_unstated(own, known))
    base = default_preprocess(
        dataset,
        described.get("mean") or IMAGENET_MEAN,
        described.get("std") or IMAGENET_STD,
        class_map=class_map,
    )
    stated = {**carried.fields, **user.fields}
    values = {**base.to_json(), **_sized(base, dataset, described), **stated}
    # Another input size keeps the ratio of resize to crop, as in the default evaluation.
    if {"height", "width"} & stated.keys() and "resize" not in stated and base.crop != "none":
        shorter = min(values["height"], values["width"])
        values["resize"] = round(shorter * base.resize / base.height) if isinstance(base.resize, int) else base.resize
    contract = ImagePreprocess(**ImagePreprocess._checked(values, user.place))
    return contract, _who(user, carried)


def _without(described: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in NORMALISATION}


def _sized(base: ImagePreprocess, dataset: Dataset, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract's size fields from a description of the input."""
    fields: dict[str, Any] = {}
    if described.get("interpolation"):
        fields["interpolation"] = described["interpolation"]
    size, resize = described.get("input_size"), described.get("resize")
    # If no resize is stated, only images smaller than the model's input have to be resized.
    covered = size is None or (dataset.input_size[0] >= size[0] and dataset.input_size[1] >= size[1])
    if size is None or (resize is None and covered):
        return fields
    crop = "center" if isinstance(resize, int) else "none"
    return {**fields, "height": size[0], "width": size[1], "resize": resize or "exact", "crop": crop}


def _unstated(own: str, known: set[str]) -> str:
    lacks = " and ".join(key for key in NORMALISATION if key not in known)
    return (
        f"{own} does not state the {lacks} of its input pixels, and leanmark does not guess them. Give the values used "
        "in training, such as --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 (and --input-size, --resize, --crop, "
        "--interpolation, --colour, --scale if they differ from the printed defaults), or a file of such keys with "
        "--preprocess FILE.yaml; in Python: preprocess={'mean': ..., 'std': ...}."
    )


def _who(user: StatedFields, carried: StatedFields) -> str:
    stated = [f"{', '.join(user.fields)} {user.by if user.by == 'as given' else f'from {user.by}'}"]
    parts = stated if user.fields else [f"from {user.by}"] if user.input else []
    parts += [f"from {carried.by}"] if carried.by else []
    return "; ".join([*parts, "the rest by default"])


def describe(contract: Preprocess) -> str:
    """Describe a contract in one line.

    Example:
        >>> from compress.testing.networks import blobs
        >>> describe(default_preprocess(blobs(), (0.5,) * 3, (0.5,) * 3)).partition(", scale")[0]
        '32 x 32 RGB, resize exact, crop none, interpolation bilinear'
    """
    if not isinstance(contract, ImagePreprocess):
        return contract.kind
    values = contract.to_json()
    printed = (f"{key} {_plain(values[key])}" for key in PRINTED)
    return f"{contract.height} x {contract.width} {contract.colour}, {', '.join(printed)}"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ",".join(f"{each:g}" for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
