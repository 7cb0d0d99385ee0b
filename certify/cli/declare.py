"""``leanmark declare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, ModelPath, governed, key_option
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile
from certify.core import exit_codes

if TYPE_CHECKING:
    from certify.assessments.declarations.declaration import Declaration

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark declare --template > declarations.yaml
leanmark declare --ask --from-card README.md --out declarations.yaml
leanmark declare graded/model.onnx --declarations declarations.yaml --data npz:digits.npz
""",
)
@click.argument("file", type=ModelPath(packs=False), required=False)
@click.option("--declarations", type=FILE, help="Declarations file.  [default: declarations.yaml next to FILE]")
@click.option("--data", help="Test data of FILE; their names are searched and samples counted.")
@click.option("--template", is_flag=True, help="Write a file with every question, to fill in.")
@click.option("--ask", is_flag=True, help="Ask every question that applies and write the answers.")
@click.option("--from-card", type=FILE, help="Start from the contents of a model card (README.md).")
@click.option("--out", type=OutFile(), help="Output file.  [default: standard output]")
@click.option("--edition", default="2026", show_default=True, help="Edition of the declarations.")
@click.option("--name", help="Display name of the model.  [default: that of its statements]")
@key_option
@json_option
@governed
def command(
    file: Path | None, declarations: Path | None, data: str | None, template: bool, ask: bool, from_card: Path | None,
    out: Path | None, edition: str, name: str | None, key: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Declare what FILE, a model, is for, whom it may harm and who may contest it, and sign the declarations.

    Declarations are your own statements: they are shown apart from measurements and earn no points. Names in the data
    are searched for words about people and faces, and contradictions are shown first. Exit code 3: faces are declared,
    or left open, but the questions about them are not answered.
    """
    writes = template or ask or from_card is not None
    if writes == (file is not None):
        raise click.UsageError(
            "Either pass FILE to sign declarations about it, or write declarations with --template, --ask or "
            "--from-card."
        )
    if writes:
        if declarations or data or key or as_json or name:
            raise click.UsageError("--template, --ask and --from-card only write a file; sign it in a second step.")
        _write(ask, from_card, out)
    elif file is not None:
        if out is not None:
            raise click.UsageError(
                "--out needs --template, --ask or --from-card; a statement is always written next to FILE."
            )
        _sign(file, declarations, data, edition, name, key, as_json)


def _write(ask: bool, from_card: Path | None, out: Path | None) -> None:
    from certify.assessments.declarations.card import from_card as read_card
    from certify.assessments.declarations.writing import write_declaration
    from certify.core.files import write_text

    declared = None if from_card is None else read_card(from_card.read_bytes(), str(from_card))
    if ask:
        declared = _ask(declared)
    text = write_declaration(declared)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
        click.echo(str(out))


def _ask(declared: Declaration | None) -> Declaration:
    """Ask the open questions; prompts and input stay off standard output."""
    from certify.assessments.declarations.declaration import FORMAT, Declaration
    from certify.assessments.declarations.questions import QUESTIONS, SECTIONS

    values: dict[str, Any] = {"declaration": FORMAT} if declared is None else declared.to_json()
    printed = ""
    click.echo("Empty answers are shown as not stated.", err=True)
    for question in QUESTIONS:
        known = Declaration.from_json(values)
        # Answered questions are skipped, so that an interrupted session can resume from its file.
        if not question.applies(known) or question.answer(known) is not None:
            continue
        if question.section != printed and len(question.path) > 1:
            printed = question.section
            click.echo(f"\n{SECTIONS[printed]}", err=True)
        answer = _answers(question.asks, question.choices, question.many)
        question.put(values, answer)
        if answer is not None and question.section == "safe_face":
            more = {"text": _answers("  Why, or how?"), "evidence": _answers("  Where is the evidence?")}
            values[question.section][question.path[-1]] |= {
                name: value for name, value in more.items() if value is not None
            }
    return Declaration.from_json(values)


def _answers(asks: str, choices: tuple[str, ...] = (), many: bool = False) -> str | list[str] | None:
    allowed = f" ({', '.join(choices)})" if choices else " (separate several with ;)" if many else ""
    while True:
        # Prompts go to standard error, because standard output may be the file itself.
        answer = click.prompt(f"{asks}{allowed}", default="", show_default=False, err=True).strip()
        if not answer:
            return None
        if many:
            return [part.strip() for part in answer.split(";") if part.strip()] or None
        if not choices or answer in choices:
            return str(answer)
        click.echo(f"The answer must be one of {', '.join(choices)}, got '{answer}'.", err=True)


def _sign(
    file: Path, declarations: Path | None, data: str | None, edition: str, name: str | None, key: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    from certify.assessments.declarations.records import FILE_NAME
    from certify.attest.keys import signing_key
    from certify.attest.statements import statement_path
    from certify.core.text import clean
    from certify.present.statements import line
    from certify.workflows.declaration import declare

    source = declarations or file.with_name(FILE_NAME)
    signer = signing_key(key) if key else None
    issued = declare(file, source, data=data, edition=edition, name=name, signer=signer)
    path, claims = statement_path(file.parent, issued.assessment.name), issued.claims
    if as_json:
        print_json({"path": str(path), "sha256": issued.digest, **issued.profile.to_json(),
                    issued.assessment.result: dict(issued.result)})  # fmt: skip
    else:
        click.echo(f"{claims.title}: {claims.text if claims.refused else line(claims)}")
        for finding in claims.findings:
            if finding.outcome != "pass":
                click.echo(
                    clean(
                        f"{'FAILED' if finding.outcome == 'fail' else 'not stated'}: {finding.name}: {finding.sentence}"
                    )
                )
        click.echo(str(path))
    click.get_current_context().exit(exit_codes.NO if claims.refused else exit_codes.DONE)
