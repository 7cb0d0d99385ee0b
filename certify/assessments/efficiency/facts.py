"""Checks of the recorded facts against both model files, and of the scored samples against the stated test set.

No runtime is needed. What only a runtime can show (such as which quantized operators it really fuses) rests on the
maker's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Surroundings
from certify.assessments.efficiency.contracts import contract_checks
from certify.core.errors import LeanmarkError
from certify.core.evidence import Evidence
from certify.core.files import sha256_file
from certify.core.finding import Finding
from certify.core.observation import mapping
from certify.core.run_observations import MaskedChannels, QuantizedOperators
from certify.data.contract_slot import contract_in
from certify.data.dataset import samples_digest
from certify.data.preprocess import Preprocess
from certify.data.public_sets import OWN, public_name
from certify.model_file.model_file import ModelFile, kind_of, open_model
from certify.model_file.onnx_graph.counts import Counts
from certify.model_file.onnx_graph.published_weights import GIVEN
from certify.model_file.onnx_graph.zero_channels import ZeroChannels

UNREADABLE = (LeanmarkError, OSError, LookupError, TypeError, ValueError, AttributeError)
"""Possible errors while reading an untrusted model file; JSON in a program may have any shape."""


@dataclass(frozen=True)
class FileFacts:
    """Facts that follow from a model file alone.

    Attributes:
        counts: multiply-adds, parameters, bytes moved; None if the file has no preprocessing contract.
        bytes: its size, including external weights.
        zeros: all-zero channels.
        intended: operators meant to run on integers.
        published: published network whose weights it has.
    """

    counts: Counts | None
    bytes: int
    zeros: ZeroChannels
    intended: int
    published: str | None


def read_facts(model: ModelFile) -> FileFacts:
    """Count everything in a model file.

    Raises:
        LeanmarkError: the file is damaged or cannot be counted.
    """
    contract = contract_in(model)
    counts = None if contract is None else model.counts(contract)
    intended = model.quantization(None).intended
    return FileFacts(counts, model.size_bytes(), model.zero_channels(), intended, model.published())


def baseline_name(path: str | Path) -> str:
    """Return the name of the baseline of a file of this kind, in the same folder."""
    return f"baseline{kind_of(Path(path)).suffix}"


def check_facts(around: Surroundings) -> Iterator[Finding]:
    """Check everything about an efficiency certificate that follows from its records and both files."""
    yield from _meter_code(around)
    name = baseline_name(around.subject)
    beside = next((folder / name for folder in around.folders if (folder / name).is_file()), None)
    if around.model is not None:
        yield _subject_check(around.model, around)
    yield from _records_checks(around)
    found: dict[str, FileFacts] = {}
    try:
        if beside is not None:
            with open_model(beside) as baseline:
                measured = baseline.file_digest() == around.predicate["baseline"]["file_digest"]
                if measured:
                    found["baseline"] = read_facts(baseline)
                contracts = list(contract_checks(baseline if measured else None, around.predicate, around.records))
        else:
            contracts = list(contract_checks(None, around.predicate, around.records))
        if around.model is not None:
            found["candidate"] = read_facts(around.model)
    except UNREADABLE as error:
        yield Finding("baseline_facts", "fail", f"The models cannot be counted: {error}")
        return
    yield from contracts
    yield _baseline_check(found.get("baseline"), around, name, beside)
    yield _origin_check(found.get("baseline"), around.predicate["baseline"], name)
    if around.records is None:
        yield Finding("observed_facts", "skipped", "The evidence to compare with the files is missing.")
        return
    yield _observed_check(found, around.records)


def _meter_code(around: Surroundings) -> Iterator[Finding]:
    """Check whether the reader trusts the code of a plug-in meter; nothing if the meter is built in."""
    meter = around.predicate["meter"]
    if meter is None or meter["code"] is None:
        return
    known = next((name for name, code in around.trusted_code.items() if code == meter["code"]), None)
    if known is not None:
        yield Finding("meter_code", "pass", f"You trust the code of the meter {meter['name']} ({known}).")
        return
    sentence = f"{meter['name']} is a plug-in meter whose code you do not trust (leanmark trust meter)."
    yield Finding("meter_code", "note", f"{sentence} Its joules count as sampled at best.")


def _subject_check(model: ModelFile, around: Surroundings) -> Finding:
    """Count multiply-adds, parameters and bytes again from the file; a re-serialised file may differ in size."""
    name = "subject_facts"
    try:
        counts = model.counts(Preprocess.from_json(around.predicate["preprocess"]))
        again = _counted(counts, model.size_bytes() if model.file_digest() == around.digests["sha256"] else None)
    except UNREADABLE as error:
        return Finding(name, "fail", f"The model cannot be counted: {error}")
    return _compared(name, again, "candidate", "the file", around)


def _baseline_check(facts: FileFacts | None, around: Surroundings, name: str, beside: Path | None) -> Finding:
    if facts is None:
        if beside is not None and sha256_file(beside) == around.predicate["companions"].get(name):
            return Finding("baseline_facts", "fail", f"{name} is the signed file, but not the measured baseline.")
        return Finding("baseline_facts", "skipped", f"{name} was not found next to the file, or is a different file.")
    return _compared("baseline_facts", _counted(facts.counts, facts.bytes), "baseline", name, around)


def _origin_check(facts: FileFacts | None, stated: Mapping[str, Any], name: str) -> Finding:
    """Check that the baseline has the weights of the published network that the certificate names."""
    origin = f"The maker says: {stated['origin']}"
    if facts is None:
        return Finding("baseline_origin", "skipped", f"The weights of {name} were not checked. {origin}")
    if facts.published != stated["published"]:
        found = facts.published or "no published network"
        return Finding("baseline_origin", "fail", f"{name} has the weights of {found}, not the certified ones.")
    whose = (
        f"{GIVEN}, matching no known published network" if facts.published is None else f"those of {facts.published}"
    )
    return Finding("baseline_origin", "pass", f"The weights of {name} are {whose}. {origin}")


def _counted(counts: Counts | None, size: int | None) -> dict[str, float | None]:
    found: dict[str, float | None] = {} if size is None else {"bytes": size}
    if counts is not None:
        found |= {"macs": counts.macs, "bytes_moved": counts.bytes_moved, "parameters": counts.parameters}
    return found


def _compared(name: str, again: Mapping[str, float | None], arm: str, source: str, around: Surroundings) -> Finding:
    """Compare counts with the signed ones."""
    signed = around.predicate["profile"]["estimates"]
    stated = {key: signed.get(f"{key}_{arm}", {}).get("value") for key in again}
    wrong = [
        f"{key} {value}, certified {stated[key]}" for key, value in again.items() if stated[key] not in (None, value)
    ]
    if wrong:
        return Finding(name, "fail", f"Counted again from {source}: {'; '.join(wrong)}.")
    known = [key for key in again if stated[key] is not None]
    if not known:
        return Finding(name, "skipped", "The certificate does not state any count.")
    return Finding(name, "pass", f"Counted again from {source}, with the same results: {', '.join(known)}.")


def _records_checks(around: Surroundings) -> Iterator[Finding]:
    """Check that the records were made under the signed edition and contain the test set that they name."""
    if around.records is None:
        yield Finding("test_set_matches", "skipped", "The evidence with the scored samples is missing.")
        return
    evidence: Evidence = around.records
    stated = measuring_edition(around.predicate)
    if evidence.header.edition != stated:
        sentence = f"The evidence was measured by the plan of edition {evidence.header.edition}, not {stated}."
        yield Finding("measured_by_edition", "fail", sentence)
    yield _test_set_check(evidence)


def measuring_edition(predicate: Mapping[str, Any]) -> str:
    """Return the edition whose plan the measurement followed: its own, or that of the regraded certificate."""
    first = predicate.get("regrade_of")
    return str(predicate["edition"]["name"] if first is None else first["edition"])


def _test_set_check(evidence: Evidence) -> Finding:
    """Check that the scored samples together are the test set that the header names."""
    name, samples, stated = "test_set_matches", evidence.predictions, evidence.header.data
    if not {"test_samples", "test_digest"} <= set(stated):
        return Finding(name, "fail", "The evidence does not say what the test set is.")
    if evidence.withheld:
        return Finding(name, "skipped", "The data are private, and the scored samples are in the auditor file.")
    if len(samples) != stated["test_samples"]:
        return Finding(name, "note", f"{len(samples)} of {stated['test_samples']} test samples were scored.")
    if samples_digest((s.digest for s in samples), (s.label for s in samples)) != stated["test_digest"]:
        return Finding(name, "fail", "The scored samples are not the test set that the certificate names.")
    whose = public_name(stated["test_digest"]) or OWN
    return Finding(name, "pass", f"The scored samples are the test set that the certificate names: {whose}.")


def _observed_check(found: Mapping[str, FileFacts], evidence: Evidence) -> Finding:
    """Check the all-zero channels and intended quantization recorded for the guards."""
    wrong = [
        f"{what} of the {arm} {again}, recorded {recorded}"
        for arm, facts in found.items()
        for what, again, recorded in _observed(facts, arm, evidence)
        if recorded is not None and recorded != again
    ]
    if wrong:
        return Finding("observed_facts", "fail", f"Checked again in the files: {'; '.join(wrong)}.")
    return Finding(
        "observed_facts",
        "pass",
        f"All-zero channels, counted and quantized operators are as recorded ({', '.join(found)}).",
    )


def _observed(facts: FileFacts, arm: str, evidence: Evidence) -> Iterator[tuple[str, float, Any]]:
    zeros, quantized = (
        mapping(evidence.observation(kind.NAME), arm) or {} for kind in (MaskedChannels, QuantizedOperators)
    )
    yield "channels", facts.zeros.channels, zeros.get("channels")
    yield "all-zero channels", facts.zeros.zero, zeros.get("zero")
    yield "share of all-zero channels", facts.zeros.share, zeros.get("share")
    yield "quantized operators", facts.intended, quantized.get("intended")
    if facts.counts is not None:
        model = evidence.header.models[arm]
        yield "share of counted operators", facts.counts.counted_share, model.counted_share
        yield "share of data-dependent work", facts.counts.varying_share, model.varying_share
