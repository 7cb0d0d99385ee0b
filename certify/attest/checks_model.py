"""Is the file the one that was certified, and do the figures that it states itself agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import rfc8785

from certify.attest.issue import Certificate
from certify.attest.subject import subject_digests
from certify.attest.verification import Check
from certify.core.errors import LeanmarkError
from certify.model_file.normal_form import PREPROCESS_KEY
from certify.model_file.onnx_file.content import content_digest, metadata_digest, unsealed_metadata
from certify.model_file.onnx_file.external_data import SMALL_BYTES, external_files, inline_external
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.seal import file_digest
from certify.model_file.onnx_file.weights_file import holds_only_weights, whole_bytes

if TYPE_CHECKING:
    from certify.model_file.onnx_graph.counts import Counts


def check_model(path: Path, certificate: Certificate) -> Iterator[Check]:
    """Digests, preprocessing contract, and counts of the model's file."""
    if not certificate.is_sealed:
        yield from _check_program(path, certificate)
        return
    try:
        same_file = file_digest(path) == certificate.subject_digest["sha256"]
        model = parse_model(path)
        contracts = [entry.value for entry in model.metadata_props if entry.key == PREPROCESS_KEY]
        same_content = content_digest(model, path.parent) == certificate.subject_digest["leanmarkContent"]
        stripped = not same_content and _is_stripped(model, path, certificate)
        clean = holds_only_weights(model, path.parent) if same_file else model_bytes_are_clean(path)
    except (LeanmarkError, OSError, UnicodeDecodeError) as error:
        yield Check("content_digest", "fail", f"The model can't be digested: {error}")
        return
    yield _file_check(same_file, same_content or stripped, clean)
    if stripped:
        yield Check("content_digest", "note", "Its metadata was stripped; all else is what was certified.")
    elif same_content and metadata_digest(model) != certificate.predicate["model"]["metadata"]:
        yield Check("content_digest", "fail", "The certificate states another metadata than the certified model has.")
    elif same_content:
        yield Check("content_digest", "pass", "The model says what was certified.")
    elif same_file and (beside := external_files(model, path.parent)):
        names = ", ".join(file.name for file in beside)
        yield Check(
            "content_digest", "fail", f"The weights beside the file ({names}) are not those that were certified."
        )
    else:
        yield Check(
            "content_digest", "fail", "The model is not the one that was certified: it was altered, or is another."
        )
    yield _preprocess_check(contracts, certificate)
    if same_content or stripped:
        yield _facts_check(path, model, certificate, same_file)


def _file_check(same_file: bool, same_content: bool, clean: bool) -> Check:
    if same_content and not clean:
        return Check("file_digest", "fail", "Bytes were altered where they do not change what the model says.")
    if same_file:
        return Check("file_digest", "pass", "The file's bytes are those that were measured.")
    if same_content:
        return Check("file_digest", "note", "Re-serialised: other bytes than were measured, but the same model.")
    return Check("file_digest", "fail", "The file's bytes are not those that were measured.")


def _check_program(path: Path, certificate: Certificate) -> Iterator[Check]:
    """Digests and counts of a program, which carries neither seal nor contract: any other byte is another program."""
    from certify.model_file.pt2.archive import read_exported
    from certify.model_file.pt2.facts import count_exported

    try:
        found = subject_digests(path)
    except (LeanmarkError, OSError) as error:
        yield Check("content_digest", "fail", f"The program can't be digested: {error}")
        return
    stated = certificate.subject_digest
    if certificate.predicate["model"]["metadata"] is not None:
        yield Check("content_digest", "fail", "The certificate states metadata, which a program has none of.")
        return
    if found != stated:
        name = "file_digest" if found["leanmarkContent"] == stated["leanmarkContent"] else "content_digest"
        yield Check(name, "fail", "The program's bytes are not those that were measured.")
        return
    yield Check("file_digest", "pass", "The program's bytes are those that were measured.")
    yield Check("content_digest", "pass", "The program says what was certified.")
    try:
        counts = count_exported(read_exported(path))
    except (LeanmarkError, LookupError, TypeError, ValueError, AttributeError) as error:  # JSON of any shape
        yield Check("subject_facts", "fail", f"The program can't be counted: {error}")
        return
    yield _compare_counts(counts, path.stat().st_size, certificate)


def model_bytes_are_clean(path: Path) -> bool:
    """Whether the file is exactly what a protobuf library writes for the model in it.

    Protobuf lets one message be written in many ways (padded varints, fields in any order). Tools that save a model
    write the plain one; a file that says the same in another way was tampered with.
    """
    encoded: bytes = parse_model(path).SerializeToString(deterministic=True)
    return encoded == path.read_bytes()


def _is_stripped(model: onnx.ModelProto, path: Path, certificate: Certificate) -> bool:
    """Whether a model is the certified one but for its metadata, of which leanmark's entry or all was taken away."""
    had = certificate.predicate["model"]["metadata"]
    if unsealed_metadata(model):
        restored = onnx.ModelProto(metadata_props=model.metadata_props)
        restored.metadata_props.add(key=PREPROCESS_KEY, value=_contract(certificate))
        if metadata_digest(restored) != had:
            return False
    return content_digest(model, path.parent, metadata=had) == certificate.subject_digest["leanmarkContent"]


def _contract(certificate: Certificate) -> str:
    return rfc8785.dumps(certificate.predicate["preprocess"]).decode()


def _preprocess_check(contracts: list[str], certificate: Certificate) -> Check:
    name = "preprocess_matches"
    if not contracts:
        return Check(name, "note", "The file carries no preprocessing contract; the certificate's holds.")
    if contracts == [_contract(certificate)]:
        return Check(name, "pass", "The preprocessing contract in the file is the certified one.")
    return Check(name, "fail", "The preprocessing contract in the file is not the certified one.")


def _facts_check(path: Path, model: onnx.ModelProto, certificate: Certificate, same_file: bool) -> Check:
    """Count multiply-adds, parameters and bytes again from the file."""
    from certify.data.preprocess import Preprocess
    from certify.model_file.onnx_graph.counts import count
    from certify.model_file.onnx_graph.load import sample_shape

    try:
        contract = Preprocess.from_json(certificate.predicate["preprocess"])
        size = whole_bytes(path, model) if same_file else None
        inline_external(model, path.parent, largest_weight=SMALL_BYTES)
        counts = count(model, sample_shape(contract))
    except LeanmarkError as error:
        return Check("subject_facts", "fail", f"The model can't be counted: {error}")
    return _compare_counts(counts, size, certificate)


def _compare_counts(counts: Counts, size: int | None, certificate: Certificate) -> Check:
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
        return Check("subject_facts", "fail", f"Counted again from the file: {'; '.join(wrong)}.")
    known = [name for name in found if stated[name] is not None]
    if not known:
        return Check("subject_facts", "skipped", "The certificate states no count.")
    return Check("subject_facts", "pass", f"Counted again from the file, and equal: {', '.join(known)}.")
