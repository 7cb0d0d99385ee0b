"""Privacy records in two files: a public one and one for auditors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certify.assessment import auditor_file
from certify.assessments.privacy.record_file import dump_records, parse_records
from certify.assessments.privacy.records import DpSgd, Records
from certify.core.private_data import AuditorBinding, DataKey


def withhold(records: Records, key: DataKey) -> tuple[Records, bytes]:
    """Split records into the public ones and the auditor file.

    Batch sizes and identifiers are withheld. Under ``add-remove`` so are N, q and the expected batch, because the claim
    hides the number of units, and the noise of a training that samples: q would follow from epsilon, the steps and the
    noise. Under ``replace-one`` all neighbours have the same number.

    Args:
        records: all records, with identifiers under the key.
        key: key of the data holder.

    Returns:
        The public records, which bind the auditor file, and the bytes of that file.
    """
    # The auditor file cannot contain its own binding.
    content = dump_records(replace(records, header=replace(records.header, auditor=None)))
    header = replace(records.header, auditor=AuditorBinding.of(content, key).to_json())
    public = replace(records, header=header, batches=(), members=())
    # Under replace-one all data sets have the same N, so nothing about it needs to be hidden.
    if header.adjacency == "add-remove":
        hidden = replace(header, units=None)
        public = replace(public, header=hidden, sgd=tuple(_without_rate(mechanism) for mechanism in records.sgd))
    return public, content


def _without_rate(mechanism: DpSgd) -> DpSgd:
    # The noise of sampled steps is withheld too, because it and the public epsilon would give away the rate.
    noise = None if mechanism.sampling.amplifies else mechanism.noise_multiplier
    return replace(
        mechanism, noise_multiplier=noise, sampling=replace(mechanism.sampling, rate=None, expected_batch=None)
    )


def join(public: Records, content: bytes, key: DataKey) -> Records:
    """Return the records in an auditor file; see :func:`certify.assessment.auditor_file.join`."""
    return auditor_file.join(public, content, key, parse_records, withhold)


def write(records: Records, public: Path, auditor: Path, key: DataKey) -> None:
    """Write both files; see :func:`certify.assessment.auditor_file.write_both`."""
    auditor_file.write_both(records, public, auditor, key, dump_records, withhold)
