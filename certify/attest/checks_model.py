"""Check that the file is the one that was certified."""

from __future__ import annotations

from collections.abc import Iterator

import rfc8785

from certify.attest.certificate import Certificate
from certify.core.errors import LeanmarkError
from certify.core.finding import Finding
from certify.model_file.identity import Certified, Identity
from certify.model_file.model_file import ModelFile


def check_model(model: ModelFile, certificate: Certificate) -> Iterator[Finding]:
    """Check the digests and the preprocessing contract of the model file."""
    try:
        contracts = model.contracts()
        # A statement without a contract, such as one about declarations, is compared with the file's own.
        contract = _contract(certificate) or next(iter(contracts), b"")
        stated = Certified.of(certificate.subject_digest, certificate.predicate["model"]["metadata"], contract)
        found = model.identify(stated)
    except (LeanmarkError, OSError, UnicodeDecodeError) as error:
        yield Finding("content_digest", "fail", f"The model's content digest cannot be computed: {error}")
        return
    yield _file_check(found)
    yield _content_check(found)
    if (stated_contract := _contract(certificate)) is not None:
        yield _preprocess_check(contracts, stated_contract)


def _content_check(found: Identity) -> Finding:
    name = "content_digest"
    if found.stripped:
        return Finding(name, "note", "The metadata was stripped; everything else is as certified.")
    # Metadata are signed too: missing metadata are harmless, but altered metadata may mislead.
    if found.same_content and not found.same_metadata:
        return Finding(name, "fail", "The certificate states different metadata from that of the certified model.")
    if found.same_content:
        return Finding(name, "pass", "The content of the model is as certified.")
    if found.same_file and found.beside:
        names = ", ".join(found.beside)
        return Finding(name, "fail", f"The external weights ({names}) are not the certified ones.")
    return Finding(name, "fail", "The model is not the certified one: it was altered or replaced.")


def _file_check(found: Identity) -> Finding:
    # Altered bytes could carry something besides the model.
    says_the_same = found.same_content or found.stripped
    if says_the_same and not found.clean:
        return Finding("file_digest", "fail", "Bytes that do not affect the model's content were altered.")
    if found.same_file:
        return Finding("file_digest", "pass", "The file's bytes are those that were measured.")
    if says_the_same:
        return Finding(
            "file_digest", "note", "Re-serialised: the bytes differ from those measured, but the model is the same."
        )
    return Finding("file_digest", "fail", "The file's bytes are not those that were measured.")


def _contract(certificate: Certificate) -> bytes | None:
    """Return the preprocessing contract bound by the statement; None if it binds none."""
    contract = certificate.predicate.get("preprocess")
    return None if contract is None else rfc8785.dumps(contract)


def _preprocess_check(contracts: list[bytes], stated: bytes) -> Finding:
    name = "preprocess_matches"
    # Tools that re-serialise a model may drop the contract.
    if not contracts:
        return Finding(name, "note", "The file has no preprocessing contract; the certificate's applies.")
    if contracts == [stated]:
        return Finding(name, "pass", "The preprocessing contract in the file is the certified one.")
    return Finding(name, "fail", "The preprocessing contract in the file is not the certified one.")
