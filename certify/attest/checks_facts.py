"""Do the recorded facts of both models follow from their files: sizes of the baseline, zero channels, quantization.

No runtime is needed. What only a runtime tells (which quantized operators it really fuses) stays the maker's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.attest.certificate import Certificate
from certify.attest.checks_model import UNREADABLE
from certify.attest.subject import baseline_name
from certify.core.errors import ModelError
from certify.core.evidence import Evidence
from certify.core.finding import Finding
from certify.data.contract_slot import contract_in
from certify.model_file.model_file import ModelFile, open_model
from certify.model_file.onnx_graph.counts import Counts
from certify.model_file.onnx_graph.zero_channels import ZeroChannels


@dataclass(frozen=True)
class FileFacts:
    """What the file of a model says by itself.

    Attributes:
        counts: multiply-adds, parameters, bytes moved; None where the file carries no preprocessing contract.
        bytes: its size, weights beside it included.
        zeros: channels of zeros.
        intended: operators that are meant to run on integers.
    """

    counts: Counts | None
    bytes: int
    zeros: ZeroChannels
    intended: int


def read_facts(model: ModelFile) -> FileFacts:
    """Count everything in a model's file.

    Raises:
        LeanmarkError: the file is damaged, or can't be counted.
    """
    contract = contract_in(model)
    counts = None if contract is None else model.counts(contract)
    return FileFacts(counts, model.size_bytes(), model.zero_channels(), model.quantization(None).intended)


def check_facts(
    model: ModelFile | None, certificate: Certificate, evidence: Evidence | None, folders: Sequence[Path]
) -> Iterator[Finding]:
    """Count the baseline again, and what was observed of both models.

    Args:
        model: the certified file; None where it is not what was certified, and so is not looked at.
        certificate: whose figures are compared.
        evidence: holds what was observed; None where it is missing.
        folders: where the baseline may lie.
    """
    name = baseline_name(Path(certificate.statement["subject"][0]["name"]))
    beside = next((folder / name for folder in folders if (folder / name).is_file()), None)
    found: dict[str, FileFacts] = {}
    try:
        if beside is not None:
            with open_model(beside) as baseline:
                if baseline.file_digest() == certificate.predicate["baseline"]["file_digest"]:
                    found["baseline"] = read_facts(baseline)
        if model is not None:
            found["candidate"] = read_facts(model)
    except UNREADABLE as error:
        yield Finding("baseline_facts", "fail", f"The models can't be counted: {error}")
        return
    yield _baseline_check(found.get("baseline"), certificate, name)
    if evidence is None:
        yield Finding("observed_facts", "skipped", "There is no evidence to compare with the files.")
        return
    yield _observed_check(found, evidence)


def _baseline_check(facts: FileFacts | None, certificate: Certificate, name: str) -> Finding:
    if facts is None:
        return Finding("baseline_facts", "skipped", f"{name} does not lie beside the file, or is another.")
    again: dict[str, float | None] = {"bytes": facts.bytes}
    if facts.counts is not None:
        again |= {"macs": facts.counts.macs, "parameters": facts.counts.parameters}
        again["bytes_moved"] = facts.counts.bytes_moved
    signed = certificate.predicate["profile"]["estimates"]
    stated = {key: signed.get(f"{key}_baseline", {}).get("value") for key in again}
    wrong = [
        f"{key} {value}, certified {stated[key]}" for key, value in again.items() if stated[key] not in (None, value)
    ]
    if wrong:
        return Finding("baseline_facts", "fail", f"Counted again from {name}: {'; '.join(wrong)}.")
    known = [key for key in again if stated[key] is not None]
    return Finding("baseline_facts", "pass", f"Counted again from {name}, and equal: {', '.join(known)}.")


def _observed_check(found: Mapping[str, FileFacts], evidence: Evidence) -> Finding:
    """Channels of zeros and intended quantization, as they were recorded for the guards."""
    wrong = [
        f"{what} of the {arm} {again}, recorded {recorded}"
        for arm, facts in found.items()
        for what, again, recorded in _observed(facts, arm, evidence)
        if recorded is not None and recorded != again
    ]
    if wrong:
        return Finding("observed_facts", "fail", f"Looked at again in the files: {'; '.join(wrong)}.")
    return Finding(
        "observed_facts", "pass", f"Zero channels and quantized operators are as recorded ({', '.join(found)})."
    )


def _observed(facts: FileFacts, arm: str, evidence: Evidence) -> Iterator[tuple[str, float, Any]]:
    zeros, quantized = (_of_arm(evidence.observation(name), arm) for name in ("zero_channels", "quantization"))
    yield "channels", facts.zeros.channels, zeros.get("channels")
    yield "channels of zeros", facts.zeros.zero, zeros.get("zero")
    yield "share of zero channels", facts.zeros.share, zeros.get("share")
    yield "quantized operators", facts.intended, quantized.get("intended")


def _of_arm(observed: Mapping[str, Any] | None, arm: str) -> Mapping[str, Any]:
    values = {} if observed is None else observed.get(arm, {})
    if not isinstance(values, Mapping):
        raise ModelError(f"What was observed of the {arm} should be a mapping, found {values!r}.")
    return values
