"""Records of the declarations: the maker's file as written, and facts about the data.

A header; the file (``declaration``); names in the data (``named``); counts of each split by class and group
(``counted``); and the number of samples that two splits share (``overlap``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len

from certify.assessment.record_file import (
    Count,
    Digest,
    RecordHeader,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)
from certify.assessments.declarations.declaration import MAX_BYTES, Declaration, parse_declaration
from certify.core.errors import CertificateError, UsageError

VERSION = 1
MAX_LINES = 100
FILE_NAME = "declarations.yaml"

Part = Literal["train", "calibration", "validation", "test"]
Counted = Annotated[int, Ge(1)] | None
"""Count of a group; None if it is withheld because it is small."""


@dataclass(frozen=True)
class DataFacts:
    """Data that the declarations are about.

    Attributes:
        name: display name.
        test_digest: hex SHA-256 over the test split, as in the efficiency certificate.
        read: whether the data were read for this statement, so that names and counts are known.
    """

    name: Text
    test_digest: Digest
    read: bool


@dataclass(frozen=True)
class Header(RecordHeader):
    """Circumstances of the declarations, which are recorded when their file is read.

    Attributes:
        data: data that they are about.
    """

    data: DataFacts


@dataclass(frozen=True)
class File:
    """Maker's file.

    Attributes:
        sha256: hex SHA-256 of its bytes.
        text: its content.
    """

    sha256: Digest
    text: Annotated[str, Len(1, MAX_BYTES)]


@dataclass(frozen=True)
class Named:
    """Names in the data, which are searched for words about people and faces."""

    what: Literal["class", "column"]
    names: tuple[Text, ...]


@dataclass(frozen=True)
class PartCounts:
    """Counts of a split of the data.

    Attributes:
        part: name of the split.
        samples: number of samples.
        digest: hex SHA-256 over the samples.
        classes: number of samples by class.
        groups: number of samples by value of each group column.
    """

    part: Part
    samples: Annotated[int, Ge(1)]
    digest: Digest
    classes: Mapping[Text, Count]
    groups: Mapping[Text, Mapping[str, Counted]]


@dataclass(frozen=True)
class Overlap:
    """Number of samples of the second split that are also in the first, bit for bit."""

    first: Part
    second: Part
    shared: Count


KINDS: dict[str, type[Any]] = {"declaration": File, "named": Named, "counted": PartCounts, "overlap": Overlap}
_NAMES = {kind: name for name, kind in KINDS.items()}
Record = File | Named | PartCounts | Overlap


@dataclass(frozen=True)
class Records:
    """Content of a record file.

    Attributes:
        header: circumstances of the declarations.
        declared: content of the maker's file.
        rows: records in the order of :data:`KINDS`.
    """

    header: Header
    declared: Declaration
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Return the records of a kind, in order."""
        return tuple(row for row in self.rows if type(row) is kind)

    @property
    def file(self) -> File:
        """Record of the maker's file."""
        (found,) = self.of(File)
        return found  # type: ignore[no-any-return]

    @classmethod
    def of_file(cls, header: Header, content: bytes, seen: tuple[Record, ...] = (), name: str = FILE_NAME) -> Records:
        """Build the records of a file.

        Args:
            header: circumstances of the declarations.
            content: content of ``declarations.yaml``.
            seen: records of the data.
            name: file name, for errors.

        Raises:
            UsageError: the file is malformed.
        """
        declared = parse_declaration(content, name)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name} is not UTF-8 at byte {error.start}; save it as UTF-8.") from error
        return cls(header, declared, (File(hashlib.sha256(content).hexdigest(), text), *seen))


def dump(records: Records) -> bytes:
    """Serialise records; equal records give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Parse a record file.

    Raises:
        CertificateError: the file, or the maker's file in it, is malformed, or the latter has another digest.
    """
    (place, _, head), *lines = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    rows = tuple(read_record(KINDS[kind], values, at) for at, kind, values in lines)
    files = [row for row in rows if isinstance(row, File)]
    if len(files) != 1:
        raise CertificateError(f"{name} holds {len(files)} declarations, but must hold one.")
    # Lone surrogates are not valid UTF-8. Encoding them anyway gives another digest, which is refused below.
    text = files[0].text.encode("utf-8", "surrogatepass")
    if hashlib.sha256(text).hexdigest() != files[0].sha256:
        raise CertificateError(f"{name}: the declarations in it are not those of its digest.")
    try:
        return Records(header, parse_declaration(text, f"{FILE_NAME} in {name}"), rows)
    except UsageError as error:
        raise CertificateError(str(error)) from error
