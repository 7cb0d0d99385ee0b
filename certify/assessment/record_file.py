"""Record files of an assessment: one canonical JSON object per line, from an untrusted source.

The first line is the header; every line names its ``kind``, and kinds appear in a fixed order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar

import rfc8785
from annotated_types import Ge, Len

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError, UsageError
from certify.core.statistics.proportions import PairedTable
from certify.core.validation import validated

T = TypeVar("T")
HEADER = "header"
MAX_LINES = 1_000_000
MAX_LINE_BYTES = 64 << 20

Digest = Annotated[str, Len(64, 64)]
Count = Annotated[int, Ge(0)]
Text = Annotated[str, Len(1, 200)]


@dataclass(frozen=True)
class ModelDigests:
    """Digests of a model file: of its bytes without the seal, and of its content."""

    sha256: Digest
    leanmarkContent: Digest  # name used in statements


@dataclass(frozen=True)
class RecordHeader:
    """Fields of every header.

    Attributes:
        created: UTC time at which the recording began.
        leanmark: version that recorded.
        model: digests of the model.
    """

    created: str
    leanmark: str
    model: ModelDigests


@dataclass(frozen=True)
class Counts:
    """Serialised form of a paired table."""

    both: Count
    only_candidate: Count
    only_baseline: Count
    neither: Count

    @property
    def table(self) -> PairedTable:
        """Return the table used by statistics."""
        return PairedTable(self.both, self.only_candidate, self.only_baseline, self.neither)


def dump_lines(version: int, header: Any, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Serialise a record file; equal records give equal bytes.

    Args:
        version: version of the format.
        header: dataclass with the header's fields.
        rows: kind and fields of each record, in the order of kinds.

    Example:
        >>> header = ModelDigests("0" * 64, "1" * 64)
        >>> dump_lines(1, header, [("count", {"n": 2})]).splitlines()[1]
        b'{"kind":"count","n":2}'
    """
    lines = [{"kind": HEADER, "version": version, **asdict(header)}, *({"kind": kind, **row} for kind, row in rows)]
    return b"".join(rfc8785.dumps(line) + b"\n" for line in lines)


def read_lines(
    content: bytes, name: str, kinds: Sequence[str], *, most: int = MAX_LINES
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Read a record file line by line, yielding place, kind and fields of each record.

    Args:
        content: content of the file.
        name: file name, for errors.
        kinds: kinds of the records after the header, in order.
        most: maximum number of lines.

    Raises:
        CertificateError: the file is truncated or too long, a line is not canonical JSON of a known kind, or lines are
            in another order.
    """
    lines = content.split(b"\n")
    # The last element is what follows the final newline, and must be empty.
    if lines.pop() or not lines:
        raise CertificateError(f"{name} does not end with a newline, so it is truncated; get the complete file.")
    if len(lines) > most:
        raise CertificateError(f"{name} has more than {most} lines, the maximum.")
    order = (HEADER, *kinds)
    last = HEADER
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        # Checked before parsing, which needs many times the memory of the raw bytes.
        if len(line) > MAX_LINE_BYTES:
            raise CertificateError(f"{place}: the line is longer than {MAX_LINE_BYTES} bytes, the maximum.")
        values = parse_canonical(line, place)
        kind = values.pop("kind", None) if isinstance(values, dict) else None
        # There must be exactly one header, on the first line.
        if not isinstance(kind, str) or kind not in order or (kind == HEADER) != (number == 1):
            raise CertificateError(f"{place}: a record of kind {json.dumps(kind)[:60]} is not allowed here.")
        if order.index(kind) < order.index(last):
            raise CertificateError(f"{place}: a {kind} must not follow a {last}; the order is {', '.join(order)}.")
        last = kind
        yield place, kind, values


def read_record(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """Build a record from its fields, all of which must be present.

    Raises:
        CertificateError: a field is missing, unknown or invalid.
    """
    try:
        record = validated(kind, dict(values), kind.__name__.lower(), lambda *_: place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    # Defaults are for code only: a file must state every field, or equal records could have two forms.
    if missing := vars(record).keys() - values.keys():
        raise CertificateError(f"{place}: the field {min(missing)!r} is missing.")
    return record


def read_header(kind: type[T], values: Mapping[str, Any], version: int, place: str) -> T:
    """Build the header from its fields.

    Raises:
        CertificateError: the format has another version, or a field is missing, unknown or invalid.
    """
    found = {name: value for name, value in values.items() if name != "version"}
    if values.get("version") != version:
        raise CertificateError(
            f"{place}: version {json.dumps(values.get('version'))[:60]} is not supported by this version of leanmark "
            f"(expected {version})."
        )
    return read_record(kind, found, place)
