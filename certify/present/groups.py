"""Groups of people as a chart and as a page, drawn only from figures and their descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.core.text import clean, printable
from certify.present.charts.draw import standalone
from certify.present.charts.intervals import IntervalRow, intervals_chart
from certify.present.numbers import MINUS
from certify.present.report.report import style
from certify.present.statements import figure

MOST_ROWS = 60
CELL = "cell_"


@dataclass(frozen=True)
class GroupPage:
    """Content of the page.

    Attributes:
        model: name of the model.
        data: description of the data.
        outcome: outcome in words.
        notes: reasons of a refusal, or remarks for readers.
        sentences: result of each cell.
        figures: all figures by name.
        words: description of each figure.
        findings: checks.
        compares: whether the model was compared with another one.
    """

    model: str
    data: str
    outcome: str
    notes: Sequence[str]
    sentences: Sequence[str]
    figures: Mapping[str, Estimate]
    words: Mapping[str, str]
    findings: Sequence[Finding]
    compares: bool


def groups_chart(page: GroupPage) -> str:
    """Return an SVG file: the change of every cell in points with its interval, or its error rate."""
    drawing = _chart(page)
    # Browsers show an error for an empty file, so a page without a chart still gets a valid one.
    return standalone(drawing if drawing is not None else Markup("<svg xmlns='http://www.w3.org/2000/svg'></svg>"))


def _chart(page: GroupPage) -> Markup | None:
    ending, reference = ("_change_points", 0.0) if page.compares else ("_candidate", None)
    scale = 1.0 if page.compares else 100.0
    rows = [
        IntervalRow(
            _short(page.words.get(name, name)), figure.scaled(scale), _signed(scale * figure.value, page.compares)
        )
        for name, figure in page.figures.items()
        if name.startswith(CELL) and name.endswith(ending)
    ]
    # A chart with more rows would be unreadable; the table has all cells.
    return intervals_chart("groups", _title(page), rows[:MOST_ROWS], reference=reference)


def _title(page: GroupPage) -> str:
    return "Change of the error rate by group, in points" if page.compares else "Error rate by group, in %"


def _short(words: str) -> str:
    """Shorten a cell's name for a chart, whose title states the quantity."""
    name = clean(words).removesuffix(", change").removesuffix(", errors")
    return name.replace("false positives", "FP").replace("false negatives", "FN")


def _sentence(words: str) -> str:
    return clean(words)[:1].upper() + clean(words)[1:]


def _signed(value: float, signed: bool) -> str:
    return (f"{value:+.2f}" if signed else f"{value:.1f} %").replace("-", MINUS)


def groups_page(page: GroupPage) -> str:
    """Return a self-contained HTML page without scripts; every text is escaped."""
    drawing = _chart(page)
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>\n').format(
            printable(page.words.get(name, name)), figure(estimate), estimate.n if estimate.low < estimate.high else ""
        )
        for name, estimate in page.figures.items()
    )
    checks = _list(f"{finding.name}: {finding.outcome}. {finding.sentence}" for finding in page.findings)
    parts = (
        Markup("<h1>Groups of people in the answers of {}</h1>").format(clean(page.model)),
        Markup("<p>{}. Data: {}.</p>").format(_sentence(page.outcome), clean(page.data)),
        Markup("<p>The figures describe the named groups on these samples; they do not show that a model is fair.</p>"),
        _list(page.notes),
        Markup("")
        if drawing is None
        else Markup("<h2>By group</h2><figure><figcaption>{}</figcaption>{}</figure>").format(_title(page), drawing),
        Markup("<h2>Result of each cell</h2>") + _list(page.sentences) if page.sentences else Markup(""),
        Markup(
            '<h2>All figures</h2><div class="scroll"><table class="numbers"><thead><tr><th scope="col">figure</th>'
            '<th scope="col">value (interval)</th><th scope="col">samples</th></tr></thead><tbody>\n{}</tbody></table>'
            "</div>"
        ).format(rows),
        Markup("<h2>Checks</h2>") + checks,
    )
    head = Markup(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<title>{}</title><style>{}</style></head><body><main>\n"
    ).format(f"Groups of people: {clean(page.model)}", Markup(style()))
    return str(head + Markup("\n").join(parts) + Markup("\n</main></body></html>\n"))


def _list(lines: Iterator[str] | Sequence[str]) -> Markup:
    items = [Markup("<li>{}</li>").format(printable(line)) for line in lines]
    return Markup("<ul>{}</ul>").format(Markup("\n").join(items)) if items else escape("")
