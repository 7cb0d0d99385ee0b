"""``leanmark compress``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from certify.cli.command import Command, key_option, private_options, take_data_key, take_use, use_options
from certify.cli.output import bars, carbon_option, json_option, print_result, quiet_option
from certify.cli.plan import MEASURING, duration, plan_options, take_plan
from certify.cli.preprocess import preprocess_options, stated, take_flags
from certify.core import exit_codes
from certify.core.errors import LeanmarkError, UsageError
from certify.core.text import wrapped
from certify.core.yaml_document import parse_document

ABOUT_MEASURING = (*MEASURING, "carbon_intensity", "embodied", "key")
"""Arguments about measuring, or about what happens with the measurement."""
ARGUMENT = re.compile(r"(^|,)\s*([A-Za-z_]\w*)\s*=")


def model_arguments(text: str) -> dict[str, Any]:
    """Parse arguments of a factory from ``width=2,depth=[3, 4]``, or a mapping in YAML or JSON.

    Example:
        >>> model_arguments("width=2,depth=[3, 4]")
        {'width': 2, 'depth': [3, 4]}
    """
    # YAML needs `name: value`; NAME=VALUE needs no quotes in a shell.
    pairs = text if text.lstrip().startswith("{") else "{" + ARGUMENT.sub(r"\1\2: ", text) + "}"
    return parse_document(pairs, "--model-args").values


model_arguments.__name__ = "arguments"


@click.command(
    cls=Command,
    example="""\
leanmark compress resnet18
leanmark compress resnet50 --weights DEFAULT --data imagenette --max-train-time 2h --out smaller
leanmark compress resnet18 --set structured_prune.macs=0.4 --dry-run
leanmark compress resnet18 --weights DEFAULT --data imagenette --max-loss 1
leanmark compress leafnet:LeafNet --model-args width=2,depth=20 --weights leafnet.pth \\
    --data imagefolder:photos --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
""",
)
@click.argument("model")
@click.option(
    "--model-args", type=model_arguments, metavar="NAME=VALUE,...", help="Factory arguments; also YAML or JSON."
)
@click.option("--recipe", default="balanced", show_default=True, help="Name of a recipe, or a YAML file.")
@click.option(
    "--data", default=None, help="Data: a folder, npz:PATH, arrays:PATH, ... Without --weights, the default is mnist5k."
)
@click.option("--keep-data", is_flag=True, help="Write the test part to test-data.npz, for auditors.")
@click.option("--weights", default=None, help="Weight file, or torchvision weights by name, such as DEFAULT.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Output folder.  [default: build/MODEL]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override a recipe value, such as structured_prune.macs=0.4; repeatable.",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="Maximum accuracy loss. Without --recipe, compress searches for a recipe that keeps it.",
)
@click.option("--max-train-time", type=duration, metavar="TIME", help="Time limit of each training, such as 10m.")
@preprocess_options
@click.option("--target", default=None, help="Processor to optimise for.  [default: this machine's]")
@click.option("--measure/--no-measure", default=True, help="Measure, or only write model and lineage to OUT.")
@click.option("--dry-run", is_flag=True, help="Print the plan, with model sizes, and stop.")
@plan_options
@private_options
@click.option(
    "--private-part",
    "private_parts",
    multiple=True,
    default=("train",),
    show_default=True,
    help="Part of the data that a private recipe protects; repeatable.",
)
@click.option("--public-original", is_flag=True, help="Declare that MODEL's weights come from public data alone.")
@use_options
@key_option
@carbon_option
@quiet_option
@json_option
def command(**arguments: Any) -> None:
    """Make MODEL cheaper to run, then measure, grade, sign and seal it.

    MODEL is the name of a torchvision classifier (see leanmark models), hf:PATH (a Hugging Face transformers folder) or
    ORG/NAME on the Hub, package.module:factory, or an ONNX file, which gets only the recipe's ONNX passes. A factory,
    and weights of your own, need --data, --mean and --std. An interrupted job resumes after its last finished pass if
    you start it again with the same options. To train on several GPUs, start it with torchrun (torchrun
    --nproc-per-node 4 --no-python leanmark compress ...). Batch size and runtime come from the recipe unless given.

    With --max-loss and no --recipe, about a dozen recipes without training are tried on validation data, and the job
    runs the cheapest one whose loss is shown to be within the bound (leanmark search tries more, and with training).

    Exit code 0: graded within the recipe's budget, or model made with --no-measure. 2: usage error, or input that
    cannot be read. 3: no grade, no recipe keeps --max-loss, or the budget was missed; the model is still written. 6:
    the data's use policy does not permit --purpose.
    """
    # An explicit recipe runs unchanged, even if it is the default one.
    source = click.get_current_context().get_parameter_source("recipe")
    if arguments["max_loss"] is not None and source is ParameterSource.DEFAULT:
        search_short(arguments)
        return
    if not arguments["measure"]:
        refuse_measuring(arguments)
    carry_out(**arguments)


def carry_out(
    model: str,
    recipe: Any,
    settings: tuple[str, ...],
    measure: bool,
    dry_run: bool,
    preprocess: Path | None,
    as_json: bool,
    carbon_intensity: float | None = None,
    embodied: float | None = None,
    max_loss: float | None = None,
    **arguments: Any,
) -> None:
    """Run the job of ``leanmark compress`` and its short forms, and exit with its code."""
    from certify.data.specs import require_known
    from compress.cli.unmeasured_output import print_outputs, print_plan
    from compress.job import recipe as recipes

    # Appended after --set, so that --max-loss wins.
    bound = () if max_loss is None else (f"budget.max_loss_percent={max_loss:g}",)
    chosen = recipes.load(recipe, (*settings, *bound))
    arguments["preprocess"] = stated(preprocess, take_flags(arguments))
    workload = {"batch": chosen.workload.batch, "runtime": chosen.workload.runtime}
    plan = take_plan(arguments, **workload) if measure else None
    # Options and recipe are checked before torch is loaded, which takes seconds.
    require_known(arguments["data"])
    use = take_use(arguments)
    arguments |= {
        "recipe": chosen,
        "plan": plan,
        "measure": measure,
        "data_key": take_data_key(arguments),
        "seed": plan.seed if plan else arguments["seed"] or 0,
    }
    with bars().task("Loading PyTorch"):
        from compress.job.dry_run import dry_run as planned
        from compress.job.pipeline import run
        from compress.training import distributed

    if dry_run:
        # A dry run signs, measures and protects nothing.
        for name in ("key", "keep_data", "metric", "data_key", "public_original"):
            arguments.pop(name, None)
        with use:
            print_plan(planned(model, progress=bars(), **arguments), as_json)
        return

    # Under torchrun every rank runs this command; all but the lead only serve its trainings.
    with distributed.process_group() as leads:
        if not leads:
            return
        with use:
            result = run(model, progress=bars(), **arguments)
    if result.certified is None:
        print_outputs(result, as_json)
        return
    scored, why_not = _score(result.certified.model)
    more = {
        "within_budget": result.within_budget,
        "lineage": result.lineage.to_json(),
        "score": None if scored is None else scored.to_json(),
    }
    print_result(result.certified, as_json, carbon_intensity, embodied, more)
    if not as_json:
        click.echo(f"\n{wrapped(why_not if scored is None else scored.line)}")
    missed = result.within_budget is False
    if missed and not as_json:
        budget = result.recipe.budget
        click.echo(
            f"\nThe accuracy loss is not shown to be within the recipe's budget of {budget.max_loss_percent:g} % "
            f"(confidence {budget.confidence:g})."
        )
    # The model is written either way; scripts see the difference in the exit code.
    refused = result.grade.letter is None
    click.get_current_context().exit(exit_codes.NO if missed or refused else exit_codes.DONE)


def _score(path: Path) -> tuple[Any, str]:
    """Return the score of the model, or why there is none; the grade does not depend on it."""
    from certify.workflows.scoring import score_model

    try:
        return score_model(path), ""
    except LeanmarkError as error:
        return None, f"No score: {error}"


def search_short(arguments: dict[str, Any]) -> None:
    """Run the job with the recipe found by a short search.

    Raises:
        UsageError: an option only applies to a named recipe.
    """
    from compress.cli.search import search
    from compress.search.question import SHORT_TRIALS

    # Refuse instead of ignoring, because the job would run without an option that was requested.
    for name in ("settings", "dry_run"):
        if arguments.pop(name):
            flag = {"settings": "set", "dry_run": "dry-run"}[name]
            raise UsageError(f"--{flag} applies to a recipe, but --max-loss searches for one; name one with --recipe.")
    if arguments["purpose"] is not None:
        raise UsageError("A search writes files about the data, so --purpose needs --recipe; name one.")
    for name in ("purpose", "recipient"):
        del arguments[name]
    if take_data_key(arguments) is not None:
        raise UsageError("A search writes files about the data, so --private-data needs --recipe; name one.")
    for name in ("recipe", "private_parts", "public_original"):
        del arguments[name]
    arguments["then"] = "certify" if arguments.pop("measure") else "make"
    search(trials=SHORT_TRIALS, max_epochs=0, by_cost=False, **arguments)


def refuse_measuring(arguments: dict[str, Any]) -> None:
    """Remove the options of a measurement that is skipped, and refuse any that was given.

    Raises:
        UsageError: an option is about measuring.
    """
    for name in ABOUT_MEASURING:
        if arguments.pop(name) is not None:
            flag = name.removesuffix("_s").replace("_", "-")
            raise UsageError(
                f"--{flag} is about measuring, which --no-measure skips; pass it to leanmark certify instead."
            )
