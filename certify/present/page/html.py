"""The page as HTML: one file without scripts or external resources, for light and dark screens and for phones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from markupsafe import Markup

from certify.present.mark import Awarded
from certify.present.page.content import Page, Row
from certify.present.report.report import source_digest, style
from certify.present.svg import tag

LAYOUT = """
.who{font-weight:700;font-size:1.1rem}
.level{border:2px solid;border-radius:10px;padding:.6em 1em;max-width:46em}
.level b{font-size:1.4rem}
td small{color:var(--quiet)}
"""


def html_page(page: Page) -> str:
    """Return the page; equal input gives equal text."""
    css = style() + LAYOUT
    # The policy allows only this style, by its digest, so that an injected style would not apply.
    secure = f"default-src 'none'; style-src 'sha256-{source_digest(css)}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        tag("title", f"Certificate of {page.model}"),
        Markup('<meta name="viewport" content="width=device-width,initial-scale=1">'),
        _meta(secure),
        Markup(f"<style>{css}</style>"),
    )
    body = tag("body", tag("main", *_sections(page)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _meta(policy: str) -> Markup:
    return Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(policy)


def _sections(page: Page) -> Iterator[Markup]:
    yield tag("p", "leanmark", class_="quiet")
    yield tag("h1", f"Certificate of {page.model}")
    yield tag("p", page.who, class_="who")
    if page.contradicted:
        yield tag("div", tag("p", "What the maker says is contradicted:"), _list(page.contradicted),
                  class_="warning", role="note")  # fmt: skip
    if page.awarded is not None:
        yield _level(page.awarded)
    yield tag("h2", "For everybody", id="public")
    yield _facts(page.notice)
    if page.maker:
        yield tag("h3", "What the maker says", id="maker")
        yield tag("p", "These are the maker's words; nobody checked them.", class_="quiet")
        yield _facts(page.maker)
    yield tag("h2", "What was measured, and who says so", id="measured")
    yield _table(page.rows)
    yield tag("h2", "What this does not show", id="limits")
    yield _list(page.limits or ("What was not measured is not known.",))
    yield tag("footer", tag("p", f"Recorded on {page.date}. Certificate ", tag("code", page.digest), "."))


def _level(awarded: Awarded) -> Markup:
    scheme = "; ".join(f"{name}: {words}" for name, words in awarded.scheme)
    return tag(
        "div",
        tag("p", tag("b", awarded.level), f", awarded by {awarded.known_as} ({awarded.points})."),
        tag("p", f"{scheme}. What was done: {awarded.done}. In force until {awarded.until}. Lists of withdrawals: "
                 f"{awarded.lists or 'none was checked'}.", class_="quiet"),
        class_="level",
    )  # fmt: skip


def _facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    return tag("dl", *(part for name, words in pairs for part in (tag("dt", name), tag("dd", words))))


def _list(lines: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", line) for line in lines))


HEADS = ("Assessment", "Outcome", "Figures with their intervals", "Who says so")


def _table(rows: Iterable[Row]) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in HEADS)))
    body = tag("tbody", *(_row(row) for row in rows))
    caption = tag("caption", "One row for each signed statement about the model", class_="quiet")
    table = tag("table", caption, head, body, class_="wide")
    # A table that scrolls must be reachable by keyboard, hence the tabindex.
    return tag("div", table, class_="scroll", tabindex="0", role="group", aria_label="Table: statements")


def _row(row: Row) -> Markup:
    figures = [tag("div", f"{name}: {value}") for name, value in row.figures]
    return tag(
        "tr",
        tag("th", row.title, scope="row"),
        tag("td", row.outcome, class_="fail" if row.refused else None, data_label=HEADS[1]),
        tag("td", tag("div", *figures), data_label=HEADS[2]),
        tag("td", row.says, tag("small", "statement ", tag("code", row.digest[:16])), data_label=HEADS[3]),
    )
