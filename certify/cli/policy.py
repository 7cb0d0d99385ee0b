"""``leanmark policy``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, Group, read_data_key
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile
from certify.core import exit_codes

EXAMPLE = """\
leanmark policy bind npz:digits.npz --terms terms.yaml
leanmark policy check npz:digits.npz --action train --purpose research
"""
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Set what data may be used for: bind a use policy to them, query it, and record consent.

    All files are in a folder DATA.use next to the data, which must not be published. Once it exists, no command reads
    the data without a --purpose that the policy permits.
    """


@command.command(cls=Command, example="leanmark policy check npz:digits.npz --action train --purpose research")
@click.argument("data")
@click.option(
    "--action", required=True, help="Action: train, finetune, distil, calibrate, evaluate, share, sell, publish-..."
)
@click.option("--purpose", required=True, help="Purpose: research, marketing, ..., a DPV term, or an IRI.")
@click.option("--recipient", default="", help="Recipient, as named in the policy.")
@json_option
@click.pass_context
def check(ctx: click.Context, data: str, action: str, purpose: str, recipient: str, as_json: bool) -> None:
    """Query the use policy of DATA and print its answer; nothing else is read or written.

    Exit code 0: permitted. 6: not permitted.
    """
    from certify.core.data_use import vocabulary
    from certify.workflows.use_control import check as decide_use

    answer = decide_use(data, vocabulary.action(action), vocabulary.purpose(purpose), recipient)
    if as_json:
        print_json({"permitted": answer.permitted, "reason": answer.sentence, "until": answer.until})
    else:
        click.echo(answer.sentence)
    ctx.exit(exit_codes.DONE if answer.permitted else exit_codes.NOT_PERMITTED)


@command.command(cls=Command, example="leanmark policy bind npz:digits.npz --terms terms.yaml")
@click.argument("data")
@click.option("--terms", type=FILE, required=True, help="Policy as YAML or JSON, without 'version' and 'data'.")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
@json_option
def bind(data: str, terms: Path, data_key: Path | None, as_json: bool) -> None:
    """Write a use policy for DATA, bound to all its records by keyed identifiers.

    An existing policy is replaced; the journal continues.
    """
    from certify.core.yaml_document import parse_document
    from certify.workflows.data_governance import bind_policy

    values = parse_document(terms.read_bytes(), str(terms)).values
    folder, policy = bind_policy(data, values, read_data_key(data_key))
    if as_json:
        print_json({"folder": str(folder.path), "policy": policy.digest, "root": policy.data.root})
    else:
        click.echo(f"{folder.policy_path}\nPolicy {policy.name}, digest {policy.digest}")


@command.command(cls=Command, example="leanmark policy records npz:digits.npz")
@click.argument("data")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
@json_option
def records(data: str, data_key: Path | None, as_json: bool) -> None:
    """List the keyed identifiers of the records of DATA, and where each record is stored.

    Receipts name records by these identifiers. The list identifies records, so do not publish it.
    """
    from certify.core.text import clean
    from certify.workflows.data_governance import list_records

    found = list_records(data, read_data_key(data_key))
    if as_json:
        print_json({"records": [vars(one) for one in found]})
    else:
        click.echo("\n".join(clean(f"{one.identifier} {one.part} {one.place}") for one in found))


@command.command(cls=Command, example="leanmark policy consent npz:digits.npz --receipts receipts.json")
@click.argument("data")
@click.option("--receipts", type=FILE, required=True, help="JSON list of receipts with the fields of ISO/IEC TS 27560.")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
@json_option
def consent(data: str, receipts: Path, data_key: Path | None, as_json: bool) -> None:
    """Record consent receipts for records of DATA.

    A receipt may name its person as you know them; only their keyed identifier is stored.
    """
    from certify.core.errors import UsageError
    from certify.workflows.data_governance import add_receipts, without_effect

    try:
        values: Any = json.loads(receipts.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{receipts} is not valid JSON: {error}.") from error
    register = add_receipts(data, values, str(receipts), read_data_key(data_key))
    standing = without_effect(register, len(values))
    if as_json:
        print_json({"receipts": len(register.receipts), "head": register.head, "still_withdrawn": standing})
    else:
        if standing:
            click.echo(
                f"{len(standing)} of the records stay withdrawn, because a withdrawal under another identifier stands: "
                f"see leanmark subject {standing[0]}."
            )
        click.echo(f"{len(register.receipts)} receipts; digest of the last line: {register.head}")


@command.command(cls=Command, example="leanmark policy sheet npz:digits.npz --purpose research --declared about.yaml")
@click.argument("data")
@click.option("--purpose", required=True, help="Purpose of reading the data.")
@click.option("--recipient", default="", help="Reader, as named in the policy.")
@click.option("--declared", type=FILE, help="YAML file with sampling, proxy_labels and gaps, in your own words.")
@click.option("--least", type=click.IntRange(2), default=10, show_default=True, help="Smallest count that is shown.")
@click.option("--out", type=OutFile(), help="Output file for the sheet (JSON).")
@click.option("--data-key", type=FILE, help="Data key.  [default: your own]")
def sheet(
    data: str, purpose: str, recipient: str, declared: Path | None, least: int, out: Path | None, data_key: Path | None
) -> None:
    """Summarise the raw data, so that readers can ask whether they represent the users.

    Counts, classes and missing values are aggregated, rounded, and withheld where they are small; all else is as
    declared. The sheet is a reading aid; it does not provide differential privacy.
    """
    from certify.core.data_use.guard import Use, using
    from certify.core.data_use.vocabulary import purpose as term
    from certify.core.files import write_text
    from certify.core.yaml_document import parse_document
    from certify.data import load
    from certify.data.sheet import raw_data_sheet

    words = {} if declared is None else parse_document(declared.read_bytes(), str(declared)).values
    with using(Use(term(purpose), recipient, read_data_key(data_key))):
        text = json.dumps(raw_data_sheet(load(data), words, least), indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
