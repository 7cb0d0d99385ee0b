"""``leanmark search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, key_option
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.cli.plan import duration, plan_options, take_plan
from certify.cli.preprocess import preprocess_options, stated, take_flags
from certify.core import exit_codes
from compress.cli.compress import model_arguments

if TYPE_CHECKING:
    from compress.search.outcome import SearchResult
    from compress.search.search import Then

LISTED = 12
"""Maximum number of trials in the table; search.json lists all."""


@click.command(
    cls=Command,
    example="""\
leanmark search resnet18 --max-loss 1 --hours 4
leanmark search leafnet:LeafNet --weights leafnet.pth --data imagefolder:photos --mean 0.5,0.5,0.5 \\
    --std 0.5,0.5,0.5 --max-loss 1 --trials 30 --epochs 0
leanmark search net.onnx --data npz:val=val.npz,test=test.npz --max-loss 0.5 --objective latency --workers 2
""",
)
@click.argument("model")
@click.option("--max-loss", type=click.FloatRange(0, 100, min_open=True), required=True, metavar="PERCENT",
              help="Maximum relative accuracy loss on validation data (upper end of its interval).")  # fmt: skip
@click.option("--objective", type=click.Choice(["energy", "latency", "bytes"]), default="energy", show_default=True,
              help="What to minimise: energy or latency of one inference, or file size.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1, 100_000), default=30, show_default=True, help="Recipes to try.")
@click.option("--hours", type=float, help="Start no trial after this many hours.")
@click.option("--epochs", "max_epochs", type=click.IntRange(0, 64), default=8, show_default=True,
              help="Maximum training epochs of a trial; 0 tries only recipes without training.")  # fmt: skip
@click.option("--student", "students", multiple=True, metavar="NAME",
              help="Architecture that may be trained instead of the model; repeatable.")  # fmt: skip
@click.option("--cost-tables/--no-cost-tables", "by_cost", default=True, show_default=True,
              help="Try widths by measured costs, too; measuring them takes minutes.")  # fmt: skip
@click.option("--sampler", type=click.Choice(["tpe", "random"]), default="tpe", show_default=True,
              help="How recipes are drawn.")  # fmt: skip
@click.option("--workers", default="1", show_default=True, metavar="N|ray://HOST:PORT",
              help="Local processes, or a Ray cluster.")  # fmt: skip
@click.option("--storage", metavar="URL", help="Database shared by several machines.  [default: a file in OUT]")
@click.option("--model-args", type=model_arguments, metavar="NAME=VALUE,...", help="Factory arguments.")
@click.option("--data", default=None, help="Folder, or arrays:PATH and so on, with a validation part.")
@click.option("--keep-data", is_flag=True, help="Write the test part to test-data.npz, for auditors.")
@click.option("--weights", default=None, help="Weight file, or torchvision weights by name, such as DEFAULT.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Output folder.  [default: build/MODEL]")
@click.option("--max-train-time", type=duration, metavar="TIME", help="Time limit of each training, such as 10m.")
@preprocess_options
@click.option("--target", default=None, help="Processor to optimise for.  [default: this machine's]")
@click.option("--no-certify", "then", flag_value="nothing", default="certify", help="Only write the recipe.")
@plan_options
@key_option
@quiet_option
@json_option
def command(**arguments: Any) -> None:
    """Search for the recipe that makes MODEL cheapest within a loss bound, then certify the result.

    Recipes are tried on validation data: what to remove, how to store weights, how long to train. No test sample is
    read. The best recipe is then run once more, measured and certified; the certificate states how many recipes it was
    chosen from. Started again with the same options, a search continues with its earlier trials; started several times
    at once, all processes work on one study. OUT then holds recipe.yaml, search.json and search.svg next to the
    certified model. Needs the extra 'search'; Ray needs the extra 'ray'.

    Exit code 0: found, and certified within the bound. 2: usage error, or input that cannot be read. 3: no recipe keeps
    the bound and is cheaper, no grade was given, or the loss on test data is not shown to be within the bound.
    """
    search(**arguments)


def search(
    model: str,
    max_loss: float,
    preprocess: Path | None,
    as_json: bool,
    then: Then,
    carbon_intensity: float | None = None,
    embodied: float | None = None,
    **arguments: Any,
) -> None:
    """Run the search, print the result, and exit with its code."""
    from certify.data.specs import require_known
    from compress.search.optional import optuna

    require_known(arguments["data"])
    optuna()  # before anything heavy is loaded
    arguments["preprocess"] = stated(preprocess, take_flags(arguments))
    plan = take_plan(arguments)
    with bars().task("Loading PyTorch"):
        from compress.search.search import search_recipe
    result = search_recipe(model, max_loss=max_loss, plan=plan, then=then, progress=bars(), **arguments)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result, carbon_intensity, embodied)
    click.get_current_context().exit(_exit_code(result))


def _exit_code(result: SearchResult) -> int:
    if result.best is None:
        return exit_codes.NO
    job = result.job
    measured = job is not None and job.certified is not None
    # A recipe that was found but not measured is a success: --no-certify ends the search there.
    within = job is None or not measured or (job.grade.letter is not None and job.within_budget is not False)
    return exit_codes.DONE if within else exit_codes.NO


def _print(result: SearchResult, carbon_intensity: float | None, embodied: float | None) -> None:
    from certify.cli.output import print_result
    from certify.cli.tables import files
    from compress.cli.unmeasured_output import print_outputs

    print_rich(_table(result), _verdict(result))
    if result.job is None:
        print_rich(files(result.files))
        return
    click.echo()
    if result.job.certified is None:
        print_outputs(result.job, False)
        return
    print_result(result.job.certified, False, carbon_intensity, embodied)
    if result.job.within_budget is False:
        click.echo(
            f"\nOn test data the loss is not shown to be within {result.max_loss_percent:g} %, although it was on "
            "validation data; search with a smaller bound, or give more samples."
        )


def _table(result: SearchResult) -> Any:
    """Return a table of the most relevant trials: the best one, the front, then the cheapest of the others."""
    from rich.table import Table

    from certify.cli.tables import quantity

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    for heading in (f"{result.objective} ratio", "validation loss, %", "file"):
        table.add_column(heading, justify="right")
    table.add_column("recipe")
    fronted = {each.number for each in result.front}
    ranked = sorted(
        (each for each in result.trials if each.cost is not None and each.loss is not None),
        # Only the first rows are printed, so the best trial and those within the bound come first.
        key=lambda each: (each != result.best, not each.feasible, float(each.cost or 0)),
    )
    for each in ranked[:LISTED]:
        star = " *" if each.number in fronted else ""
        size = quantity(each.bytes, "B") if each.bytes is not None else ""
        table.add_row(f"{each.number}{star}", _ends(each.cost, 3), _ends(each.loss, 2), size, _words(each.recipe))
    return table


def _ends(estimate: Any, digits: int) -> str:
    if estimate.low == estimate.high:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f}  ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _words(recipe: Any) -> str:
    """Describe a recipe in one line: its passes, with their main parameters."""
    parts = []
    for each in (recipe or {}).get("passes", ()):
        for name, parameters in each.items():
            options = [f"{key} {parameters[key]}" for key in CHOSEN.get(name, ()) if parameters.get(key) is not None]
            parts += [f"{name} ({', '.join(options)})" if options else name] if name not in SILENT else []
    return ", ".join(parts) or "nothing"


CHOSEN = {
    "structured_prune": ("macs", "energy", "latency", "scope", "importance"), "depth_prune": ("macs",),
    "low_rank": ("energy",),
    "distill": ("epochs", "student"), "qat": ("epochs",), "quantize_static": ("calibration", "operators"),
    "quantize_weights": ("bits", "rounding"),
}  # fmt: skip
"""Parameters shown in the table."""
SILENT = ("trim_kernels", "space_to_depth")


def _verdict(result: SearchResult) -> str:
    counted = f"{len(result.trials)} trials, {sum(each.feasible for each in result.trials)} within the bound"
    best = result.best
    if best is None and (closest := result.closest) is not None and closest.cost is not None:
        return (
            f"No recipe within {result.max_loss_percent:g} % is shown to cost less than the original ({counted}): "
            f"trial {closest.number} takes {closest.cost.value:.3f} of its {result.objective}, "
            f"at most {closest.cost.high:.3f}. Try more trials, or a model whose inference takes longer."
        )
    if best is None or best.cost is None:
        return (
            f"No recipe has a loss shown to be within {result.max_loss_percent:g} % on validation data ({counted}). "
            "Try more trials, training (--epochs), a larger bound, or more validation samples."
        )
    return (
        f"Trial {best.number} is the cheapest within {result.max_loss_percent:g} %: {best.cost.value:.3f} of the "
        f"original's {result.objective} ({counted}; * no other trial beats it in both)."
    )
