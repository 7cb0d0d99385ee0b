"""Records about private data in two files: what is public, and what an auditor gets."""

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
    """Refuse a header that names an auditor file and does not bind it.

    Raises:
        CertificateError: it holds something else than the file's digest and size and the id of the key.
    """
    if auditor is None:
        return
    fields = {"sha256", "bytes", "key"}
    digests = (auditor.get("sha256"), auditor.get("key"))
    if (
        set(auditor) != fields
        or not isinstance(auditor["bytes"], int)
        or not all(isinstance(one, str) and DIGEST.fullmatch(one) for one in digests)
    ):
        raise CertificateError(f"{place}: the header does not bind its auditor file by sha256, bytes and key.")


def join(public: R, content: bytes, key: DataKey, parse: Callable[[bytes, str], R], withhold: Withhold[R]) -> R:
    """The records of an auditor file, once the public ones follow from them.

    Args:
        public: with a header that binds the file.
        content: of the auditor file.
        key: of the data holder.
        parse: reads a record file.
        withhold: makes the public records, and the file, of all of them.

    Raises:
        CertificateError: the file is malformed, or the public records are not what is left of it.
    """
    whole: Any = parse(content, "the auditor file")
    left: Any = public
    if withhold(whole, key)[0] != public:
        raise CertificateError("The public records do not follow from the auditor file.")
    joined: R = replace(whole, header=replace(whole.header, auditor=left.header.auditor))
    return joined


def write_both(
    records: R, public: Path, auditor: Path, key: DataKey, dump: Callable[[R], bytes], withhold: Withhold[R]
) -> None:
    """Write both files.

    Args:
        records: all of them.
        public: such as ``privacy.jsonl``, for ``leanmark state --records``.
        auditor: such as ``auditor/privacy.jsonl``, which is not published.
        key: of the data holder.
        dump: writes a record file.
        withhold: makes the public records, and the auditor file, of all of them.
    """
    left, content = withhold(records, key)
    write_bytes(auditor, content)
    write_bytes(public, dump(left))
