"""``leanmark mark``: a level, awarded by a certification scheme."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, Group, ModelPath, key_option, trust_option, withdrawals_option
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXAMPLE = """\
leanmark mark show graded
leanmark mark award graded --level silver --scheme scheme.yaml --key scheme.key
leanmark mark withdraw graded/marks/1f...b0.json --reason "the energy was not confirmed" \\
    --scheme scheme.yaml --key scheme.key --list withdrawn.json
"""


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Award a level as a certification scheme, withdraw it, or see which marks you can believe."""


@command.command(cls=Command, example="leanmark mark show graded --withdrawals withdrawn.json")
@click.argument("folder", type=ModelPath())
@trust_option
@withdrawals_option
@click.option(
    "--runtime", default="", help="Runtime of the model, such as 'onnxruntime-cpu 1.33.0'.  [default: not checked]"
)
@json_option
def show(folder: Path, trust: tuple[str, ...], withdrawals: tuple[Path, ...], runtime: str, as_json: bool) -> None:
    """Print which marks next to the model in FOLDER you can believe, given the keys that you trust.

    Exit code 0: a scheme that you know awarded a level, and it is in force. 3: no level is in force; the rule is named.
    """
    from certify.core.text import clean
    from certify.workflows.mark_trust import RULES, marks_of

    found = marks_of(folder, trust=trust, withdrawals=withdrawals, runtime=runtime)
    if as_json:
        print_json({"marks": [mark.to_json() for mark in found]})
    for mark in [] if as_json else found:
        head = f"level {mark.level}: " if mark.level else "no level: "
        rule = "" if mark.rule is None else f" (rule {mark.rule}: {RULES[mark.rule]})"
        click.echo(clean(f"{head}{mark.sentence}{rule}"))
    if not found and not as_json:
        click.echo("The model has no mark, so it has no level.")
    click.get_current_context().exit(exit_codes.DONE if any(mark.level for mark in found) else exit_codes.NO)


@command.command(cls=Command, example="leanmark mark award graded --level silver --scheme scheme.yaml --key scheme.key")
@click.argument("folder", type=ModelPath(packs=False))
@click.option(
    "--level", type=click.Choice(["certified", "silver", "gold", "platinum"]), required=True, help="Level to award."
)
@click.option("--scheme", type=FILE, required=True, help="Scheme file.")
@click.option(
    "--until", help="UTC time at which the award ends, such as 2028-11-26T00:00:00Z.  [default: when the score ends]"
)
@click.option("--trust", multiple=True, metavar="PUBKEY", help="Key of a verifier of the scheme; repeatable.")
@key_option
@json_option
def award(
    folder: Path, level: str, scheme: Path, until: str | None, trust: tuple[str, ...], key: Path | None, as_json: bool
) -> None:
    """Award a level to the model in FOLDER, signed with the scheme's key.

    Everything is first verified and counted again with the scheme's own trust. The mark counts for readers who know the
    key as that of a scheme (leanmark trust scheme). Exit code 1: a file about the model is not valid. 2: the score is
    too low, or the key is the maker's or a verifier's.
    """
    from certify.attest.keys import signing_key
    from certify.scorecard.mark import read_scheme
    from certify.workflows.award import award_level

    path = award_level(folder, level, read_scheme(scheme), signing_key(key), trust=trust, until=until)
    if as_json:
        print_json({"path": str(path), "level": level})
    else:
        click.echo(str(path))


@command.command(
    cls=Command,
    example="""\
leanmark mark withdraw graded/marks/1f...b0.json --reason "the energy was not confirmed" \\
    --scheme scheme.yaml --key scheme.key --list withdrawn.json
""",
)
@click.argument("mark", type=FILE)
@click.option("--reason", required=True, help="Reason, one sentence.")
@click.option("--scheme", type=FILE, required=True, help="Scheme file.")
@click.option("--list", "listed", type=OutFile(), default=Path("withdrawn.json"),
              show_default=True, help="The scheme's list, which is updated and signed again.")  # fmt: skip
@key_option
@json_option
def withdraw(mark: Path, reason: str, scheme: Path, listed: Path, key: Path | None, as_json: bool) -> None:
    """Withdraw the mark in the file MARK: add it to the scheme's list, which the scheme publishes.

    Readers pass the list with --withdrawals, or find it next to a model as marks/withdrawn.json.
    """
    from certify.attest.keys import signing_key
    from certify.scorecard.mark import read_scheme
    from certify.workflows.award import withdraw_mark

    path = withdraw_mark(mark, reason, read_scheme(scheme), signing_key(key), listed)
    if as_json:
        print_json({"path": str(path)})
    else:
        click.echo(str(path))


@command.command(cls=Command, example="leanmark mark scheme > scheme.yaml")
def scheme() -> None:
    """Print a scheme file to start from."""
    click.echo(TEMPLATE, nl=False)


TEMPLATE = """\
# A certification scheme based on leanmark's scorecard. See the guide, "Run a scheme".
name: Example scheme            # public name
owner: Example Foundation       # responsible organisation
terms_url: https://example.org/terms   # public terms, open to all applicants
body: Example Certification Ltd # deciding body, independent of owner and makers
accreditation: ISO/IEC 17065, number 123 of the national accreditation body
contact: complaints@example.org # contact for questions and complaints
"""
