"""Records about private data in two files: a public one and one for auditors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from certify.core.errors import CertificateError
from certify.core.files import write_bytes
from certify.core.private_data import DataKey

R = TypeVar("R")
Withhold = Callable[[R, DataKey], tuple[R, bytes]]
DIGEST = re.compile("[0-9a-f]{64}")


def require_binding(auditor: Mapping[str, Any] | None, place: str) -> None:
    """Refuse a header that names an auditor file but does not bind it.

    Raises:
        CertificateError: the binding is not exactly the file's digest and the key id.
    """
    if auditor is None:
        return
    digests = (auditor.get("sha256"), auditor.get("key"))
    if len(auditor) != len(digests) or not all(isinstance(each, str) and DIGEST.fullmatch(each) for each in digests):
        raise CertificateError(f"{place}: the header does not bind its auditor file by sha256 and key alone.")


def join(public: R, content: bytes, key: DataKey, parse: Callable[[bytes, str], R], withhold: Withhold[R]) -> R:
    """Return the records in an auditor file, after checking that the public ones follow from it.

    Args:
        public: public records, with a header that binds the file.
        content: content of the auditor file.
        key: key of the data holder.
        parse: parser of a record file.
        withhold: function from all records to the public records and the auditor file.

    Raises:
        CertificateError: the file is malformed, or the public records do not follow from it.
    """
    whole: Any = parse(content, "the auditor file")
    left: Any = public
    # Withholding depends on rows and key alone, so repeating it must reproduce the public records.
    if withhold(whole, key)[0] != public:
        raise CertificateError("The public records do not follow from the auditor file.")
    joined: R = replace(whole, header=replace(whole.header, auditor=left.header.auditor))
    return joined


def write_both(
    records: R, public: Path, auditor: Path, key: DataKey, dump: Callable[[R], bytes], withhold: Withhold[R]
) -> None:
    """Write the public file and the auditor file.

    Args:
        records: all records.
        public: path such as ``privacy.jsonl``, for ``leanmark state --records``.
        auditor: path such as ``auditor/privacy.jsonl``, which must not be published.
        key: key of the data holder.
        dump: serialiser of a record file.
        withhold: function from all records to the public records and the auditor file.
    """
    left, content = withhold(records, key)
    # The auditor file is written first: after a crash, no public file may name one that does not exist.
    write_bytes(auditor, content)
    write_bytes(public, dump(left))
