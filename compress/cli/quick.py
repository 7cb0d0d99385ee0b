"""``leanmark quantize`` and ``leanmark prune``: ``leanmark compress --no-measure`` with a recipe of one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command
from certify.cli.plan import MEASURING
from compress.cli import compress

NOT_HERE = {*MEASURING, "recipe", "measure", "carbon_intensity"}
"""Arguments of ``leanmark compress`` that these verbs answer themselves."""


def _verb(name: str, done: str, passes: list[Any], what: str) -> click.Command:
    """A command with the options of ``leanmark compress`` that are not about recipes or measuring."""

    def carry_out(model: str, out: Path | None, **arguments: Any) -> None:
        from compress.job.output import folder_of

        usual = folder_of(None, model)
        recipe = {"name": name, "description": what.partition(".")[0] + ".", "passes": passes}
        out = out or usual.with_name(f"{usual.name}-{done}")
        compress.carry_out(model=model, out=out, recipe=recipe, measure=False, **arguments)

    return Command(
        name,
        params=[each for each in compress.command.params if each.name not in NOT_HERE],
        callback=carry_out,
        help=f"""{what}

        Nothing is measured: the file lies in --out [build/MODEL-{done}] with its baseline and lineage, and the command
        that certifies it is printed. It is short for leanmark compress --no-measure with a recipe of one pass, whose
        parameters leanmark passes {next(iter(passes[0]))} lists; --set NAME=VALUE sets one.

        Exit code 0: made. 2: wrong usage, or input that cannot be read.
        """,
        example=f"leanmark {name} resnet18\nleanmark {name} model.onnx --data imagefolder:photos\n",
    )


quantize = _verb(
    "quantize",
    "quantized",
    [{"quantize_static": {"samples": 128}}],
    "Store MODEL in 8-bit integers. Ranges are found on calibration samples; what loses too much stays in float.",
)
prune = _verb(
    "prune",
    "pruned",
    [{"structured_prune": {"macs": 0.5}}],
    "Remove the channels of MODEL that matter least. Half of the multiply-adds go; train it afterwards.",
)
