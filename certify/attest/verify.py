"""Verification: is this the certified file, is the signature valid, and does the letter follow from the evidence?

Nothing is believed before it is checked, and nothing malformed ends in a traceback: every finding is a named check. A
certificate cannot show whether its maker was honest; only a new measurement by someone else can.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.assessment.assessment import NOT_DERIVABLE, Surroundings
from certify.assessment.not_installed import NOTHING, NotInstalled
from certify.attest.auditor import Access, check_rows, vouched
from certify.attest.certificate import CERTIFICATE_NAME, EVIDENCE_NAME, LINEAGE_NAME, Certificate, read_certificate
from certify.attest.checks_across import is_refutation, with_contradictions
from certify.attest.checks_model import check_model
from certify.attest.checks_names import check_names
from certify.attest.checks_records import check_derivation, find_evidence, load_edition, read_records
from certify.attest.checks_sidecars import beside, check_companions, check_created, check_lineage, check_signer
from certify.attest.checks_signatures import check_countersignatures, check_identity, check_maker
from certify.attest.envelope import parse_envelope
from certify.attest.key_statements import KEY_STATEMENTS_NAME, read_key_statements
from certify.attest.keys import PublicKey
from certify.attest.revoked_models import check_revoked
from certify.attest.statement import statement_version
from certify.attest.statements import FOLDER, records_path, statement_files
from certify.attest.trust import TrustStore, trusted
from certify.attest.verification import Signature, Verification
from certify.core.errors import CertificateError, LeanmarkError, NotDerivedError, UsageError
from certify.core.finding import Finding
from certify.core.registry import NAME, provided
from certify.core.text import clean
from certify.model_file.model_file import ModelFile, open_model

__all__ = ["Verification", "require_derived", "verify"]


def verify(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    *,
    identity: str | None = None,
    issuer: str | None = None,
    access: Access | None = None,
    revocations: Iterable[Path] = (),
) -> Verification:
    """Check a certified file and its sidecar files.

    Args:
        path: the certified file.
        certificate: its certificate. Default: the one sealed into the file, else ``certificate.json`` next to it.
        evidence: the evidence file. Default: ``evidence.jsonl`` next to the model.
        trust: public keys (PEM files or hexadecimal) to trust, in addition to the trust store and the user's own.
        identity: required sigstore signer; needs ``issuer`` too.
        issuer: URL of the identity provider.
        access: auditor files and data key, if the data are private and their holder provided them.
        revocations: statements that revoke models, in addition to ``revoked.json`` next to the model.

    Raises:
        UsageError: a named file does not exist or is not a model, or an identity was given without its issuer.
        CertificateError: there is no certificate at all, or a trusted key or the trust store is malformed.

    Example:
        >>> import certify
        >>> certify.verify("graded/model.onnx", trust=["maker.pub"]).verdict
        'valid: grade D on made up, 2 threads, edition 2026; self-attested.'
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"The file {path} does not exist; check the path.")
    if path.suffix == ".json":
        raise UsageError(
            f"{path} is not a model. Pass the model that the certificate is about, and if the certificate is not next "
            "to it, pass it with --certificate."
        )
    if evidence is not None and not os.path.lexists(evidence):
        raise UsageError(f"The evidence file {evidence} does not exist; check the path.")
    if (identity is None) != (issuer is None):
        raise UsageError("An identity is only meaningful together with its provider; give both --identity and --issuer."
                         )  # fmt: skip
    folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
    store, stated = _store(trust, folders)
    places = [Path(evidence)] if evidence is not None else [folder / EVIDENCE_NAME for folder in folders]
    with open_model(path) as model:
        files = statement_files([path.parent])
        content, located = _locate(model, None if certificate is None else Path(certificate), bool(files))
        others = [_verify_statement(model, file, folders, store, access) for file in files]
        if content is None and not located:  # only further statements: the first of them represents the whole
            main = others.pop(0)
            note = Finding("certificate", "note", f"There is no efficiency certificate; {main.name} is shown instead.")
            main = replace(main, checks=(note, *main.checks, *stated))
        else:
            main = _verify(model, content, [*located, *stated], places, folders, store, access)
            if main.certificate is not None and not main.certificate.assessment.sealed:
                sentence = f"A statement of {main.name} belongs in {FOLDER}/, not in place of the certificate."
                main = replace(main, checks=(*main.checks, Finding("statement_name", "fail", sentence)))
    if main.certificate is not None:
        further = [read for other in others for read in other.certificates]
        sidecars = [check for run in provided("sidecar_checks") for check in run(main.certificate, folders, further)]
        checks, signatures = check_identity(main.certificate, folders, identity, issuer)
        revoked = check_revoked(main.certificate, folders, revocations, store)
        checks = [*sidecars, *checks, *([] if revoked is None else [revoked])]
        main = replace(main, checks=(*main.checks, *checks), signatures=(*main.signatures, *signatures))
    main, *others = with_contradictions([main, *others])
    return replace(vouched(main, main), others=tuple(vouched(statement, main) for statement in others))


def _verify_statement(
    model: ModelFile, file: Path, folders: Sequence[Path], store: TrustStore, access: Access | None
) -> Verification:
    """Verify a statement next to the model against its own records."""
    name = clean(file.stem)
    try:
        if not NAME.fullmatch(file.stem):
            raise CertificateError(f"{clean(file.name)} is not named after an assessment.")
        if not file.is_file():
            raise CertificateError(f"{file} is not a regular file.")
        content = read_certificate(file)
    except LeanmarkError as error:
        return Verification(model.path, (Finding("statement", "fail", str(error)),), None, name=name)
    found = _verify(model, content, [], [records_path(file)], folders, store, access, may_be_unknown=True)
    assessment = None if found.certificate is None else found.certificate.assessment
    if isinstance(assessment, NotInstalled):
        return replace(found, name=name)
    if assessment is not None and (assessment.sealed or assessment.name != file.stem):
        sentence = f"{file.name} contains a statement of {assessment.name}, which does not belong there."
        found = replace(found, checks=(*found.checks, Finding("statement_name", "fail", sentence)))
    return replace(found, name=name)


def _verify(
    model: ModelFile,
    content: bytes | None,
    checks: list[Finding],
    places: Sequence[Path],
    folders: Sequence[Path],
    store: TrustStore,
    access: Access | None,
    may_be_unknown: bool = False,
) -> Verification:
    """Verify one statement about a model.

    Args:
        model: the model file.
        content: bytes of the signed envelope; None if none could be read.
        checks: checks made before.
        places: paths where its records may be.
        folders: folders of sidecar files.
        store: trust store.
        access: auditor files and data key; None for the public.
        may_be_unknown: whether it may belong to an assessment that is not installed.
    """
    read, readable = (None, []) if content is None else _read(content, may_be_unknown)
    if read is None:
        return Verification(model.path, (*checks, *readable), None)
    signatures: list[Signature] = []
    found = [*checks, *readable]
    of_others = check_countersignatures(read, folders if read.assessment.sealed else [], store)
    for some_checks, some_signatures in (check_maker(read, store), of_others):
        found += some_checks
        signatures += some_signatures
    of_files, derived, audited = _check_files(model, read, places, folders, store, access)
    found += of_files
    read = replace(read, derived=derived, audited=audited) if derived or audited else read
    return Verification(model.path, tuple(found), read, tuple(signatures), read.assessment.name)


def _check_files(
    model: ModelFile,
    read: Certificate,
    places: Sequence[Path],
    folders: Sequence[Path],
    store: TrustStore,
    access: Access | None,
) -> tuple[list[Finding], Mapping[str, Any], Mapping[str, Any]]:
    """Run all checks of files; also return fields reworded by derivation, and fields derived from rows."""
    found = list(check_model(model, read))
    intact = all(check.outcome != "fail" for check in found if check.name == "content_digest")
    edition, known = load_edition(read)
    source = find_evidence(places)
    records, of_records = read_records(read, source)
    derivation, derived = check_derivation(read, records, edition, source)
    found += [known, check_created(read), check_names(read), *of_records, *derivation]
    rows = check_rows(read, records, edition, access)
    found += [] if rows is None else [rows.check]
    around = Surroundings(
        read.predicate, read.subject_name, read.subject_digest, model if intact else None, records, folders,
        store.meters, store.trusts,
    )  # fmt: skip
    try:
        found += read.assessment.checks(around)
    except NOT_DERIVABLE as error:
        found.append(Finding("own_checks", "fail", f"The checks of {read.assessment.name} ended in an error: {error}"))
    found += [check_lineage(read, beside(LINEAGE_NAME, folders)), check_companions(read, folders)]
    found += check_signer(read, folders)
    displayed = NOTHING if isinstance(read.assessment, NotInstalled) else derived
    return found, displayed, {} if rows is None else rows.predicate


def require_derived(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    *,
    ignoring: Collection[str] = (),
) -> tuple[Certificate, Verification]:
    """Verify a certified file whose figures will be shown; nothing is shown that does not follow from evidence.

    A claim that another statement refutes is shown with the contradiction.

    Args:
        path: the certified file.
        certificate: as in :func:`verify`.
        evidence: likewise.
        trust: likewise.
        ignoring: names of checks that may fail.

    Raises:
        UsageError: a named file does not exist.
        CertificateError: there is no certificate, or it is not valid.
        NotDerivedError: the certificate is valid, but there is no evidence that it follows from.
    """
    verification = verify(path, certificate, evidence, trust)
    found = verification.certificate
    failed = [check for check in verification.failed if check.name not in ignoring and not is_refutation(check)]
    if failed or found is None:
        message = " ".join(check.sentence for check in failed)
        raise CertificateError(f"The certificate of {path} is not valid, so nothing is shown: {message}")
    if not verification.derived:
        raise NotDerivedError(
            f"{path}: {verification.not_derived} Put the evidence next to the model, or pass it with --evidence."
        )
    return found, verification


def _store(trust: Iterable[str | Path | PublicKey], folders: Iterable[Path]) -> tuple[TrustStore, list[Finding]]:
    """Return the trust, including statements by keys in a file next to the model."""
    statements, checks = [], []
    for path in dict.fromkeys(folder / KEY_STATEMENTS_NAME for folder in folders):
        if path.is_file():
            try:
                statements += read_key_statements(path)
            except LeanmarkError as error:
                checks.append(Finding("key_statements", "fail", str(error)))
    return trusted(trust, statements), checks


def _locate(model: ModelFile, named: Path | None, stated: bool) -> tuple[bytes | None, list[Finding]]:
    """Find the certificate's bytes, in the seal if there is one, and check that seal and sidecar file agree.

    If there is neither, but there are other statements next to the model (``stated``), nothing is found or reported.
    """
    checks = []
    path, sealed = model.path, None
    try:
        sealed = model.seal()
    except LeanmarkError as error:
        checks.append(Finding("seal", "fail", str(error)))
    sidecar_path = named or path.parent / CERTIFICATE_NAME
    sidecar = read_certificate(sidecar_path) if named or sidecar_path.is_file() else None
    if sealed is None and sidecar is None:
        if not checks and not stated:
            raise CertificateError(f"No certificate was found in {path} or next to it; pass one with --certificate.")
        return None, checks
    if sealed is not None and sidecar is not None:
        same = sealed == sidecar
        sentence = f"{sidecar_path} {'is' if same else 'differs from'} the certificate in the file."
        checks.append(Finding("sidecar_identical", "pass" if same else "fail", sentence))
    elif sealed is not None:
        checks.append(Finding("sidecar_identical", "skipped", f"No {CERTIFICATE_NAME} was found next to the file."))
    elif not model.carries_seal:
        checks.append(
            Finding("sidecar_identical", "skipped", f"A {path.suffix} file cannot be sealed; {sidecar_path} is used.")
        )
    elif not checks:
        checks.append(Finding("sidecar_identical", "note", f"The file is not sealed; {sidecar_path} is used."))
    return (sidecar if sealed is None else sealed), checks


def _read(content: bytes, may_be_unknown: bool) -> tuple[Certificate | None, list[Finding]]:
    """Parse envelope and schema; no certificate if it cannot be read."""
    try:
        envelope = parse_envelope(content)
    except CertificateError as error:
        return None, [Finding("envelope_canonical", "fail", str(error))]
    checks = [Finding("envelope_canonical", "pass", "The envelope is in canonical form.")]
    try:
        certificate = Certificate(content, may_be_unknown)
        version = statement_version(json.loads(envelope.payload), may_be_unknown)
    except CertificateError as error:
        return None, [*checks, Finding("schema", "fail", str(error))]
    return certificate, [*checks, Finding("schema", "pass", f"The statement fits {version.schema}.")]
