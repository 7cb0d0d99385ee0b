"""``leanmark regrade``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, key_option
from certify.cli.output import json_option, print_json, print_rich
from certify.core import exit_codes

if TYPE_CHECKING:
    from certify.workflows.regrade import Regrade

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark regrade graded/model.onnx --edition 2026")
@click.argument("file", type=ModelPath(packs=False))
@click.option("--edition", required=True, help="Edition to grade by.")
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Output folder for a new certificate.  [default: none is written]",
)
@key_option
@json_option
def command(
    file: Path,
    edition: str,
    certificate: Path | None,
    evidence: Path | None,
    out: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Grade FILE by another edition, from the evidence of its certificate; nothing is measured.

    Both grades are printed. With --out, a new certificate under that edition is signed and sealed into a copy of the
    model; it refers to the first one, which is unchanged. Exit code 3: the other edition gives no grade.
    """
    from certify.workflows.regrade import issue_regrade, regrade

    found = regrade(file, edition, certificate, evidence)
    issued = None
    if out is not None:
        from certify.attest.keys import signing_key
        from certify.present.label.sidecars import write_label

        issued = issue_regrade(found, out, signing_key(key))
        write_label(issued, out)
    if as_json:
        print_json({**found.to_json(), "certificate": None if issued is None else issued.digest})
    else:
        _show(found, out)
    click.get_current_context().exit(exit_codes.NO if found.grade.letter is None else exit_codes.DONE)


def _show(found: Regrade, out: Path | None) -> None:
    from certify.cli.tables import verdict

    certificate = found.audit.certificate
    from certify.present.statements import of_efficiency

    first = of_efficiency(certificate)
    place = () if out is None else (str(out),)
    print_rich(
        f"Edition {first.edition.name}, as certified:", verdict(first.grade, first.device_class),
        f"Edition {found.edition}:", verdict(found.grade), *place,
    )  # fmt: skip
