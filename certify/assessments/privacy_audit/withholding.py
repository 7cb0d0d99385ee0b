"""Records of an audit of private data in two files: public costs and commitments, and findings for the auditor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certify.assessment import auditor_file
from certify.assessments.privacy_audit.records import PUBLIC, Records, dump, parse
from certify.core.private_data import AuditorBinding, DataKey


def withhold(records: Records, key: DataKey) -> tuple[Records, bytes]:
    """Split records into public records and the auditor file.

    Args:
        records: all records, with identifiers under the key.
        key: data key of the holder.

    Returns:
        The public records, which bind the auditor file, and the bytes of that file.
    """
    content = dump(replace(records, header=replace(records.header, auditor=None)))
    header = replace(records.header, auditor=AuditorBinding.of(content, key).to_json())
    return Records(header, tuple(row for row in records.rows if type(row) in PUBLIC)), content


def join(public: Records, content: bytes, key: DataKey) -> Records:
    """Return the records of an auditor file; see :func:`certify.assessment.auditor_file.join`."""
    return auditor_file.join(public, content, key, parse, withhold)


def write(records: Records, public: Path, auditor: Path, key: DataKey) -> None:
    """Write both files; see :func:`certify.assessment.auditor_file.write_both`."""
    auditor_file.write_both(records, public, auditor, key, dump, withhold)
