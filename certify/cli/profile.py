"""``leanmark profile``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, governed
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.cli.plan import RUNTIME_NAMES, plan_options_but, take_plan
from certify.cli.preprocess import contract, preprocess_options, take_flags
from certify.cli.values import OutFile
from certify.core.errors import UsageError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
IMAGE_SUFFIXES = (".svg", ".png")


@click.command(
    cls=Command,
    example="""\
leanmark profile small.onnx --data imagefolder:photos --batch 1,8,32 --out profile
leanmark profile small.onnx --data imagefolder:photos --against original.onnx
""",
)
@click.argument("model", type=FILE)
@click.option("--data", required=True, help="Test data: a folder, or a specification such as npz:PATH or arrays:PATH.")
@click.option("--against", type=FILE, help="Model to compare with, measured in alternation with MODEL.")
@click.option("--batch", default="1", show_default=True, help="Samples per inference; several as 1,8,32.")
@click.option("--runtime", help=f"Runtime of the model: {RUNTIME_NAMES}; several as a,b.  [default: onnxruntime-cpu]")
@plan_options_but("batch", "runtime")
@preprocess_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Output folder for table, plot and evidence."
)
@click.option("--plot", type=OutFile(), help="Output file for the plot, .svg or .png.")
@quiet_option
@json_option
@governed
def command(
    model: Path, data: str, against: Path | None, preprocess: Path | None, batch: str, runtime: str | None,
    out: Path | None, plot: Path | None, as_json: bool, **arguments: Any,
) -> None:  # fmt: skip
    """Measure MODEL without grading it: accuracy, energy, latency, multiply-adds, size and memory.

    Without --against the figures are absolute; with it, both models are measured in alternation and compared. Several
    batch sizes or runtimes give one row each.
    """
    from certify.api import profile
    from certify.workflows.profiling import FILES, write_image

    # Checked before measuring, because otherwise a wrong suffix would be noticed only at the end.
    if plot is not None and plot.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"--plot must end in .svg or .png, got {plot}.")
    batches = _list("batch", batch, int)
    runtimes = _list("runtime", runtime, str) if runtime else [None]
    flags = take_flags(arguments)
    plans = [take_plan({**arguments, "batch": size, "runtime": name}) for name in runtimes for size in batches]
    result = profile(
        model,
        data=data,
        against=against,
        preprocess=contract(model, preprocess, flags),
        plan=plans,
        out=out,
        progress=bars(),
    )
    if plot is not None:
        write_image(result, plot)
    if as_json:
        print_json(result.to_json())
        return
    from certify.cli.profile_tables import tables
    from certify.cli.tables import files

    written = {} if out is None else {name: out / name for name in FILES}
    written |= {} if plot is None else {"plot": plot}
    print_rich(*tables(result), *([files(written)] if written else []))


def _list(flag: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    """Parse comma-separated values in order, without repeats."""
    try:
        values = [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--{flag} must be integers separated by commas, such as 1,8,32; got {text}.") from error
    return list(dict.fromkeys(values))
