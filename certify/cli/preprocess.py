"""The preprocessing contract on the command line: a YAML file, or one flag per field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.data.preprocess import Preprocess

F = TypeVar("F", bound=Callable[..., object])

OPTIONAL = ("input_name", "output_name", "reading", "dtype")
"""Fields with a default or known from the model file; all others are required, and none is guessed."""


def numbers(text: str) -> list[float]:
    """Parse one number per channel, separated by commas: ``0.485,0.456,0.406``.

    Example:
        >>> numbers("0.485,0.456")
        [0.485, 0.456]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a list of numbers such as 0.485,0.456,0.406.") from None


def size(text: str) -> tuple[int, int]:
    """Parse height and width: ``224x224``.

    Example:
        >>> size("224x192")
        (224, 192)
    """
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"'{text}' is not a size such as 224x224 (height x width).")
    return int(height), int(width)


def shorter_side(text: str) -> int | str:
    """Parse pixels, ``exact`` or ``none``; ``none`` stays a string, to differ from a flag that was not given.

    Example:
        >>> shorter_side("256"), shorter_side("exact")
        (256, 'exact')
    """
    if text in ("exact", "none"):
        return text
    if not text.isdecimal():
        raise click.BadParameter(f"'{text}' must be a number of pixels, exact or none.")
    return int(text)


_FLAGS: tuple[tuple[str, Any, str | None, str], ...] = (
    ("input-size", size, "HxW", "input height and width."),
    ("colour", click.Choice(["RGB", "BGR", "L"]), None, "colour order; L is greyscale."),
    ("scale", float, "NUMBER", "divisor of the pixel values (0 to 255)."),
    ("mean", numbers, "NUMBERS", "mean, subtracted after scaling, one number per channel: 0.485,0.456,0.406."),
    ("std", numbers, "NUMBERS", "standard deviation, the divisor after that, one number per channel."),
    ("layout", click.Choice(["NCHW", "NHWC"]), None, "order of the input dimensions."),
    ("resize", shorter_side, "PIXELS", "shorter side in pixels, exact (to the input size) or none."),
    ("crop", click.Choice(["center", "none"]), None, "crop after resizing."),
    ("interpolation", click.Choice(["nearest", "bilinear", "bicubic"]), None, "interpolation of the resizing."),
    ("dtype", click.Choice(["float32", "float16", "uint8", "int8"]), None, "input type.  [default: float32]"),
    ("reading", click.Choice(["logits", "probabilities"]), None, "content of the output.  [default: logits]"),
    ("input-name", str, "NAME", "input name, if the model has several."),
    ("output-name", str, "NAME", "output name, if the model has several."),
)


def preprocess_options(command: F) -> F:
    """Add ``--preprocess`` and one flag per field of the contract."""
    for name, kind, metavar, help_text in reversed(_FLAGS):
        command = click.option(f"--{name}", type=kind, metavar=metavar, help=f"Contract: {help_text}")(command)
    return click.option(
        "--preprocess",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="YAML file with the preprocessing contract; sealed files have their own.",
    )(command)


def contract(model: Path, preprocess: Path | None, flags: dict[str, Any]) -> Preprocess | None:
    """Return the contract that was given, or None if none was (a sealed model carries its own).

    Args:
        model: ONNX file whose input and output the contract names.
        preprocess: YAML file.
        flags: values of the flags by field name; None if not given.

    Raises:
        UsageError: both a file and flags were given, or a required flag is missing.
    """
    from certify.data.preprocess import Preprocess

    values = _from_flags(preprocess, flags)
    if preprocess is not None:
        return Preprocess.from_yaml(preprocess)
    if not values:
        return None
    missing = [_flag(name) for name in flags if name not in values and name not in OPTIONAL]
    if missing:
        raise UsageError(
            f"A preprocessing contract given by flags must be complete, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; add it, or pass a file with --preprocess."
        )
    return Preprocess.from_json(
        {"reading": "logits", **_ports(model, values), **_fields(values)}, "preprocessing flags"
    )


def stated(preprocess: Path | None, flags: dict[str, Any]) -> Path | dict[str, Any] | None:
    """Return what was given of a contract whose other fields have defaults: the file, or fields by name.

    Raises:
        UsageError: both a file and flags were given.
    """
    fields = _fields(_from_flags(preprocess, flags))
    return preprocess or fields or None


def _from_flags(preprocess: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    set_flags = {name: value for name, value in flags.items() if value is not None}
    if preprocess is not None and set_flags:
        raise UsageError(
            f"--preprocess and {_flag(next(iter(set_flags)))} exclude each other; use either the file or the flags."
        )
    return set_flags


def take_flags(arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the contract's flags from a command's arguments and return them."""
    return {field: arguments.pop(field) for field in (name.replace("-", "_") for name, *_ in _FLAGS)}


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    fields = dict(values)
    if "input_size" in fields:
        fields["height"], fields["width"] = fields.pop("input_size")
    if fields.get("resize") == "none":
        fields["resize"] = None
    return fields


def _ports(model: Path, values: dict[str, Any]) -> dict[str, str]:
    """Return the names of the model's only input and output, unless flags name them."""
    from certify.model_file.model_file import open_model

    if "input_name" in values and "output_name" in values:
        return {}
    # Only read if a name is missing, because opening a large model takes time.
    with open_model(model) as file:
        both = file.ports()
    if both is None:
        # Exported programs do not always name their ports.
        raise UsageError(f"{model} does not name its inputs and outputs; add --input-name and --output-name.")
    names: dict[str, str] = {}
    for field, ports in zip(("input_name", "output_name"), both, strict=True):
        if field not in values and len(ports) != 1:
            listed = ", ".join(port.name for port in ports) or "none"
            raise UsageError(
                f"{model} has {len(ports)} candidates for {_flag(field)} ({listed}); choose one. A text model needs a "
                "contract file of the kind tokens: --preprocess FILE.yaml."
            )
        names[field] = ports[0].name
    return names
