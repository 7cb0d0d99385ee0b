"""``leanmark keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json


@click.command(cls=Command, example="leanmark keygen --out keys/release.key")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Private key [in the configuration folder]."
)
@click.option("--force", is_flag=True, help="Replace a key that exists; what it signed is then signed by a stranger.")
@json_option
def command(out: Path | None, force: bool, as_json: bool) -> None:
    """Make the Ed25519 key pair that signs your certificates.

    The first certificate makes one by itself; this command is for making it elsewhere, or anew.
    """
    from certify.certificate.keys import PRIVATE_NAME, generate
    from certify.folders import config_folder

    path = out or config_folder() / PRIVATE_NAME
    key = generate(path, force=force).public
    public = path.with_suffix(".pub")
    if as_json:
        print_json({"private_key": str(path), "public_key": str(public), "key_id": key.key_id})
        return
    click.echo(f"Private key: {path} (keep it to yourself)\nPublic key:  {public}\nKey id:      {key.key_id}")
