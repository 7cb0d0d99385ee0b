"""``leanmark state``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, key_option
from certify.cli.output import json_option, print_json
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark state graded/model.onnx --assessment privacy --records ledger.jsonl")
@click.argument("file", type=ModelPath(packs=False))
@click.option("--assessment", required=True, help="Assessment that the records belong to.")
@click.option("--records", type=FILE, required=True, help="Record file of that assessment.")
@click.option("--edition", default="2026", show_default=True, help="Edition of the assessment.")
@click.option("--name", help="Display name of the model.  [default: its file name]")
@key_option
@json_option
def command(
    file: Path, assessment: str, records: Path, edition: str, name: str | None, key: Path | None, as_json: bool
) -> None:
    """Evaluate the records of an assessment of FILE, a model, and sign the result.

    The statement and its records are written to statements/ next to FILE, where leanmark verify, audit, gate, label,
    report and export find them. Exit code 3: the statement is a refusal; the reasons are printed.
    """
    from certify.attest.keys import signing_key
    from certify.attest.statements import statement_path
    from certify.present.statements import line
    from certify.workflows.statements import state

    issued = state(file, assessment, records, edition=edition, name=name, signer=signing_key(key) if key else None)
    path = statement_path(file.parent, assessment)
    if as_json:
        print_json({"path": str(path), "sha256": issued.digest, issued.assessment.result: dict(issued.result)})
    else:
        click.echo(f"{issued.claims.title}: {line(issued.claims)}\n{path}")
    click.get_current_context().exit(exit_codes.NO if issued.claims.refused else exit_codes.DONE)
