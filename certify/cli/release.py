"""``leanmark release``: sign the files of a release, and check them."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, Group, key_option, trust_option
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXAMPLE = """\
leanmark release sign dist/*.whl dist/*.tar.gz --name 'leanmark 0.1.0' --out dist/release.json
leanmark release check dist/release.json --trust maker.pub
"""


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Sign the files of a release, such as wheels, or check them."""


@command.command(cls=Command, example="leanmark release sign dist/*.whl --name 'leanmark 0.1.0' --out release.json")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--name", required=True, help="Name and version of the release.")
@click.option("--out", type=OutFile(), default="release.json", show_default=True,
              help="Output file for the statement.")  # fmt: skip
@key_option
def sign(files: tuple[Path, ...], name: str, out: Path, key: Path | None) -> None:
    """Sign the digests of FILES in one statement."""
    from certify.attest.keys import signing_key
    from certify.attest.release import sign_release
    from certify.core.files import write_bytes

    signer = signing_key(key)
    write_bytes(out, sign_release(files, name, signer).content)
    click.echo(
        f"Signed {len(files)} file{'s' if len(files) > 1 else ''} in {out}, with key {signer.public.key_id[:16]}."
    )


@command.command(cls=Command, example="leanmark release check dist/release.json --trust maker.pub")
@click.argument("statement", type=FILE)
@click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the files.  [default: that of STATEMENT]",
)
@trust_option
@json_option
@click.pass_context
def check(ctx: click.Context, statement: Path, files: Path | None, trust: tuple[str, ...], as_json: bool) -> None:
    """Check the files of a release against STATEMENT.

    Exit code 0: all files are as signed. 1: a file is missing or altered, or the key is revoked. 4: signed by a key you
    do not trust.
    """
    from certify.attest.release import check_release
    from certify.core.text import clean

    found = check_release(statement, files, trust)
    if as_json:
        print_json({"release": found.release, "files": list(found.files), "faults": list(found.faults),
                    "trusted": found.standing.trusted, "signer": found.standing.sentence})  # fmt: skip
    else:
        count = len(found.files) + len(found.faults)
        summary = f"{clean(found.release)}: {len(found.files)} of {count} files are as signed."
        lines = [summary, *found.faults, found.standing.sentence]
        click.echo("\n".join(lines))
    ctx.exit(found.exit_code)
