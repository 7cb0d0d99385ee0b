"""The page of a registry, from the check of each model when the page was built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from certify.assessment.claims import Claims, contradictions, presenting
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.text import clean, printable
from certify.present import wording
from certify.present.charts.pareto import Point, pareto_chart
from certify.present.headline import accuracy_of, energy_of
from certify.present.report.report import source_digest, style
from certify.present.statements import line

VALID, EXPIRED, WITHDRAWN, BROKEN = STATES = ("valid", "expired", "withdrawn", "not valid")
TASKS = {None: "images", "image": "images", "tokens": "texts", "arrays": "arrays"}
"""Input of a model, by the kind of its preprocessing contract."""
UNKNOWN = "not stated"


@dataclass(frozen=True)
class Entry:
    """Model of the registry.

    Attributes:
        place: its folder or pack, relative to the registry's folder.
        state: one of :data:`STATES`.
        reasons: why it is no longer valid, one sentence each.
        claims: claims of all statements, the main one first; empty if nothing is shown.
        report: URL of its report, relative to the page; None if there is none.
        trusted: whether the builder of the page trusts its signing key.
        certificate: hex SHA-256 of the certificate; empty if it could not be read.
        marks: assessment of each mark of a scheme, one sentence each.
    """

    place: str
    state: str
    reasons: tuple[str, ...]
    claims: tuple[Claims, ...]
    report: str | None
    trusted: bool
    certificate: str
    marks: tuple[str, ...] = ()

    @property
    def measured(self) -> EfficiencyClaims | None:
        """The efficiency certificate, if it exists and is shown."""
        first = self.claims[0] if self.claims else None
        return first if isinstance(first, EfficiencyClaims) else None

    @property
    def task(self) -> str:
        """Input of the model, and whether it does classification or regression."""
        claims = self.measured
        if claims is None:
            return UNKNOWN
        answers = "regression" if (claims.data.metric or "").startswith("regression") else "classification"
        return f"{answers} of {TASKS.get(claims.preprocess.get('kind'), 'arrays')}"

    @property
    def device(self) -> str:
        """Class of devices on which it was measured."""
        return clean(self.measured.device_class) if self.measured is not None else UNKNOWN


@dataclass(frozen=True)
class Row:
    """Template data of an entry."""

    entry: Entry
    name: str
    outcome: str
    energy: str
    accuracy: str
    data: str
    date: str
    statements: tuple[str, ...]
    contradicted: tuple[str, ...]
    words: str


def registry_page(entries: Sequence[Entry], made: str, leanmark: str) -> str:
    """Return the page; equal entries give equal text.

    Args:
        entries: entries in display order.
        made: UTC time at which every certificate was checked.
        leanmark: version that made the checks.

    Raises:
        CertificateError: a claim is malformed.
    """
    css, script = style() + _file("registry.css"), _file("registry.js")
    with presenting("a registry"):
        rows = [_row(entry) for entry in entries]
        return _environment().get_template("registry.html.j2").render(
            rows=rows,
            tasks=sorted({entry.task for entry in entries}),
            devices=sorted({entry.device for entry in entries}),
            states=[state for state in STATES if any(entry.state == state for entry in entries)],
            counts={state: sum(entry.state == state for entry in entries) for state in STATES},
            plots=list(_plots(rows)),
            made=made,
            leanmark=leanmark,
            style=Markup(css),
            script=Markup(script),
            style_digest=source_digest(css),
            script_digest=source_digest(script),
        )  # fmt: skip


def _row(entry: Entry) -> Row:
    main = entry.claims[0] if entry.claims else None
    measured = entry.measured
    energy, accuracy = (None, None) if measured is None else (energy_of(measured), accuracy_of(measured))
    others = tuple(f"{claim.title}: {line(claim)}" for claim in entry.claims[1:])
    name = entry.place if main is None else clean(main.model)
    outcome = "" if main is None else clean(main.text)
    data = "" if measured is None else clean(measured.data.name)
    # One string per row, so that the page's search needs no other data.
    searched = [name, entry.place, outcome, data, entry.task, entry.device, entry.state, entry.certificate, *others]
    return Row(
        entry,
        name,
        outcome,
        "" if energy is None else energy.sentence(),
        "" if accuracy is None else accuracy.sentence(),
        data,
        "" if main is None else wording.date(main),
        tuple(map(clean, others)),
        tuple(contradiction.sentence for contradiction in contradictions(entry.claims)),
        " ".join(map(clean, searched)).lower(),
    )


@dataclass(frozen=True)
class Plot:
    """Comparable models: of one task, one class of devices and one test set."""

    title: str
    task: str
    device: str
    drawing: Markup


def _plots(rows: Sequence[Row]) -> Iterator[Plot]:
    """Yield a plot per group of comparable valid models, each relative to its own original."""
    alike: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        claims = row.entry.measured
        if row.entry.state == VALID and claims is not None and not claims.refused:
            # The key includes the digest, because two test sets may share a name.
            key = (row.entry.task, row.entry.device, clean(claims.data.name), claims.data.test_digest)
            alike.setdefault(key, []).append(row)
    for number, ((task, device, data, _), found) in enumerate(sorted(alike.items())):
        drawing = pareto_chart(_points(found), is_ratio=True, name=f"pareto-{number}")
        yield Plot(f"{task}, {data}, on {device}", task, device, drawing)


def _points(rows: Sequence[Row]) -> list[Point]:
    placed = []
    for row in rows:
        figures = row.entry.measured.figures if row.entry.measured is not None else {}
        names = EfficiencyClaims.names
        placed.append((row, figures[names.energy_ratio], figures[names.relative_loss_percent]))
    # A point is on the front if no other is at least as good in both and better in one.
    return [
        Point(row.name, row.outcome, energy, loss, not any(
            other is not row and ratio.value <= energy.value and two.value <= loss.value
            and (ratio.value, two.value) != (energy.value, loss.value) for other, ratio, two in placed
        ))
        for row, energy, loss in placed
    ]  # fmt: skip


def _file(name: str) -> str:
    return (files("certify.present.registry") / name).read_text(encoding="utf-8")


@cache
# With StrictUndefined, a misspelt name in the template fails instead of printing nothing.
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("certify.present.registry", ""), autoescape=True, undefined=StrictUndefined,
        finalize=_printable, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _printable(value: object) -> object:
    return value if isinstance(value, Markup) else printable(value)
