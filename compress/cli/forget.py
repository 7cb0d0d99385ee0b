"""``leanmark forget``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, key_option, read_data_key
from certify.cli.output import bars, json_option, print_json

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark forget ada@example.org --data npz:digits.npz --retrain")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--data", required=True, help="Data with a use policy.")
@click.option("--retrain", is_flag=True, help="Make the models again without the records, from their originals.")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
@key_option
@json_option
def command(
    ids: tuple[str, ...], data: str, retrain: bool, data_key: Path | None, key: Path | None, as_json: bool
) -> None:
    """Withdraw records, list the models that saw them, and revoke the certificates of these models.

    ID is the name by which you know a person, or a keyed identifier of a person or record. From now on no loader
    yields the records; their bytes stay in your files until you delete them. The models keep what they learnt from the
    records, because leanmark does not use approximate unlearning. With --retrain, each model that a leanmark command
    made is made again, in place, by its whole recipe: from its original, or from random weights if the job trained the
    original. The new model needs a new certificate.

    Exit code 0: done. 2: usage error, or an ID matches no record (nothing is written). 3: a model could not be made
    again; the reason is printed.
    """
    from certify.attest.keys import signing_key
    from certify.core import exit_codes
    from certify.core.text import clean
    from certify.workflows.use_control import forget, governing

    folder, secret, signer = governing(data), read_data_key(data_key), signing_key(key)
    found = forget(folder, ids, secret, signer)
    outcomes: list[dict[str, str]] = []
    if retrain:
        with bars().task("Loading PyTorch"):
            from compress.job.retrain import retrain_all

        # Retrain after revoking, because a failed retraining must not leave the old certificates valid.
        outcomes = retrain_all(found.models, secret, key, bars())
    values: dict[str, Any] = {
        "records": list(found.identifiers),
        "models": [{"sha256": each.sha256, "role": each.role, "path": each.path} for each in found.models],
        "revoked_in": [str(path) for path in found.written],
        "made_again": outcomes,
    }
    if as_json:
        print_json(values)
    else:
        count = len(found.identifiers)
        named = (
            "1 record is withdrawn; no loader yields it"
            if count == 1
            else f"{count} records are withdrawn; no loader yields them"
        )
        lines = [f"{named} from now on."]
        lines += [
            f"The {each.role} {each.path} ({each.sha256[:12]}) saw a withdrawn record and is revoked."
            for each in found.models
        ]
        lines += [f"Revocation written to {path}" for path in found.written]
        lines += [outcome["sentence"] for outcome in outcomes]
        click.echo("\n".join(clean(line) for line in lines))
    failed = any(outcome["outcome"] == "declined" for outcome in outcomes)
    click.get_current_context().exit(exit_codes.NO if failed else exit_codes.DONE)
