"""``leanmark init``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, governed
from certify.core.errors import UsageError
from certify.core.text import clean
from certify.model_file.suffixes import is_onnx

RECIPE, CONTRACT = "recipe.yaml", "preprocess.yaml"
CSV = "csv:"


@click.command(
    cls=Command,
    example="""\
leanmark init resnet18 --data imagefolder:photos
leanmark init mypackage.nets:make --data npz:photos.npz --out job
leanmark init mypackage.nets:Table --data csv:people.csv,label=income,group=sex
""",
)
@click.argument("model")
@click.option("--data", required=True, help="Data specification, such as imagefolder:PATH.")
@click.option("--recipe", help="Recipe to start from.  [default: by the kind of model]")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder.  [default: .]")
@governed
def command(model: str, data: str, recipe: str | None, out: Path) -> None:
    """Write a commented recipe and preprocessing contract for MODEL and its data, for you to edit.

    The command reads the names and shapes of an ONNX file's inputs and outputs, one image of a folder, or a csv table,
    whose columns it lists as inputs, groups and classes. It opens nothing else, and neither trains nor downloads
    anything. preprocess.yaml has a line to fill in for each unknown value. Existing files are not overwritten.

    Exit code 0: written. 2: usage error, or input that cannot be read. 6: the use policy next to the data does not
    permit it.
    """
    from certify.core.files import write_text
    from compress.job import recipe as recipes
    from compress.job.templates import contract_template, open_fields, recipe_template

    # Both are checked before either is written.
    for path in (out / RECIPE, out / CONTRACT):
        if path.exists():
            raise UsageError(f"{path} already exists; choose another folder with --out, or move the file.")
    chosen = recipes.load(recipe or _recipe(model))
    table = _table(data) if data.startswith(CSV) else []
    known = None if table else _known(model, data)
    files = ["--recipe", str(out / RECIPE)] + ([] if known is None else ["--preprocess", str(out / CONTRACT)])
    run = shlex.join(["leanmark", "compress", model, "--data", data, *files])
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / RECIPE, recipe_template(chosen, run))
    click.echo(f"{out / RECIPE}: the recipe {chosen.name}, ready to edit.")
    if table:
        click.echo("\n".join(map(clean, [*table, "The columns are fed unchanged, so no contract is needed."])))
    elif known is None:
        click.echo(clean(f"{model} defines its own preprocessing, so no contract is needed."))
    else:
        write_text(out / CONTRACT, contract_template(model, known))
        missing = ", ".join(open_fields(known))
        click.echo(f"{out / CONTRACT}: the preprocessing contract" + (f"; fill in {missing}." if missing else "."))
    click.echo(f"Check the plan with:\n  {clean(run)} --dry-run")


def _recipe(model: str) -> str:
    if model.startswith("hf:"):
        return "transformer"
    return "int8" if is_onnx(model) else "balanced"


def _table(data: str) -> list[str]:
    """Return what each column of a table was read as, one line for each kind."""
    from certify.data import load

    found = load(data)
    inputs = list(found.test.features)
    parts = ", ".join(f"{len(split)} {part}" for part, split in found.parts.items())
    lines = [f"{len(inputs)} inputs: {', '.join(inputs)}", f"rows: {parts}"]
    if found.test.targets is None:
        lines.append(f"{len(found.classes)} classes: {', '.join(found.classes)}")
    return lines + ([f"groups: {', '.join(found.test.groups)}"] if found.test.groups else [])


def _known(model: str, data: str) -> dict[str, Any] | None:
    """Return the known fields of the contract, or None if the model defines all of them."""
    from certify.core.callables import FORM
    from certify.core.suggest import unknown_name
    from certify.data import IMAGENET_MEAN, IMAGENET_STD
    from compress.job.known_fields import contract_of_file, size_of_data

    usual: dict[str, Any] = {"layout": "NCHW", "reading": "logits", "dtype": "float32"}
    if is_onnx(model):
        return contract_of_file(Path(model))
    if model.startswith(("hf:", "timm:")):
        return None
    known = {
        "input_name": "input",
        "output_name": "output",
        "colour": "RGB",
        "scale": 255.0,
        "interpolation": "bilinear",
    }
    if not FORM.fullmatch(model):
        from compress.models import factories

        if model not in factories.names():
            raise unknown_name("model", model, factories.names(), factories.LIST_HINT)
        known |= {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
    return {**usual, **known, **size_of_data(data)}
