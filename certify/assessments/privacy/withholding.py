"""Privacy records in two files: what the public may see, and what an auditor gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certify.assessments.privacy.record_file import dump_records, parse_records
from certify.assessments.privacy.records import DpSgd, Records
from certify.core.errors import CertificateError
from certify.core.files import write_bytes
from certify.core.private_data import AuditorBinding, DataKey


def withhold(records: Records, key: DataKey) -> tuple[Records, bytes]:
    """Split records into the public ones and the auditor file.

    Batch sizes and identifiers are withheld. Under ``add-remove`` so are N, q and the expected batch, since the number
    of units is what the claim says nobody learns; under ``replace-one`` all neighbours have the same number.

    Args:
        records: all of them, with identifiers under the key.
        key: of the data holder.

    Returns:
        The public records, which bind the auditor file, and the bytes of that file.
    """
    content = dump_records(replace(records, header=replace(records.header, auditor=None)))
    header = replace(records.header, auditor=AuditorBinding.of(content, key).to_json())
    public = replace(records, header=header, batches=(), members=())
    if header.adjacency == "add-remove":
        hidden = replace(header, units=None)
        public = replace(public, header=hidden, sgd=tuple(_without_rate(one) for one in records.sgd))
    return public, content


def _without_rate(one: DpSgd) -> DpSgd:
    return replace(one, sampling=replace(one.sampling, rate=None, expected_batch=None))


def join(public: Records, content: bytes, key: DataKey) -> Records:
    """The records of an auditor file, once the public ones follow from them.

    Raises:
        CertificateError: the file is malformed, or the public records are not what is left of it.
    """
    whole = parse_records(content, "the auditor file")
    if withhold(whole, key)[0] != public:
        raise CertificateError("The public records do not follow from the auditor file.")
    return replace(whole, header=replace(whole.header, auditor=public.header.auditor))


def write(records: Records, public: Path, auditor: Path, key: DataKey) -> None:
    """Write both files.

    Args:
        records: all of them.
        public: such as ``privacy.jsonl``, for ``leanmark state --assessment privacy --records``.
        auditor: such as ``auditor/privacy.jsonl``, which is not published.
        key: of the data holder.
    """
    left, content = withhold(records, key)
    write_bytes(auditor, content)
    write_bytes(public, dump_records(left))
