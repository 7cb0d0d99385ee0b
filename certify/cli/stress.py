"""Options that put both models under stress, and ``leanmark robustness``."""

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
    from certify.stressing import Assessed

F = TypeVar("F", bound=Callable[..., object])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NAMES = ("conditions", "severities", "witnesses", "triggers", "adversarially_trained")
USUAL_SEVERITY = 3


def stress_options(command: F) -> F:
    """Add the options that say what both models are asked under; :func:`take_stress` reads them."""
    command = click.option(
        "--adversarially-trained", is_flag=True, help="Declare that the baseline was trained to withstand attacks."
    )(command)
    command = click.option(
        "--trigger", "triggers", multiple=True, metavar="FILE:CLASS",
        help="Image with transparency that is said to cause a class, laid over samples; may be given again.",
    )(command)  # fmt: skip
    command = click.option(
        "--witnesses", type=FILE, multiple=True, help="Witnesses that leanmark attack wrote; may be given again."
    )(command)
    command = click.option(
        "--severity", "severities", type=click.IntRange(1, 5), multiple=True,
        help="Of the corruptions [3]; may be given again.",
    )(command)  # fmt: skip
    return click.option(
        "--conditions", type=click.Choice(["corruptions"]), help="Also ask both models on corrupted test images."
    )(command)


def take_stress(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the options of :func:`stress_options` out of a command's arguments; empty where nothing was asked.

    Raises:
        UsageError: a severity without corruptions, or a declaration without witnesses.
    """
    given = {name: arguments.pop(name) for name in NAMES}
    severities = tuple(dict.fromkeys(given.pop("severities")))
    if given.pop("conditions") is not None:
        severities = severities or (USUAL_SEVERITY,)
    elif severities:
        raise UsageError("--severity is that of corruptions; add --conditions corruptions.")
    if given["adversarially_trained"] and not given["witnesses"]:
        raise UsageError("--adversarially-trained says how witnesses are judged; give some with --witnesses.")
    asked = {"severities": severities, **given}
    return asked if severities or given["witnesses"] or given["triggers"] else {}


def tables(found: Assessed) -> list[object]:
    """What was found, for people."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Under stress")
    table.add_column("", justify="right")
    for name, one in found.profile.estimates.items():
        table.add_row(name.replace("_", " "), str(one))
    claims = found.statement.claims
    checks = [str(one) for one in found.profile.guards]
    return [table, "\n".join(checks), f"{claims.title}: {claims.text}", *claims.reasons, str(found.path)]


@click.command(
    cls=Command,
    example="""\
leanmark robustness graded/model.onnx --baseline graded/baseline.onnx --data npz:test=test.npz \\
    --conditions corruptions --witnesses small.npz --witnesses original.npz
""",
)
@click.argument("file", type=ModelPath(packs=False))
@click.option("--baseline", type=FILE, required=True, help="The untouched original.")
@click.option("--data", required=True, help="Folder, or a specification such as npz:PATH.")
@stress_options
@click.option("--samples", type=click.IntRange(1), help="Samples that are corrupted [500, which is the most].")
@click.option("--preprocess", type=FILE, help="Contract of FILE; sealed files carry their own.")
@click.option("--baseline-preprocess", type=FILE, help="Contract of the baseline, where it differs.")
@click.option("--runtime", default="onnxruntime-cpu", show_default=True, help="Runtime that runs both.")
@click.option("--name", help="Name of the model, for people [the file's name].")
@key_option
@quiet_option
@json_option
@governed
def command(file: Path, data: str, key: Path | None, as_json: bool, **arguments: Any) -> None:
    """Ask FILE and its baseline on corrupted and attacked images, and state what was found beside FILE.

    Nothing is attacked here: witnesses are images that somebody found (leanmark attack), each checked by one forward
    pass. What stands is an upper bound, which anybody may lower with leanmark witness add.

    Exit code 2: nothing was asked, or witnesses of another model or other data. 3: it is a refusal.
    """
    from certify.attest.keys import signing_key
    from certify.stressing import assess

    asked = take_stress(arguments)
    signer = signing_key(key) if key else None
    found = assess(file, data=data, signer=signer, progress=bars(), **asked, **arguments)
    if as_json:
        print_json(found.to_json())
    else:
        print_rich(*tables(found))
    click.get_current_context().exit(exit_codes.NO if found.refused else exit_codes.DONE)
