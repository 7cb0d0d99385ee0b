"""Options that test both models under stress, and ``leanmark robustness``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certify.cli.command import Command, ModelPath, governed, key_option
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.core import exit_codes
from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.core.estimate import Estimate
    from certify.workflows.robustness_statement import Assessed

F = TypeVar("F", bound=Callable[..., object])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
LEGEND = (
    "Correct answers under a corruption of a severity (1 to 5), or under every witness up to a size of change, as an "
    "upper bound; '4/255 baseline' counts only the witnesses that were found for the baseline."
)
COLUMNS = {"baseline": 100.0, "candidate": 100.0, "change_points": 1.0}
NAMES = ("conditions", "severities", "witnesses", "triggers", "float_parent", "adversarially_trained")
USUAL_SEVERITY = 3


def stress_options(command: F) -> F:
    """Add the options that choose the stress on both models; :func:`take_stress` reads them."""
    command = click.option(
        "--adversarially-trained", is_flag=True, help="Declare that the baseline was adversarially trained."
    )(command)
    command = click.option(
        "--trigger", "triggers", multiple=True, metavar="FILE:CLASS",
        help="Image with transparency, suspected to trigger a class, overlaid on samples; repeatable.",
    )(command)  # fmt: skip
    command = click.option(
        "--float-parent",
        type=FILE,
        help="ONNX file of the model before quantization, compared under triggers too.",
    )(command)
    command = click.option(
        "--witnesses", type=FILE, multiple=True, help="Witness file written by leanmark attack; repeatable."
    )(command)
    command = click.option(
        "--severity", "severities", type=click.IntRange(1, 5), multiple=True,
        help="Severity of the corruptions; repeatable.  [default: 3]",
    )(command)  # fmt: skip
    return click.option(
        "--conditions", type=click.Choice(["corruptions"]), help="Also test both models on corrupted images."
    )(command)


def take_stress(arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of :func:`stress_options` from a command's arguments; empty if no stress was requested.

    Raises:
        UsageError: a severity was given without corruptions, a declaration without witnesses, or a float parent without
            a trigger.
    """
    options = {name: arguments.pop(name) for name in NAMES}
    # Repeated severities would be measured twice.
    severities = tuple(dict.fromkeys(options.pop("severities")))
    # A severity needs --conditions, because it does not say what is applied.
    if options.pop("conditions") is not None:
        severities = severities or (USUAL_SEVERITY,)
    elif severities:
        raise UsageError("--severity needs --conditions corruptions; add it.")
    # The option is about resistance to attacks, which only witnesses show.
    if options["adversarially_trained"] and not options["witnesses"]:
        raise UsageError("--adversarially-trained needs witnesses; add --witnesses.")
    if options["float_parent"] is not None and not options["triggers"]:
        raise UsageError("--float-parent needs --trigger; add it.")
    values = {"severities": severities, **options}
    return values if severities or options["witnesses"] or options["triggers"] else {}


def _format(estimate: Estimate | None, factor: float) -> str:
    return (
        ""
        if estimate is None
        else f"{factor * estimate.value:.1f} [{factor * estimate.low:.1f}, {factor * estimate.high:.1f}]"
    )


def tables(found: Assessed) -> list[object]:
    """Return the results for human readers."""
    from rich.table import Table

    conditions, others = found.by_condition()
    table, rest = Table(show_edge=False, pad_edge=False), Table(show_edge=False, pad_edge=False, show_header=False)
    table.add_column("Condition")
    for head in ("baseline, %", "candidate, %", "change, points"):
        table.add_column(head, justify="right")
    for name, cells in conditions.items():
        table.add_row(name, *(_format(cells.get(column), factor) for column, factor in COLUMNS.items()))
    for name, estimate in others.items():
        rest.add_row(name, str(estimate))
    claims = found.statement.claims
    checks = [str(guard) for guard in found.profile.guards]
    text = ["\n".join(checks), f"{claims.title}: {claims.text}", *claims.reasons, str(found.path)]
    return [*([table, LEGEND] if conditions else []), rest, *text]


@click.command(
    cls=Command,
    example="""\
leanmark robustness graded/model.onnx --baseline graded/baseline.onnx --data npz:test=test.npz \\
    --conditions corruptions --witnesses small.npz --witnesses original.npz
""",
)
@click.argument("file", type=ModelPath(packs=False))
@click.option("--baseline", type=FILE, required=True, help="Original model.")
@click.option("--data", required=True, help="Test data: a folder, or a specification such as npz:PATH.")
@stress_options
@click.option("--samples", type=click.IntRange(1), help="Number of corrupted samples.  [default: 500, the maximum]")
@click.option("--preprocess", type=FILE, help="Preprocessing contract of FILE; sealed files have their own.")
@click.option("--baseline-preprocess", type=FILE, help="Preprocessing contract of the baseline, if it differs.")
@click.option("--runtime", default="onnxruntime-cpu", show_default=True, help="Runtime of both models.")
@click.option("--name", help="Display name of the model.  [default: its file name]")
@key_option
@quiet_option
@json_option
@governed
def command(file: Path, data: str, key: Path | None, as_json: bool, **arguments: Any) -> None:
    """Test FILE and its baseline on corrupted and attacked images, and sign the result.

    No attack runs here: witnesses are images that somebody found (leanmark attack), and each is checked by one forward
    pass. The robust accuracy is an upper bound, which anybody can lower with leanmark witness add. The statement is
    written next to FILE.

    Exit code 2: no stress was chosen, or the witnesses belong to another model or other data. 3: the statement is a
    refusal.
    """
    from certify.attest.keys import signing_key
    from certify.workflows.robustness_statement import assess

    values = take_stress(arguments)
    signer = signing_key(key) if key else None
    found = assess(file, data=data, signer=signer, progress=bars(), **values, **arguments)
    if as_json:
        print_json(found.to_json())
    else:
        print_rich(*tables(found))
    click.get_current_context().exit(exit_codes.NO if found.refused else exit_codes.DONE)
