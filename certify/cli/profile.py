"""``leanmark profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command
from certify.cli.output import bars, json_option, print_json, print_rich
from certify.cli.plan import plan_options, take_plan
from certify.cli.preprocess import contract, preprocess_options, take_flags

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark profile small.onnx --data imagefolder:photos --against original.onnx")
@click.argument("model", type=FILE)
@click.option("--data", required=True, help="Data specification, such as imagefolder:PATH or npz:PATH.")
@click.option("--against", type=FILE, help="Model to compare with; measured in turn with MODEL.")
@plan_options
@preprocess_options
@json_option
def command(
    model: Path, data: str, against: Path | None, preprocess: Path | None, as_json: bool, **arguments: Any
) -> None:
    """Measure MODEL without grading it: accuracy, energy, latency, multiply-adds, size, memory."""
    from certify.api import profile

    plan, flags = take_plan(arguments), take_flags(arguments)
    result = profile(
        model,
        data=data,
        against=against,
        preprocess=contract(model, preprocess, flags),
        plan=plan,
        progress=bars(),
    )
    if as_json:
        print_json(result.to_json())
        return
    from certify.cli.tables import comparison, single

    print_rich((single if against is None else comparison)(result.estimates))
