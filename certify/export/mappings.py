"""Requirements of laws, standards and schemes, and where statements answer them; also filled in for one model.

The tables are data (``mappings.yaml``), written from secondary sources. ``python -m certify.export.mappings`` prints
them as shown in the guide; :func:`filled` replaces the names of places by a model's figures.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from certify.assessments.declarations.questions import QUESTIONS
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.suggest import unknown_name
from certify.core.text import clean
from certify.core.validation import validated
from certify.core.yaml_document import parse_document
from certify.export.card_sections import declared_in, safe
from certify.export.source import ExportSource
from certify.present.statements import figure

NOT_STATED = "not stated"
NOT_COVERED = "not covered"
SHOWN_DIGITS = 16


@dataclass(frozen=True)
class Row:
    """One requirement.

    Attributes:
        asked: the requirement, with its place in the document.
        answered: whether statements answer it.
        why: what is missing, or why it is not covered.
        places: places of the answer.
    """

    asked: Annotated[str, MinLen(1)]
    answered: Literal["yes", "part", "no"]
    why: str
    places: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """Whether it is answered, and what is missing."""
        word = NOT_COVERED if self.answered == "no" else self.answered
        return f"{word}: {self.why}" if self.why else word


@dataclass(frozen=True)
class Scheme:
    """Document with requirements.

    Attributes:
        title: display title.
        rows: its requirements.
    """

    title: str
    rows: Annotated[tuple[Row, ...], MinLen(1)]


@functools.cache
def schemes() -> Mapping[str, Scheme]:
    """Return every scheme by name.

    Example:
        >>> list(schemes())[:2]
        ['annex-iv', 'annex-xi']
    """
    content = (resources.files("certify.export") / "mappings.yaml").read_bytes()
    document = parse_document(content, "mappings.yaml")
    return {
        name: validated(Scheme, values, f"the scheme {name}", functools.partial(document.place, name))
        for name, values in document.values.items()
    }


def tables() -> str:
    """Return all tables in Markdown, with the names of places."""
    return "\n".join(line for scheme in schemes().values() for line in _table(scheme, _names))


def filled(source: ExportSource, names: tuple[str, ...] = ()) -> str:
    """Return the tables in Markdown, with the contents of a model's statements.

    Args:
        source: the statements.
        names: names of the schemes. Default: all.

    Raises:
        UsageError: a scheme is unknown.
    """
    for name in names:
        if name not in schemes():
            raise unknown_name("scheme", name, schemes())
    chosen = [schemes()[name] for name in names or schemes()]
    return "\n".join(line for scheme in chosen for line in _table(scheme, functools.partial(_values, source))) + "\n"


def _table(scheme: Scheme, cells: Callable[[Row], tuple[str, str]]) -> Iterator[str]:
    yield from (f"## {scheme.title}", "", "| asked for | place | answered |", "|---|---|---|")
    for row in scheme.rows:
        place, answer = cells(row)
        yield f"| {row.asked} | {place} | {answer} |"
    yield ""


def _names(row: Row) -> tuple[str, str]:
    return ", ".join(f"`{place}`" for place in row.places) or "-", row.answer


def _values(source: ExportSource, row: Row) -> tuple[str, str]:
    """Return the contents of a row's places; if all are empty, the row is not answered."""
    if row.answered == "no":
        return "-", row.answer
    found = {_head(place): _value(source, place) for place in row.places}
    explanation = "; ".join(f"{safe(head)}: {safe(value)}" for head, value in found.items())
    # A row whose places are all empty for this model is not answered.
    return explanation, NOT_STATED if set(found.values()) == {NOT_STATED} else row.answer


def _head(place: str) -> str:
    return place.rpartition(".")[2].replace("_", " ")


def _value(source: ExportSource, place: str) -> str:
    """Return the content of a place; "not stated" if its statement is missing or silent."""
    if place in FIXED:
        return clean(FIXED[place](source) or NOT_STATED)
    kind, _, rest = place.partition(".")
    if kind == "declared":
        return _declared(source, rest)
    if kind == "finding":
        assessment, _, name = rest.partition(".")
        found = [finding for claims in source.every if claims.assessment == assessment for finding in claims.findings]
        return next((f"{finding.outcome}. {finding.sentence}" for finding in found if finding.name == name), NOT_STATED)
    figures = [claims.figures[rest] for claims in source.every if claims.assessment == kind and rest in claims.figures]
    return figure(figures[0]) if figures else NOT_STATED


def _declared(source: ExportSource, path: str) -> str:
    """Return the maker's answers to a section or a single question of it."""
    claims = declared_in(source)
    if claims is None:
        return NOT_STATED
    if path == "signed_by":
        return ", ".join(person.name for person in claims.declared.signed_by) or NOT_STATED
    wanted = tuple(path.split("."))
    questions = [question for question in QUESTIONS if question.path[: len(wanted)] == wanted]
    answers = [
        (question.head, words) for question in questions if (words := question.words(claims.declared)) is not None
    ]
    if len(wanted) > 1 and answers:
        # A path to a single question gives its answer, a path to a section the number of answers.
        return answers[0][1]
    return f"{len(answers)} of {len(questions)} questions answered" if answers else NOT_STATED


def _measured(read: Callable[[EfficiencyClaims], str | None]) -> Callable[[ExportSource], str | None]:
    return lambda source: read(source.claims) if isinstance(source.claims, EfficiencyClaims) else None


def _counts(source: ExportSource) -> str | None:
    claims = declared_in(source)
    known: tuple[Mapping[str, Any], ...] = () if claims is None else claims.known
    return ", ".join(f"{part['samples']} {part['part']}" for part in known) or None


def _meter(claims: EfficiencyClaims) -> str | None:
    return None if claims.meter is None else f"{claims.meter.name}, {claims.meter.level}"


def _test_data(claims: EfficiencyClaims) -> str:
    data = claims.data
    return f"{data.name}, {data.test_samples} samples, sha256:{data.test_digest[:SHOWN_DIGITS]}, {data.whose}"


FIXED: Mapping[str, Callable[[ExportSource], str | None]] = {
    "file": lambda source: f"sha256:{source.file_digest[:SHOWN_DIGITS]}",
    "content": lambda source: f"sha256:{source.content_digest[:SHOWN_DIGITS]}",
    "version": lambda source: f"leanmark {source.claims.leanmark}, edition {source.claims.edition.name}",
    "device": _measured(lambda claims: claims.device_class),
    "lineage": lambda source: source.claims.lineage_digest and f"sha256:{source.claims.lineage_digest[:SHOWN_DIGITS]}",
    "baseline": _measured(
        lambda claims: f"sha256:{claims.baseline.file_digest[:SHOWN_DIGITS]}, {claims.baseline.provenance}"
    ),
    "test_data": _measured(_test_data),
    "counts": _counts,
    "evidence": lambda source: f"sha256:{source.claims.evidence_digest[:SHOWN_DIGITS]}",
    "signer": lambda source: f"key {source.claims.signer.public_key[:SHOWN_DIGITS]}",
    "preprocessing": _measured(lambda claims: json.dumps(claims.preprocess, sort_keys=True)),
    "meter": _measured(_meter),
    "workload": _measured(lambda claims: f"batch {claims.workload.batch} on {claims.workload.runtime}"),
    "limits": lambda source: f"{sum(len(statement.limits) for statement in source.every)} sentences",
    "reader": lambda source: "leanmark report --carbon-intensity GRAMS --embodied GRAMS",
    "offsets": lambda source: "none",
}
"""Places that are not a figure, a check or an answer, with their content."""


if __name__ == "__main__":
    sys.stdout.write(tables())
