"""Commented starting files: a recipe and a preprocessing contract."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

from compress import passes
from compress.job.recipe import Recipe

WIDTH = 118
CONTRACT = {
    "input_name": "name of the model's input",
    "output_name": "name of the output that is scored",
    "height": "of the input, in pixels",
    "width": "of the input, in pixels",
    "layout": "NCHW or NHWC: order of the input's dimensions",
    "colour": "RGB, BGR, or L for grey",
    "scale": "pixel values (0 to 255) are divided by this",
    "mean": "subtracted after scaling, one number per channel, as in the model's training",
    "std": "divisor after subtracting the mean, one number per channel, as in the model's training",
    "resize": "shorter side in pixels, or exact (to height and width), or null for no resizing",
    "crop": "center or none",
    "interpolation": "nearest, bilinear or bicubic",
    "reading": "logits or probabilities: what the output holds",
    "dtype": "float32, float16, uint8 or int8: type of the input",
}
"""Meaning of each field of an image contract, in the order in which they are written."""


def recipe_template(recipe: Recipe, command: str) -> str:
    """Write a recipe as YAML, with comments on its passes and their settings.

    Args:
        recipe: the recipe.
        command: command that runs it.

    Example:
        >>> from compress.job import recipe
        >>> text = recipe_template(recipe.load("int8"), "leanmark compress net.onnx --recipe recipe.yaml")
        >>> recipe.parse(text, "recipe.yaml").passes == recipe.load("int8").passes
        True
    """
    head = [
        *_comment(f"Run with: {command}", break_long_words=False),
        *_comment(
            "'leanmark passes' lists all passes; 'leanmark passes NAME' describes one, its parameters and its limits."
        ),
        f"description: {_value(recipe.description)}",
        "budget:",
        f"  max_loss_percent: {recipe.budget.max_loss_percent}  # maximum relative accuracy loss, in percent",
        f"  confidence: {recipe.budget.confidence}  # with which the loss must be shown",
        "workload:",
        f"  batch: {recipe.workload.batch}  # samples per inference",
        f"  runtime: {recipe.workload.runtime}  # for the measurement",
        "passes:",
    ]
    for each in recipe.passes:
        name = passes.written_name(each)
        summary, parameters = passes.describe(name)
        meaning = {parameter.name: parameter.description for parameter in parameters}
        stated = each.model_dump(mode="json", exclude_defaults=True)
        head += _comment(summary.partition("\n")[0], "  ")
        head.append(f"  - {name}:" if stated else f"  - {name}")
        for key, value in stated.items():
            head += [*_comment(meaning.get(key, ""), "      "), f"      {key}: {_value(value)}"]
    return "\n".join(head) + "\n"


def contract_template(model: str, known: Mapping[str, Any]) -> str:
    """Write a preprocessing contract as YAML, with a comment to fill in for each unknown field.

    Args:
        model: model that it is for.
        known: known values by field.
    """
    lines = _comment(
        f"How an image becomes the input of {model}. A wrong value silently costs accuracy, so nothing is guessed: "
        "fill in the lines that begin with '# OPEN'."
    )
    for name, meaning in CONTRACT.items():
        value = _value(known[name]) if name in known else ""
        lines.append(f"{name}: {value}  # {meaning}" if name in known else f"# OPEN {name}:  # {meaning}")
    return "\n".join(lines) + "\n"


def open_fields(known: Mapping[str, Any]) -> list[str]:
    """Return the fields of a contract that a template leaves open."""
    return [name for name in CONTRACT if name not in known]


def _comment(text: str, indent: str = "", **options: Any) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False, **options)


def _value(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    )
