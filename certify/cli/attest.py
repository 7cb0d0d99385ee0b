"""``leanmark attest``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, key_option
from certify.cli.output import json_option, print_json


@click.command(
    cls=Command,
    example="""\
leanmark attest graded --credit S7 --name "Example Institute" --key institute.key \\
    --text "We met the tenants twice, and the model was changed."
""",
)
@click.argument("folder", type=ModelPath(packs=False))
@click.option("--credit", "credits", multiple=True, required=True, help="Credit to attest, such as S7; repeatable.")
@click.option("--name", required=True, help="Your name.")
@click.option("--text", required=True, help="What you observed.")
@key_option
@json_option
def command(folder: Path, credits: tuple[str, ...], name: str, text: str, key: Path | None, as_json: bool) -> None:
    """Attest, as a third party, a credit's requirement that cannot be measured.

    The attestation earns half of the credit's points for readers who trust your key. Exit code 1: the model in FOLDER
    or a statement about it is not valid. 2: the credit cannot be attested, or the key is the maker's.
    """
    from certify.attest.keys import signing_key
    from certify.workflows.scoring import attest_credits

    path = attest_credits(folder, credits, name, text, signing_key(key))
    if as_json:
        print_json({"path": str(path), "credits": sorted(set(credits))})
    else:
        click.echo(str(path))
