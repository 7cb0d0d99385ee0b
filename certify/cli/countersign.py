"""``leanmark countersign``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json

if TYPE_CHECKING:
    from certify.attest.audit import Audit

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark audit graded/model.onnx --remeasure --data imagefolder:photos --keep remeasured.jsonl
leanmark countersign graded/model.onnx --remeasured remeasured.jsonl
""",
)
@click.argument("file", type=FILE)
@click.option("--evidence", type=FILE, help="The maker's evidence [evidence.jsonl beside FILE].")
@click.option("--remeasured", type=FILE, help="Evidence of your own measurement, from leanmark audit --keep.")
@click.option("--key", type=FILE, help="Private key to sign with [your own].")
@click.option("--remark", help="A sentence for people.")
@click.option("--sigstore", is_flag=True, help="Sign the maker's statement as its maker, by your identity, keyless.")
@json_option
def command(
    file: Path,
    evidence: Path | None,
    remeasured: Path | None,
    key: Path | None,
    remark: str | None,
    sigstore: bool,
    as_json: bool,
) -> None:
    """Sign what you found about FILE's certificate, as somebody else than its maker.

    Everything is derived again first. You then vouch for cross-checked; with --remeasured, for reproduced; or you sign
    that you disagree, and on what. The statement lies in countersignatures/ beside FILE, and leanmark verify shows it.
    """
    from certify.attest.audit import audit

    found = audit(file, evidence=evidence)
    if sigstore:
        if remeasured or key or remark:
            raise click.UsageError(
                "--sigstore signs the maker's own statement; it takes no --remeasured, --key, --remark."
            )
        _sign_keyless(found, as_json)
        return
    from certify.attest.countersignature import Countersignature, Remeasured, countersign
    from certify.attest.keys import load_or_create, load_private

    again = None
    if remeasured is not None:
        assessment = found.certificate.assessment
        records = assessment.parse(remeasured.read_bytes(), str(remeasured))
        again = Remeasured(records, assessment.agreement(found.evidence, records, found.edition))
    signer = load_or_create() if key is None else load_private(key)
    statement, written = countersign(found, signer, again, remark)
    files = {name: str(path) for name, path in written.items()}
    if as_json:
        print_json({"predicate": dict(statement.predicate), "files": files})
        return
    said = Countersignature(written["countersignature"], statement)
    click.echo(f"Key {signer.public.key_id[:16]} {said.sentence}.")
    click.echo("\n".join(files.values()))


def _sign_keyless(found: Audit, as_json: bool) -> None:
    from certify.attest.keyless import BUNDLE_NAME, sign_keyless
    from certify.core.errors import CertificateError
    from certify.core.files import write_bytes

    if not found.agrees:
        raise CertificateError(f"The certificate does not hold, so it is not signed: {found.verdict}")
    path = found.path.parent / BUNDLE_NAME
    write_bytes(path, sign_keyless(found.certificate.envelope.payload))
    if as_json:
        print_json({"files": {"bundle": str(path)}})
    else:
        click.echo(str(path))
