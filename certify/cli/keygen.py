"""``leanmark keygen``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile


@click.command(
    cls=Command,
    example="""\
leanmark keygen --out keys/release.key
leanmark keygen --rotate
leanmark keygen --revoke revocation.json --reason "the laptop was stolen"
leanmark keygen --data-key data.key
""",
)
@click.option(
    "--out",
    type=OutFile(),
    help="Private key file.  [default: in the configuration folder]",
)
@click.option("--force", is_flag=True, help="Replace an existing key; what it signed becomes untrusted.")
@click.option(
    "--rotate", is_flag=True, help="Replace the key with a new one, which the old one names as its successor."
)
@click.option("--revoke", type=OutFile(), metavar="FILE",
              help="Write the key's own statement that all its signatures are void; make no key.")  # fmt: skip
@click.option("--data-key", type=OutFile(), metavar="FILE",
              help="Create a data key instead, which keys the identifiers of private samples.")  # fmt: skip
@click.option("--reason", default="withdrawn by its owner", show_default=True, help="Reason, for --revoke.")
@json_option
def command(
    out: Path | None,
    force: bool,
    rotate: bool,
    revoke: Path | None,
    data_key: Path | None,
    reason: str,
    as_json: bool,
) -> None:
    """Create the Ed25519 key pair that signs your certificates.

    Your first certificate creates a key pair automatically. This command creates one elsewhere, replaces it or revokes
    it. With --data-key, it creates a data key instead, for private data and use policies.
    """
    from certify.attest.keys import PRIVATE_NAME, generate, public_path
    from certify.core.folders import config_folder

    if force + rotate + (revoke is not None) + (data_key is not None) > 1:
        raise click.UsageError("--force, --rotate, --revoke and --data-key exclude each other.")
    if out is not None and data_key is not None:
        raise click.UsageError("--data-key names its own FILE, and --out the file of a key pair; drop --out.")
    if data_key is not None:
        _create_data_key(data_key, as_json)
        return
    path = out or config_folder() / PRIVATE_NAME
    if revoke is not None:
        _revoke(path, revoke, reason, as_json)
        return
    if rotate:
        _rotate(path, as_json)
        return
    key = generate(path, force=force).public
    public = public_path(path)
    if as_json:
        print_json({"private_key": str(path), "public_key": str(public), "key_id": key.key_id})
        return
    click.echo(f"Private key: {path} (keep it secret)\nPublic key:  {public}\nKey id:      {key.key_id}")


def _create_data_key(path: Path, as_json: bool) -> None:
    from certify.core.private_data import DataKey

    key = DataKey.new()
    key.write(path)
    if as_json:
        print_json({"data_key": str(path), "key_id": key.id})
        return
    click.echo(f"Data key: {path} (keep it secret; only give it to auditors)\nKey id:   {key.id}")


def _rotate(path: Path, as_json: bool) -> None:
    from certify.attest.key_statements import KEY_STATEMENTS_NAME
    from certify.attest.rotation import rotate

    rotation = rotate(path)
    if as_json:
        print_json({
            "private_key": str(path),
            "key_id": rotation.new.public.key_id,
            "old_private_key": str(rotation.old_path),
            "old_key_id": rotation.old.key_id,
            "statements": str(rotation.statements),
        })  # fmt: skip
        return
    click.echo(
        f"New key id:  {rotation.new.public.key_id} ({path})\n"
        f"Old key:     {rotation.old_path} (keep it: you may need to revoke it)\n"
        f"Handover:    {rotation.statements}\n"
        f"Put a copy of the handover next to your models as {KEY_STATEMENTS_NAME}, or send it to everybody who trusts "
        "the old key (leanmark trust add)."
    )


def _revoke(path: Path, place: Path, reason: str, as_json: bool) -> None:
    from certify.attest.key_statements import revoke
    from certify.attest.keys import load_private
    from certify.core.errors import UsageError
    from certify.core.files import write_bytes

    if place.exists():
        raise UsageError(f"{place} already exists; --revoke takes the name of a new file for the statement.")
    statement = revoke(load_private(path), reason)
    write_bytes(place, statement.content)
    if as_json:
        print_json({"key_id": statement.signer.key_id, "statement": str(place)})
        return
    click.echo(
        f"{place} states that every signature by key {statement.signer.key_id} is void. Publish it; everybody who "
        f"trusts the key should run: leanmark trust revoke {place.name}"
    )
