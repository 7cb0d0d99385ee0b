"""``leanmark countersign``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, ModelPath, auditor_options, key_option
from certify.cli.output import bars, json_option, print_json, quiet_option
from certify.cli.plan import plan_options, take_plan

if TYPE_CHECKING:
    from certify.attest.audit import Audit

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark audit graded/model.onnx --remeasure --data imagefolder:photos --keep remeasured.jsonl
leanmark countersign graded/model.onnx --remeasured remeasured.jsonl
leanmark countersign graded/model.onnx --data imagefolder:photos --fresh-data imagefolder:new-photos
""",
)
@click.argument("file", type=ModelPath(packs=False))
@click.option("--evidence", type=FILE, help="The maker's evidence.  [default: evidence.jsonl next to FILE]")
@click.option("--remeasured", type=FILE, help="Evidence of your own measurement, written by leanmark audit --keep.")
@click.option("--data", help="Measure again here first, on the same test samples (data specification).")
@click.option("--fresh-data", help="Data of the same classes, unseen by the maker; also scored with --data.")
@key_option
@click.option("--remark", help="Remark for human readers, one sentence.")
@click.option("--sigstore", is_flag=True, help="Sign your own certificate keylessly with your identity.")
@auditor_options
@plan_options
@quiet_option
@json_option
def command(
    file: Path,
    evidence: Path | None,
    remeasured: Path | None,
    data: str | None,
    fresh_data: str | None,
    key: Path | None,
    remark: str | None,
    sigstore: bool,
    auditor_file: tuple[Path, ...],
    auditor_key: Path | None,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Sign your own verdict on the certificate of FILE, as someone other than its maker.

    All figures are first derived again. The statement then confirms the certificate as cross-checked, or as reproduced
    with --remeasured or --data. If anything differs, the statement says where you disagree. It also says whether you
    scored data that the maker had not seen. It is written to countersignatures/ next to FILE, and leanmark verify shows
    it. If the data are private and you have the auditor files, readers who trust you need these files no longer.
    """
    from certify.attest.audit import audit
    from certify.attest.auditor import Access

    if remeasured is not None and data is not None:
        raise click.UsageError(
            "--data and --remeasured exclude each other: one measures now, the other names a finished measurement."
        )
    if fresh_data is not None and data is None:
        raise click.UsageError("--fresh-data needs a new measurement; add --data.")
    plan = take_plan(arguments)
    access = Access.from_options(auditor_file, auditor_key)
    found = audit(file, evidence=evidence, access=access)
    # A keyless signature only adds the identity of the maker to their statement, so it has no verdict.
    if sigstore:
        if remeasured or data or key or remark:
            raise click.UsageError(
                "--sigstore signs the maker's own statement; drop --remeasured, --data, --key and --remark."
            )
        _sign_keyless(found, as_json)
        return
    from certify.attest.countersignature import Countersignature, Remeasured, countersign
    from certify.attest.keys import signing_key

    again, records, assessment = None, None, found.certificate.assessment
    if data is not None:
        from certify.workflows.remeasurement import remeasure

        key_of_data = None if access is None else access.key
        records = remeasure(
            file, found.certificate, data, plan, progress=bars(), fresh_data=fresh_data, data_key=key_of_data
        )
    elif remeasured is not None:
        records = assessment.parse(remeasured.read_bytes(), str(remeasured))
    if records is not None:
        again = Remeasured(records, assessment.agreement(found.evidence, records, found.edition))
    signer = signing_key(key)
    statement, written = countersign(found, signer, again, remark)
    files = {name: str(path) for name, path in written.items()}
    if as_json:
        print_json({"predicate": dict(statement.predicate), "files": files})
        return
    verdict = Countersignature(written["countersignature"], statement)
    click.echo(f"Key {signer.public.key_id[:16]} {verdict.sentence}.")
    click.echo("\n".join(files.values()))


def _sign_keyless(found: Audit, as_json: bool) -> None:
    from certify.attest.keyless import BUNDLE_NAME, sign_keyless
    from certify.core.errors import CertificateError
    from certify.core.files import write_bytes

    # A certificate that fails its audit must not gain a signature.
    if not found.agrees:
        raise CertificateError(f"The certificate failed its audit and was not signed: {found.verdict}")
    path = found.path.parent / BUNDLE_NAME
    write_bytes(path, sign_keyless(found.certificate.envelope.payload))
    if as_json:
        print_json({"files": {"bundle": str(path)}})
    else:
        click.echo(str(path))
