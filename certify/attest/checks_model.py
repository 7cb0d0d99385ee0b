"""Is the file the one that was certified, and do the figures that it states itself agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import rfc8785

from certify.attest.certificate import Certificate
from certify.core.errors import LeanmarkError
from certify.core.finding import Finding
from certify.data.preprocess import Preprocess
from certify.model_file.identity import Certified, Identity
from certify.model_file.model_file import ModelFile

if TYPE_CHECKING:
    from certify.model_file.onnx_graph.counts import Counts

UNREADABLE = (LeanmarkError, OSError, LookupError, TypeError, ValueError, AttributeError)
"""What reading somebody's model file may end in; JSON in a program may have any shape."""


def check_model(model: ModelFile, certificate: Certificate) -> Iterator[Finding]:
    """Digests, preprocessing contract, and counts of the model's file."""
    stated = Certified.of(
        certificate.subject_digest, certificate.predicate["model"]["metadata"], _contract(certificate)
    )
    try:
        found, contracts = model.identify(stated), model.contracts()
    except (LeanmarkError, OSError, UnicodeDecodeError) as error:
        yield Finding("content_digest", "fail", f"The model can't be digested: {error}")
        return
    yield _file_check(found)
    yield _content_check(found)
    yield _preprocess_check(contracts, certificate)
    if found.same_content or found.stripped:
        yield _facts_check(model, certificate, found.same_file)


def _content_check(found: Identity) -> Finding:
    name = "content_digest"
    if found.stripped:
        return Finding(name, "note", "Its metadata was stripped; all else is what was certified.")
    if found.same_content and not found.same_metadata:
        return Finding(name, "fail", "The certificate states another metadata than the certified model has.")
    if found.same_content:
        return Finding(name, "pass", "The model says what was certified.")
    if found.same_file and found.beside:
        names = ", ".join(found.beside)
        return Finding(name, "fail", f"The weights beside the file ({names}) are not those that were certified.")
    return Finding(name, "fail", "The model is not the one that was certified: it was altered, or is another.")


def _file_check(found: Identity) -> Finding:
    says_the_same = found.same_content or found.stripped
    if says_the_same and not found.clean:
        return Finding("file_digest", "fail", "Bytes were altered where they do not change what the model says.")
    if found.same_file:
        return Finding("file_digest", "pass", "The file's bytes are those that were measured.")
    if says_the_same:
        return Finding("file_digest", "note", "Re-serialised: other bytes than were measured, but the same model.")
    return Finding("file_digest", "fail", "The file's bytes are not those that were measured.")


def _contract(certificate: Certificate) -> bytes:
    return rfc8785.dumps(certificate.predicate["preprocess"])


def _preprocess_check(contracts: list[bytes], certificate: Certificate) -> Finding:
    name = "preprocess_matches"
    if not contracts:
        return Finding(name, "note", "The file carries no preprocessing contract; the certificate's holds.")
    if contracts == [_contract(certificate)]:
        return Finding(name, "pass", "The preprocessing contract in the file is the certified one.")
    return Finding(name, "fail", "The preprocessing contract in the file is not the certified one.")


def _facts_check(model: ModelFile, certificate: Certificate, same_file: bool) -> Finding:
    """Count multiply-adds, parameters and bytes again from the file."""
    try:
        contract = Preprocess.from_json(certificate.predicate["preprocess"])
        size = model.size_bytes() if same_file else None
        counts = model.counts(contract)
    except UNREADABLE as error:
        return Finding("subject_facts", "fail", f"The model can't be counted: {error}")
    return _compare_counts(counts, size, certificate)


def _compare_counts(counts: Counts, size: int | None, certificate: Certificate) -> Finding:
    """Counts against what was signed; the size is None for another serialisation, which has another."""
    found = {"macs": counts.macs, "bytes_moved": counts.bytes_moved, "parameters": counts.parameters}
    if size is not None:
        found["bytes"] = size
    signed = certificate.predicate["profile"]["estimates"]
    stated = {name: signed.get(f"{name}_candidate", {}).get("value") for name in found}
    wrong = [
        f"{name} {count_again}, certified {stated[name]}"
        for name, count_again in found.items()
        if stated[name] not in (None, count_again)
    ]
    if wrong:
        return Finding("subject_facts", "fail", f"Counted again from the file: {'; '.join(wrong)}.")
    known = [name for name in found if stated[name] is not None]
    if not known:
        return Finding("subject_facts", "skipped", "The certificate states no count.")
    return Finding("subject_facts", "pass", f"Counted again from the file, and equal: {', '.join(known)}.")
