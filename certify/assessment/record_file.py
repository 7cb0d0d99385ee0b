"""Record files of an assessment: one canonical JSON object a line, from somebody whom nobody need believe.

The first line is the header; every line names its ``kind``, and kinds follow one another in a fixed order.
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
    """A model file: digest of its bytes without the seal, and of what it says."""

    sha256: Digest
    leanmarkContent: Digest  # the name that statements have


@dataclass(frozen=True)
class Counts:
    """A paired table as it is written."""

    both: Count
    only_candidate: Count
    only_baseline: Count
    neither: Count

    @property
    def table(self) -> PairedTable:
        """As statistics take it."""
        return PairedTable(self.both, self.only_candidate, self.only_baseline, self.neither)


def dump_lines(version: int, header: Any, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Write a record file; equal records give equal bytes.

    Args:
        version: of the format.
        header: a dataclass.
        rows: kind and fields of each record, in the order of their kinds.

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
    """Read a record file line by line: where a record stands, its kind, and its fields.

    Args:
        content: the whole file.
        name: of the file, for errors.
        kinds: of the records behind the header, in their order.
        most: lines that a file may have.

    Raises:
        CertificateError: the file is cut short or too long, a line is not canonical JSON of a known kind, or lines
            stand in another order.
    """
    lines = content.split(b"\n")
    if lines.pop() or not lines:
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    if len(lines) > most:
        raise CertificateError(f"{name}: has more than {most} lines.")
    order = (HEADER, *kinds)
    last = HEADER
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise CertificateError(f"{place}: is longer than {MAX_LINE_BYTES} bytes.")
        values = parse_canonical(line, place)
        kind = values.pop("kind", None) if isinstance(values, dict) else None
        if not isinstance(kind, str) or kind not in order or (kind == HEADER) != (number == 1):
            raise CertificateError(f"{place}: a record of kind {json.dumps(kind)[:60]} cannot stand here.")
        if order.index(kind) < order.index(last):
            raise CertificateError(f"{place}: a {kind} stands behind a {last}; the order is {', '.join(order)}.")
        last = kind
        yield place, kind, values


def read_record(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """Make a record of its fields, of which a file states every one.

    Raises:
        CertificateError: a field is missing, unknown or not allowed.
    """
    try:
        record = validated(kind, dict(values), kind.__name__.lower(), lambda *_: place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    if missing := vars(record).keys() - values.keys():
        raise CertificateError(f"{place}: the field {min(missing)!r} is missing.")
    return record


def read_header(kind: type[T], values: Mapping[str, Any], version: int, place: str) -> T:
    """Make the header of its fields.

    Raises:
        CertificateError: the format has another version, or a field is missing, unknown or not allowed.
    """
    found = {name: value for name, value in values.items() if name != "version"}
    if values.get("version") != version:
        raise CertificateError(
            f"{place}: version {json.dumps(values.get('version'))[:60]} is not known to this leanmark (it knows "
            f"{version})."
        )
    return read_record(kind, found, place)
