"""Records of the declarations: the maker's file as it was written, and what the referee saw of the data beside it.

A header; the file (``declaration``); the names that stand in the data (``named``); counts of each part by class and
group (``counted``); and how many samples two parts share (``overlap``).
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
    ModelDigests,
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
"""How many; null where so few that nobody is counted."""


@dataclass(frozen=True)
class DataFacts:
    """The data that the declarations are about.

    Attributes:
        name: for people.
        test_digest: hex SHA-256 over the test part, as the efficiency certificate states it.
        read: whether the data were read for this statement, so that names and counts are known.
    """

    name: Text
    test_digest: Digest
    read: bool


@dataclass(frozen=True)
class Header:
    """Circumstances.

    Attributes:
        created: UTC time at which the file was read.
        leanmark: version that read it.
        model: digests of the model.
        data: that it is about.
    """

    created: str
    leanmark: str
    model: ModelDigests
    data: DataFacts


@dataclass(frozen=True)
class File:
    """The maker's file.

    Attributes:
        sha256: of its bytes.
        text: all of it.
    """

    sha256: Digest
    text: Annotated[str, Len(1, MAX_BYTES)]


@dataclass(frozen=True)
class Named:
    """Names in the data, in which words of people and faces are looked for."""

    what: Literal["class", "column"]
    names: tuple[Text, ...]


@dataclass(frozen=True)
class PartCounts:
    """Samples of a part of the data.

    Attributes:
        part: its name.
        samples: how many.
        digest: hex SHA-256 over them.
        classes: samples by class.
        groups: samples by value of each column of groups.
    """

    part: Part
    samples: Annotated[int, Ge(1)]
    digest: Digest
    classes: Mapping[Text, Count]
    groups: Mapping[Text, Mapping[str, Counted]]


@dataclass(frozen=True)
class Overlap:
    """How many samples of the second part stand, bit by bit, in the first too."""

    first: Part
    second: Part
    shared: Count


KINDS: dict[str, type[Any]] = {"declaration": File, "named": Named, "counted": PartCounts, "overlap": Overlap}
_NAMES = {kind: name for name, kind in KINDS.items()}
Record = File | Named | PartCounts | Overlap


@dataclass(frozen=True)
class Records:
    """Everything that was read.

    Attributes:
        header: circumstances.
        declared: what the maker's file says.
        rows: the records, in the order of :data:`KINDS`.
    """

    header: Header
    declared: Declaration
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Records of one kind, in their order."""
        return tuple(row for row in self.rows if type(row) is kind)

    @property
    def file(self) -> File:
        """The maker's file."""
        (found,) = self.of(File)
        return found  # type: ignore[no-any-return]

    @classmethod
    def of_file(cls, header: Header, content: bytes, seen: tuple[Record, ...] = (), name: str = FILE_NAME) -> Records:
        """The records of a file.

        Args:
            header: circumstances.
            content: of ``declarations.yaml``.
            seen: what was seen of the data.
            name: of the file, for errors.

        Raises:
            UsageError: the file is malformed.
        """
        declared = parse_declaration(content, name)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{name}: is not UTF-8 at byte {error.start}; save it as UTF-8.") from error
        return cls(header, declared, (File(hashlib.sha256(content).hexdigest(), text), *seen))


def dump(records: Records) -> bytes:
    """Write records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file.

    Raises:
        CertificateError: it is malformed, or the maker's file in it is, or has another digest.
    """
    (place, _, head), *lines = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    rows = tuple(read_record(KINDS[kind], values, at) for at, kind, values in lines)
    files = [row for row in rows if isinstance(row, File)]
    if len(files) != 1:
        raise CertificateError(f"{name}: holds {len(files)} declarations, and there is to be one.")
    text = files[0].text.encode("utf-8", "surrogatepass")
    if hashlib.sha256(text).hexdigest() != files[0].sha256:
        raise CertificateError(f"{name}: the declarations in it are not those of its digest.")
    try:
        return Records(header, parse_declaration(text, f"{FILE_NAME} in {name}"), rows)
    except UsageError as error:
        raise CertificateError(str(error)) from error
