"""``leanmark quantize`` and ``leanmark prune``: ``leanmark compress --no-measure`` with a single-pass recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command
from certify.model_file.suffixes import is_onnx
from compress.cli import compress

NOT_HERE = {*compress.ABOUT_MEASURING, "recipe", "measure", "out"}
"""Arguments of ``leanmark compress`` that these commands set themselves."""


def _verb(
    name: str, done: str, passes: list[Any], own: str, what: str, of_file: list[Any] | None = None
) -> click.Command:
    """Build a command with the options of ``leanmark compress`` that are not about recipes or measuring.

    Args:
        name: name of the command.
        done: participle for the name of the output folder, such as ``pruned``.
        passes: passes of the recipe.
        own: example of a user's own model.
        what: first two sentences of the help text.
        of_file: passes for an ONNX file, if they differ.
    """

    def carry_out(model: str, out: Path | None, **arguments: Any) -> None:
        from compress.job.output import folder_of

        chosen = of_file if of_file is not None and is_onnx(model) else passes
        # Not the folder of leanmark compress, because this would overwrite its outputs for the same model.
        usual = folder_of(None, model)
        recipe = {"name": name, "description": what.partition(".")[0] + ".", "passes": chosen}
        out = out or usual.with_name(f"{usual.name}-{done}")
        compress.carry_out(model=model, out=out, recipe=recipe, measure=False, **arguments)

    beside = "" if of_file is None else f" ({next(iter(of_file[0]))} for an ONNX file)"
    kind = click.Path(file_okay=False, path_type=Path)
    folder = click.Option(["--out"], type=kind, help=f"Output folder.  [default: build/MODEL-{done}]")
    return Command(
        name,
        params=[*(each for each in compress.command.params if each.name not in NOT_HERE), folder],
        callback=carry_out,
        help=f"""{what}

        Nothing is measured: --out gets the file, its baseline and its lineage, and the command that certifies it is
        printed. Short for leanmark compress --no-measure with a recipe of one pass; leanmark passes
        {next(iter(passes[0]))} lists its parameters{beside}, and --set NAME=VALUE sets one. A network without weights
        is trained first, within --max-train-time.

        Exit code 0: written. 2: usage error, or input that cannot be read.
        """,
        example=f"leanmark {name} resnet18\nleanmark {name} {own} --data photos --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5\n",
    )


quantize = _verb(
    "quantize",
    "quantized",
    [{"quantize_static": {"samples": 128}}],
    "leafnet.onnx",
    "Store MODEL in 8-bit integers. Ranges come from calibration samples; what loses too much stays in float.",
)
prune = _verb(
    "prune",
    "pruned",
    [{"structured_prune": {"macs": 0.5}}],
    "leafnet:LeafNet --weights leafnet.pt",
    "Remove the least important channels of MODEL. Half of the multiply-adds are removed (three tenths for an ONNX "
    "file), and the remaining layers are refitted.",
    of_file=[{"reconstruct": {"macs": 0.7}}],
)
