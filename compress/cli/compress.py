"""``leanmark compress``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, key_option
from certify.cli.output import bars, carbon_option, json_option, print_json, print_result
from certify.core import exit_codes

DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smh]?)")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def duration(text: str) -> float:
    """Seconds of ``600``, ``90s``, ``10m`` or ``1.5h``."""
    match = DURATION.fullmatch(text.strip())
    if match is None or float(match["number"]) == 0:
        raise click.BadParameter(f"'{text}' is no length of time above 0 such as 600, 90s, 10m or 1.5h.")
    return float(match["number"]) * SECONDS[match["unit"]]


duration.__name__ = "duration"


@click.command(
    cls=Command,
    example="""\
leanmark compress resnet18
leanmark compress resnet50 --weights DEFAULT --data imagenette --max-train-time 2h --out smaller
""",
)
@click.argument("model")
@click.option("--recipe", default="balanced", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option("--data", default=None, help="Data specification, such as imagefolder:PATH.  [default: mnist5k]")
@click.option("--weights", default=None, help="File with weights, or torchvision's name of them (DEFAULT).")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: build/MODEL]")
@click.option("--runtime", default=None, help="What the model is measured with; the recipe's by default.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every choice.")
@click.option("--max-train-time", type=duration, metavar="TIME", help="Longest that one training may take (10m).")
@click.option(
    "--time-limit", type=duration, metavar="TIME", help="Longest that the main measurement may take.  [default: 90s]"
)
@click.option("--preprocess", type=FILE, help="YAML file with the preprocessing contract.")
@click.option("--threads", type=click.IntRange(1, 1024), default=None, help="Threads of the measured sessions.")
@click.option("--target", default=None, help="Processor that the model is made for.  [default: this machine's]")
@key_option
@carbon_option
@json_option
def command(
    model: str, as_json: bool, carbon_intensity: float | None, embodied: float | None, **arguments: Any
) -> None:
    """Make MODEL cheaper to run, then measure, grade, sign and seal it.

    MODEL is the name of a torchvision classifier (see leanmark models), hf:PATH (a folder of Hugging Face's
    transformers), package.module:factory, or an ONNX file, to which the recipe's ONNX passes alone are applied. A job
    that was stopped goes on after its last finished pass when it is started again with the same options. Started by
    torchrun (torchrun --nproc-per-node 4 --no-python leanmark compress ...), it trains on that many GPUs.

    Exit code 0: graded, within the recipe's budget. 2: wrong usage, or input that cannot be read. 3: no grade was
    given, or the budget was missed; everything is written all the same.
    """
    from compress.job.pipeline import run
    from compress.training import distributed

    with distributed.process_group() as leads:
        if not leads:
            return
        result = run(model, progress=bars(), **arguments)
    if as_json:
        print_json(result.to_json())
    else:
        print_result(result.certified, as_json=False, carbon_intensity=carbon_intensity, embodied=embodied)
    missed = result.within_budget is False
    if missed and not as_json:
        budget = result.recipe.budget
        click.echo(
            f"\nThe accuracy loss is not shown to be within the recipe's budget of {budget.max_loss_percent:g} % "
            f"(confidence {budget.confidence:g})."
        )
    refused = result.certified.grade.letter is None
    click.get_current_context().exit(exit_codes.NO if missed or refused else exit_codes.DONE)
