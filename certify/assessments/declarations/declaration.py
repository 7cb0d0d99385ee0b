"""Maker's declarations about a model, the content of ``declarations.yaml``; omitted fields are not stated.

Numbers, and words such as ``yes`` that YAML reads as booleans, are converted to text. The clauses are
those of the Safe Face Pledge (Algorithmic Justice League and the Center on Privacy & Technology at Georgetown Law,
December 2018, https://www.safefacepledge.org/pledge), by number and title. The pledge was closed in February 2021 and
can no longer be signed; its clauses are used here as questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Len

from certify.core.errors import UsageError
from certify.core.validation import validated
from certify.core.yaml_document import Document, parse_document

FORMAT: Literal["leanmark/declarations/1"] = "leanmark/declarations/1"
MAX_BYTES = 256 << 10
MAX_TEXT = 2000

Text = Annotated[str, Len(1, MAX_TEXT)]
Texts = Annotated[tuple[Text, ...], Len(1, 64)]
People = Literal["none", "depicted", "judged", "unknown"]
Faces = Literal["no", "incidental", "analysed", "unknown"]
Answer = Literal["yes", "no", "not applicable"]
Deployed = Literal["yes", "no", "not yet"]
ClauseNumber = Literal["1.1", "1.2", "1.3", "1.4", "2.1", "2.2", "3.1", "3.2", "4.1", "4.2", "4.3"]

CLAUSES: dict[ClauseNumber, str] = {
    "1.1": "Do not contribute to applications that risk human life",
    "1.2": "Do not facilitate secret and discriminatory government surveillance",
    "1.3": "Mitigate law enforcement abuse",
    "1.4": "Ensure your rules are being followed",
    "2.1": "Evaluate bias internally",
    "2.2": "Submit models for external benchmark evaluation",
    "3.1": "Inform the public where the technology is used",
    "3.2": "Enable external analysis, with the demographics of the training data",
    "4.1": "Change contracts to reflect the commitments",
    "4.2": "Engage with those who are affected",
    "4.3": "Publish within six months how the commitments are kept",
}
BIAS_CLAUSE: ClauseNumber = "2.1"


@dataclass(frozen=True)
class Context:
    """Purpose of the model, and the harm that it could do."""

    intended_use: Text | None = None
    not_for: Texts | None = None
    what_could_go_wrong: Text | None = None
    who_is_harmed: Text | None = None
    how_likely: Text | None = None
    falls_on_marginalised: Text | None = None
    who_decides: Text | None = None


@dataclass(frozen=True)
class Recourse:
    """Recourse of the people on whom the model is used."""

    told: Text | None = None
    contest: Text | None = None
    human: Text | None = None


@dataclass(frozen=True)
class Labelling:
    """Labelling of the data, and its working conditions."""

    who: Text | None = None
    employment: Text | None = None
    pay: Text | None = None
    benefits: Text | None = None
    exposure: Text | None = None
    growth: Text | None = None
    site_visited: Text | None = None


@dataclass(frozen=True)
class Stakeholders:
    """Consultation of stakeholders before the model was used."""

    heard: Text | None = None
    how: Text | None = None
    changed: Text | None = None


@dataclass(frozen=True)
class Monitoring:
    """Monitoring of the model in use."""

    live_test: Text | None = None
    feedback: Text | None = None


@dataclass(frozen=True)
class Decision:
    """Decision whether to use the model."""

    deployed: Deployed | None = None
    why: Text | None = None
    alternatives: Text | None = None


@dataclass(frozen=True)
class Groups:
    """Groups of people that were compared, and groups that were not."""

    columns: Texts | None = None
    source: Text | None = None
    not_measured: Texts | None = None
    why: Text | None = None


@dataclass(frozen=True)
class Sheet:
    """Sections of a datasheet (Gebru et al. 2021, arXiv 1803.09010)."""

    motivation: Text | None = None
    composition: Text | None = None
    collection: Text | None = None
    preprocessing: Text | None = None
    uses: Text | None = None
    distribution: Text | None = None
    maintenance: Text | None = None


@dataclass(frozen=True)
class Sheets:
    """Datasheets of the calibration data and the test data."""

    calibration: Sheet = field(default_factory=Sheet)
    test: Sheet = field(default_factory=Sheet)


@dataclass(frozen=True)
class Audit:
    """Maker's internal audit of the model."""

    by: Text | None = None
    when: Text | None = None
    found: Text | None = None
    report: Text | None = None


@dataclass(frozen=True)
class Clause:
    """Answer to a clause; ``no`` is a valid answer."""

    answer: Answer
    text: Text | None = None
    evidence: Text | None = None


@dataclass(frozen=True)
class Person:
    """Person responsible for the declarations."""

    name: Text
    role: Text | None = None


@dataclass(frozen=True)
class Declaration:
    """Declarations of a maker; each further field is a section.

    Attributes:
        declaration: name of the format.
        people: whether people are depicted in the samples, or judged by the model's answers.
        faces: whether faces appear in the samples, or are analysed.
        answers: answers to the questions that words in the data raise, by word or name.
        signed_by: people responsible for the declarations; the signing key is stated elsewhere.
    """

    declaration: Literal["leanmark/declarations/1"]
    people: People | None = None
    faces: Faces | None = None
    context: Context = field(default_factory=Context)
    recourse: Recourse = field(default_factory=Recourse)
    labelling: Labelling = field(default_factory=Labelling)
    stakeholders: Stakeholders = field(default_factory=Stakeholders)
    monitoring: Monitoring = field(default_factory=Monitoring)
    decision: Decision = field(default_factory=Decision)
    groups: Groups = field(default_factory=Groups)
    datasheet: Sheets = field(default_factory=Sheets)
    audit: Audit = field(default_factory=Audit)
    safe_face: Mapping[ClauseNumber, Clause] = field(default_factory=dict)
    answers: Mapping[Text, Text] = field(default_factory=dict)
    signed_by: Annotated[tuple[Person, ...], Len(0, 32)] = ()

    @property
    def people_taken_as(self) -> str:
        """Declaration about people; the strictest if none is stated."""
        return self.people if self.people not in (None, "unknown") else "judged"

    @property
    def faces_taken_as(self) -> str:
        """Declaration about faces; the strictest if none is stated."""
        return self.faces if self.faces not in (None, "unknown") else "analysed"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; fields that are not stated are absent."""
        # A round trip through JSON turns tuples into lists, as in a statement.
        stated: dict[str, Any] = json.loads(json.dumps(_stated(asdict(self))))
        return stated

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str = "the declarations") -> Declaration:
        """Parse the JSON values of :meth:`to_json`.

        Raises:
            UsageError: a field is unknown or not allowed.
        """
        return validated(cls, _texts(dict(values)), "the declarations", lambda *_: place)


def parse_declaration(content: bytes, name: str) -> Declaration:
    r"""Parse ``declarations.yaml``.

    Args:
        content: content of the file.
        name: file name, for errors.

    Raises:
        UsageError: it is too large, is not valid YAML, or has an invalid field; the error names line and key.

    Example:
        >>> parse_declaration(b"declaration: leanmark/declarations/1\nfaces: no\n", "d.yaml").faces
        'no'
    """
    if len(content) > MAX_BYTES:
        raise UsageError(f"{name} is larger than {MAX_BYTES // 1024} KiB, the maximum for declarations.")
    document = parse_document(content, name)
    if document.values.get("declaration") != FORMAT:
        raise UsageError(f"{document.place('declaration')}: must begin with 'declaration: {FORMAT}'; add that line.")
    return _declaration(document)


def _declaration(document: Document) -> Declaration:
    return validated(Declaration, _texts(document.values), "the declarations", document.place)


def _texts(value: Any) -> Any:
    """Return a value with booleans and numbers as text, without empty fields."""
    if isinstance(value, Mapping):
        return {key: _texts(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_texts(item) for item in value]
    # YAML reads an unquoted yes or no as a boolean.
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value


def _stated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stated(item) for key, item in value.items() if item not in (None, {}, (), [])
                and _stated(item) not in ({},)}  # fmt: skip
    return [_stated(item) for item in value] if isinstance(value, list | tuple) else value


def texts_of(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield every text in a declaration's JSON values, with its dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_of(item, (*path, str(key)))
    elif isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from texts_of(item, (*path, str(number)))
    else:
        yield ".".join(path), str(value)
