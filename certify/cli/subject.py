"""``leanmark subject``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, read_data_key
from certify.cli.output import json_option, print_json

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark subject ada@example.org --data npz:digits.npz")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--data", required=True, help="Data with a use policy.")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
@json_option
def command(ids: tuple[str, ...], data: str, data_key: Path | None, as_json: bool) -> None:
    """Print what is stored about a person: records, sources, consent, uses, and the models that saw them.

    ID is the name by which you know the person, or a keyed identifier of theirs or of a record. With --json, each model
    that did not see a record comes with a proof of absence against the Merkle root in its statement.
    """
    from certify.core.text import clean
    from certify.workflows.use_control import governing, subject

    found = subject(governing(data), ids, read_data_key(data_key))
    if as_json:
        print_json(found.to_json())
        return
    policy = found.policy
    count = len(found.identifiers)
    lines = [f"{count} {'record' if count == 1 else 'records'}, {len(found.withdrawn)} withdrawn"]
    lines += [f"supplied by {supplier.name}: {supplier.how}" for supplier in policy.suppliers]
    lines += [f"held by {policy.controller} ({policy.contact}) on the basis {policy.legal_basis}, as stated"]
    lines += [
        f"receipt {receipt['record_id']}: {receipt['event_state']} {receipt['event_time']} for "
        f"{', '.join(receipt['purposes']) or 'everything'}"
        for receipt in found.receipts
    ]
    lines += [f"permitted use: {what} for {why}{f' by {who}' if who else ''}" for what, why, who in found.uses]
    lines += [
        f"seen by the {one.role} {one.path} ({one.sha256[:12]}), {n} of them"
        + (", and revoked" if one.sha256 in found.revoked else "")
        for one, n in found.models
    ]
    lines += [f"not seen by the {one.role} {one.path} ({one.sha256[:12]})" for one in found.unseen]
    click.echo("\n".join(clean(line) for line in lines))
