"""``leanmark verify``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, auditor_options, trust_option
from certify.cli.output import json_option, print_json
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark verify graded/model.onnx --trust their-key.pub")
@click.argument("file", type=ModelPath())
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@trust_option
@click.option("--identity", help="Required sigstore signer: an e-mail address or a workflow URL.")
@click.option("--issuer", help="URL of the identity provider for --identity.")
@click.option("--strict", is_flag=True, help="Also fail if the figures cannot be derived from evidence.")
@click.option("--purpose", help="Intended use of the model; its data-use statement must permit it.")
@click.option("--recipient", default="", help="Your name, as written in the use policy of its data.")
@click.option("--receipts", type=FILE, multiple=True, help="Receipts kept by a federated client; repeatable.")
@click.option("--revocations", type=FILE, multiple=True, help="Statement that revokes models; repeatable.")
@auditor_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    file: Path,
    certificate: Path | None,
    evidence: Path | None,
    trust: tuple[str, ...],
    identity: str | None,
    issuer: str | None,
    strict: bool,
    purpose: str | None,
    recipient: str,
    receipts: tuple[Path, ...],
    revocations: tuple[Path, ...],
    auditor_file: tuple[Path, ...],
    auditor_key: Path | None,
    as_json: bool,
) -> None:
    """Check the certificate of the model FILE: the file's bytes, the signer, and the letter.

    Exit code 0: valid. 1: not valid; every failed check is listed. Also if the key is revoked, a verifier that you
    trust disagrees, an audit next to the model refutes a privacy claim, or a federated log lacks an entry of
    --receipts. 2: usage error. 4: valid, but signed by a key you do not trust (see --trust and leanmark trust add; your
    own key is trusted). 5, with --strict: valid, but not derived: the evidence is missing or unreadable, or the data
    are private and you have neither the auditor file nor the countersignature of an auditor that you trust. 6, with
    --purpose: valid, but the use policy of its data does not permit that use.
    """
    from certify.attest.auditor import Access
    from certify.attest.verify import verify
    from certify.core.data_use import vocabulary
    from certify.core.text import clean, printable
    from certify.workflows.receipt_check import with_receipts
    from certify.workflows.use_control import why_not_permitted

    access = Access.from_options(auditor_file, auditor_key)
    wanted = None if purpose is None else vocabulary.purpose(purpose)
    verification = verify(
        file, certificate, evidence, trust, identity=identity, issuer=issuer, access=access, revocations=revocations
    )
    if receipts:
        verification = with_receipts(verification, receipts)
    refused = None if wanted is None else why_not_permitted(verification, wanted, recipient)
    if as_json:
        use = {} if wanted is None else {"use": {"purpose": wanted, "permitted": not refused, "reason": refused}}
        print_json({**verification.to_json(), **use})
    else:
        click.echo("\n".join(printable(line) for line in str(verification).splitlines()))
        if wanted is not None:
            click.echo(clean(refused or f"The use policy of its data permits {wanted}."))
    code = verification.strict_exit_code if strict else verification.exit_code
    # A failed check outweighs a use that is not permitted.
    ctx.exit(exit_codes.NOT_PERMITTED if refused and code != exit_codes.FAILED else code)
