"""``leanmark quantize`` and ``leanmark prune``: ``leanmark compress --no-measure`` with a recipe of one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command
from compress.cli import compress

NOT_HERE = {*compress.ABOUT_MEASURING, "recipe", "measure", "out"}
"""Arguments of ``leanmark compress`` that these verbs answer themselves."""


def _verb(
    name: str, done: str, passes: list[Any], own: str, what: str, of_file: list[Any] | None = None
) -> click.Command:
    """A command with the options of ``leanmark compress`` that are not about recipes or measuring.

    Args:
        name: of the command.
        done: what its model is then, for the folder's name.
        passes: of its recipe.
        own: example of a model of the user's own.
        what: first two sentences of its help.
        of_file: passes for an ONNX file, where they are others.
    """

    def carry_out(model: str, out: Path | None, **arguments: Any) -> None:
        from compress.job.output import folder_of

        chosen = of_file if of_file is not None and model.lower().endswith(".onnx") else passes
        usual = folder_of(None, model)
        recipe = {"name": name, "description": what.partition(".")[0] + ".", "passes": chosen}
        out = out or usual.with_name(f"{usual.name}-{done}")
        compress.carry_out(model=model, out=out, recipe=recipe, measure=False, **arguments)

    beside = "" if of_file is None else f" ({next(iter(of_file[0]))} for an ONNX file)"
    kind = click.Path(file_okay=False, path_type=Path)
    folder = click.Option(["--out"], type=kind, help=f"Folder.  [default: build/MODEL-{done}]")
    return Command(
        name,
        params=[*(each for each in compress.command.params if each.name not in NOT_HERE), folder],
        callback=carry_out,
        help=f"""{what}

        Nothing is measured: the file lies in --out with its baseline and lineage, and the command that certifies it is
        printed. It is short for leanmark compress --no-measure with a recipe of one pass, whose parameters leanmark
        passes {next(iter(passes[0]))} lists{beside}; --set NAME=VALUE sets one. A network that
        comes without weights is trained first, which --max-train-time bounds.

        Exit code 0: made. 2: wrong usage, or input that cannot be read.
        """,
        example=f"leanmark {name} resnet18\nleanmark {name} {own} --data photos --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5\n",
    )


quantize = _verb(
    "quantize",
    "quantized",
    [{"quantize_static": {"samples": 128}}],
    "leafnet.onnx",
    "Store MODEL in 8-bit integers. Ranges are found on calibration samples; what loses too much stays in float.",
)
prune = _verb(
    "prune",
    "pruned",
    [{"structured_prune": {"macs": 0.5}}],
    "leafnet:LeafNet --weights leafnet.pt",
    "Remove the channels of MODEL that matter least. Half of the multiply-adds go, of an ONNX file's "
    "three tenths; what is left is refitted.",
    of_file=[{"reconstruct": {"macs": 0.7}}],
)
