"""``leanmark export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, trust_option
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile

if TYPE_CHECKING:
    from certify.attest.verification import Verification
    from certify.export import Export
    from certify.export.source import Signer

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark export graded/model.onnx --format cyclonedx --out graded/model.cdx.json")
@click.argument("file", type=ModelPath())
@click.option(
    "--format", "name", required=True, help="Format: cyclonedx, cyclonedx-1.7, hf-model-card, in-toto or spdx3."
)
@click.option("--out", type=OutFile(), help="Output file.  [default: standard output]")
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@trust_option
@json_option
def command(
    file: Path,
    name: str,
    out: Path | None,
    certificate: Path | None,
    evidence: Path | None,
    trust: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the certificate of FILE, an ONNX model, in the format of another tool.

    FILE is verified first. Nothing is exported if the certificate is invalid (exit code 1) or does not follow from the
    evidence (5). Certificate fields that the format cannot represent are listed on standard error.
    """
    from certify.attest.verify import require_derived
    from certify.core.files import write_text
    from certify.core.suggest import unknown_name
    from certify.export import FORMATS, export

    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    read, verification = require_derived(file, certificate, evidence, trust)
    written = export(read, name, _lineage(verification), verification.certificates[1:], _signers(verification))
    if out is not None:
        write_text(out, written.content)
    if as_json:
        place = {"path": str(out)} if out is not None else {"content": written.content}
        print_json({"format": name, **place, "left_out": list(written.left_out)})
    else:
        # A document ends with its own newline.
        click.echo(str(out) if out is not None else written.content, nl=out is not None)
    _print_losses(written, verification)


def _lineage(verification: Verification) -> dict[str, object] | None:
    """Return the lineage next to the file, if it is the one bound by the certificate."""
    from certify.attest.certificate import LINEAGE_NAME, read_lineage

    check = verification.check("lineage_digest")
    # A lineage that the certificate does not bind may belong to any model.
    if check is None or check.outcome != "pass":
        return None
    return dict(read_lineage(verification.path.parent / LINEAGE_NAME))


def _signers(verification: Verification) -> list[Signer]:
    """Return the third parties that signed a verdict."""
    from certify.export.source import Signer

    return [
        Signer(signature.key_id or signature.name or "unknown", signature.name, signature.vouches_for, signature.agrees)
        for signature in verification.signatures
        if signature.role == "verifier"
    ]


def _print_losses(written: Export, verification: Verification) -> None:
    """Print to standard error what readers of the document will not see."""
    from certify.core.text import clean

    if not verification.trusted:
        click.echo("Signed by a key you do not trust (--trust).", err=True)
    click.echo(f"{written.format} cannot represent {len(written.left_out)} fields of the certificate:", err=True)
    for path in written.summary():
        click.echo(f"  {clean(path)}", err=True)
