"""``leanmark mappings``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath
from certify.cli.values import OutFile

HEAD = """\
# {model}: requirements of other documents, and what its statements answer

From secondary sources; read the originals before you rely on a row. Not legal advice or a statement of conformity.
"""


@click.command(cls=Command, example="leanmark mappings graded/model.onnx --scheme annex-iv --scheme iso-42001")
@click.argument("file", type=ModelPath())
@click.option(
    "--scheme",
    multiple=True,
    help="Scheme: annex-iv, annex-xi, gpai-form, aisvs, iso-42001, nist-ai-rmf, sci, ...; repeatable.  [default: all]",
)
@click.option("--out", type=OutFile(), help="Output file.  [default: standard output]")
def command(file: Path, scheme: tuple[str, ...], out: Path | None) -> None:
    """Fill the tables of laws and standards with the answers of FILE's statements, in Markdown.

    Each row says whether the answer is complete, partial, not stated or not covered, and why. FILE is verified first.
    """
    from certify.attest.verify import require_derived
    from certify.core.files import write_text
    from certify.export.card_sections import safe
    from certify.export.mappings import filled
    from certify.export.source import ExportSource

    read, verification = require_derived(file)
    # No lineage, because these tables do not show it.
    source = ExportSource.of(read, None, verification.certificates[1:])
    text = f"{HEAD.format(model=safe(source.claims.model))}\n{filled(source, scheme)}"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_text(out, text)
        click.echo(str(out))
