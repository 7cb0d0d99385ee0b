"""``leanmark renew``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, trust_option, withdrawals_option
from certify.cli.output import json_option, print_json
from certify.core import exit_codes


@click.command(cls=Command, example='leanmark renew graded --runtime "onnxruntime-cpu 1.33.0"')
@click.argument("folder", type=ModelPath())
@click.option("--runtime", help="Runtime of the model.  [default: the version installed here]")
@trust_option
@withdrawals_option
@json_option
def command(
    folder: Path, runtime: str | None, trust: tuple[str, ...], withdrawals: tuple[Path, ...], as_json: bool
) -> None:
    """Check whether the score of the model in FOLDER still holds, and list what must be measured again.

    A score ends after the number of days set by its edition, or at once if a key was revoked, a newer edition was
    published, a verifier that you trust disagrees, a scheme withdrew its mark, or the runtime's minor version changed.
    Its figures remain; a level does not.

    Exit code 0: it holds. 2: there is no signed score. 3: it has ended.
    """
    from certify.core.text import clean
    from certify.workflows.renewal import renewal

    found = renewal(folder, runtime=runtime, trust=trust, withdrawals=withdrawals)
    if as_json:
        print_json(found.to_json())
    else:
        holds = found.validity
        lines = [f"{reason.sentence} {reason.again}" for reason in holds.reasons]
        if holds.holds:
            against = f", and with {found.runtime}" if found.runtime else "; no runtime was compared"
            lines = [f"The score holds until {holds.until}{against}."]
        else:
            lines.append("The figures remain; a level does not.")
        lines += [f"Checked list: {path}." for path in holds.lists]
        click.echo("\n".join(clean(line) for line in lines))
    click.get_current_context().exit(exit_codes.DONE if found.validity.holds else exit_codes.NO)
