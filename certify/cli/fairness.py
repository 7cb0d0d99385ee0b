"""``leanmark fairness``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, governed
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.cli.plan import RUNTIME_NAMES
from certify.cli.preprocess import contract, preprocess_options, take_flags
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark fairness income.onnx --data adult:uci --groups sex,race --out fairness
leanmark fairness int8.onnx --against income.onnx --data adult:uci --groups sex,race,sex:race
""",
)
@click.argument("model", type=FILE)
@click.option(
    "--data", required=True, help="Test data: a folder, or a specification such as npz:PATH, arrays:PATH or adult:PATH."
)
@click.option(
    "--groups", required=True, metavar="COLUMNS", help="Group columns of the data; sex:race crosses two of them."
)
@click.option("--against", type=FILE, help="Model that MODEL was made from; also report the change for each group.")
@click.option("--runtime", default="onnxruntime-cpu", show_default=True, help=f"Runtime: {RUNTIME_NAMES}.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples in one inference.")
@click.option("--edition", default="2026", show_default=True, help="Edition of the social assessment.")
@preprocess_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Output folder for the report, plot and records."
)
@quiet_option
@json_option
@governed
def command(
    model: Path, data: str, groups: str, against: Path | None, runtime: str, batch: int, edition: str,
    preprocess: Path | None, out: Path | None, as_json: bool, **arguments: object,
) -> None:  # fmt: skip
    """Compare the answers of MODEL between groups of people: error rates, positive rates and their ratios.

    Without --against, this is a disparate-impact audit of any ONNX file. With --against, it reports the change for each
    group, as certify --groups does. Nothing is timed or signed; to sign the result, run leanmark state on the records
    in --out. Exit code 3: the tables are refused; the reasons are printed.
    """
    from certify.workflows.group_audit import fairness

    found = fairness(
        model,
        data=data,
        groups=groups,
        against=against,
        preprocess=contract(model, preprocess, take_flags(arguments)),
        runtime=runtime,
        batch=batch,
        edition=edition,
        out=out,
        progress=bars(),
    )
    if as_json:
        print_json(found.to_json())
    else:
        from certify.cli.group_tables import tables
        from certify.cli.tables import files
        from certify.workflows.group_audit import FILES

        written = [] if out is None else [files({name: out / name for name in FILES})]
        print_rich(*tables(found), *written)
    click.get_current_context().exit(exit_codes.NO if found.outcome.refused else exit_codes.DONE)
