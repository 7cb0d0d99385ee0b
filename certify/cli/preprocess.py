"""The preprocessing contract on the command line: a YAML file, or a flag for each of its fields."""

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
"""Fields that the model's file answers, or that have one usual value; all others must be given, none is guessed."""


def numbers(text: str) -> list[float]:
    """One number a channel, with commas: ``0.485,0.456,0.406``."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a list of numbers such as 0.485,0.456,0.406.") from None


def size(text: str) -> tuple[int, int]:
    """Height and width: ``224x224``."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"'{text}' is not a size such as 224x224 (height x width).")
    return int(height), int(width)


def shorter_side(text: str) -> int | str:
    """Pixels, ``exact`` or ``none``; ``none`` stays a word, so that it differs from a flag that was not given."""
    if text in ("exact", "none"):
        return text
    if not text.isdecimal():
        raise click.BadParameter(f"'{text}' is neither a number of pixels nor exact nor none.")
    return int(text)


_FLAGS: tuple[tuple[str, Any, str | None, str], ...] = (
    ("input-size", size, "HxW", "height and width of the input"),
    ("colour", click.Choice(["RGB", "BGR", "L"]), None, "order of the colours; L is grey"),
    ("scale", float, "NUMBER", "what pixel values (0 to 255) are divided by"),
    ("mean", numbers, "NUMBERS", "taken off after that, a number a channel: 0.485,0.456,0.406"),
    ("std", numbers, "NUMBERS", "divided by after that, a number a channel"),
    ("layout", click.Choice(["NCHW", "NHWC"]), None, "order of the input's dimensions"),
    ("resize", shorter_side, "PIXELS", "shorter side in pixels, or exact (to the input size), or none"),
    ("crop", click.Choice(["center", "none"]), None, "after resizing"),
    ("interpolation", click.Choice(["nearest", "bilinear", "bicubic"]), None, "of resizing"),
    ("dtype", click.Choice(["float32", "float16", "uint8", "int8"]), None, "type of the input [float32]"),
    ("reading", click.Choice(["logits", "probabilities"]), None, "what the output holds [logits]"),
    ("input-name", str, "NAME", "of the input, where the model has several"),
    ("output-name", str, "NAME", "of the output, where the model has several"),
)


def preprocess_options(command: F) -> F:
    """Add ``--preprocess`` and a flag for each field of the contract."""
    for name, kind, metavar, help_text in reversed(_FLAGS):
        command = click.option(f"--{name}", type=kind, metavar=metavar, help=f"Contract: {help_text}.")(command)
    return click.option(
        "--preprocess",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="YAML file with the preprocessing contract; sealed files carry their own.",
    )(command)


def contract(model: Path, preprocess: Path | None, flags: dict[str, Any]) -> Preprocess | None:
    """The contract that was given, or None where none was (a sealed model carries its own).

    Args:
        model: ONNX file whose input and output it names.
        preprocess: YAML file.
        flags: values of the flags by field name, None for those not given.

    Raises:
        UsageError: both a file and flags were given, or a flag is missing.
    """
    from certify.data.preprocess import Preprocess

    given = _given(preprocess, flags)
    if preprocess is not None:
        return Preprocess.from_yaml(preprocess)
    if not given:
        return None
    missing = [_flag(name) for name in flags if name not in given and name not in OPTIONAL]
    if missing:
        raise UsageError(
            f"A preprocessing contract by flags needs every one of them, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; nothing is guessed."
        )
    return Preprocess.from_json({"reading": "logits", **_ports(model, given), **_fields(given)}, "preprocessing flags")


def stated(preprocess: Path | None, flags: dict[str, Any]) -> Path | dict[str, Any] | None:
    """What was stated of a contract whose other fields have defaults: the file, or fields by name.

    Raises:
        UsageError: both a file and flags were given.
    """
    fields = _fields(_given(preprocess, flags))
    return preprocess or fields or None


def _given(preprocess: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in flags.items() if value is not None}
    if preprocess is not None and given:
        raise UsageError(f"--preprocess and {_flag(next(iter(given)))} were both given; use the file or the flags.")
    return given


def take_flags(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the contract's flags out of a command's arguments."""
    return {field: arguments.pop(field) for field in (name.replace("-", "_") for name, *_ in _FLAGS)}


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    fields = dict(given)
    if "input_size" in fields:
        fields["height"], fields["width"] = fields.pop("input_size")
    if fields.get("resize") == "none":
        fields["resize"] = None
    return fields


def _ports(model: Path, given: dict[str, Any]) -> dict[str, str]:
    """Names of the model's only input and output, where no flag names them."""
    from certify.model_file.model_file import open_model

    if "input_name" in given and "output_name" in given:
        return {}
    with open_model(model) as file:
        both = file.ports()
    if both is None:
        raise UsageError(f"{model} does not name its ports; name them with --input-name and --output-name.")
    names: dict[str, str] = {}
    for field, ports in zip(("input_name", "output_name"), both, strict=True):
        if field not in given and len(ports) != 1:
            listed = ", ".join(port.name for port in ports) or "none"
            raise UsageError(
                f"{model} has {len(ports)} candidates for {_flag(field)} ({listed}); say which. A model of text is "
                "described by a file of the kind tokens: --preprocess FILE.yaml."
            )
        names[field] = ports[0].name
    return names
