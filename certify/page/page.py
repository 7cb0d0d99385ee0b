"""The whole page. It holds no script, and a policy that forbids any, and any request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from certify.charts.markup import Markup, joined, tag
from certify.core.errors import CertificateError
from certify.label import draw
from certify.label.facts import Facts
from certify.label.facts import read as read_facts
from certify.label.wording import Claim
from certify.page.lineage import lineage_section
from certify.page.measurement import figures_section, intervals_section, windows_section
from certify.page.models import classes_section, nodes_section
from certify.page.papers import Papers
from certify.page.parts import Section, bullets
from certify.page.style import style
from certify.page.trust import guards_section, settings_section, verify_section


def page(papers: Papers) -> str:
    """The report on a certificate, refusals included; equal papers give equal text.

    Raises:
        CertificateError: the certificate lacks something that the report shows.
    """
    try:
        return _page(papers)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CertificateError(f"The certificate can't be drawn as a report: {reason}.") from error


def _page(papers: Papers) -> str:
    facts = read_facts(papers.certificate.predicate, papers.certificate.digest)
    sections = [section for section in _sections(papers) if section is not None]
    main = tag("main", _top(papers, facts), _contents(sections), *(part.markup() for part in sections), _footer(facts))
    return f"<!DOCTYPE html>\n{tag('html', _head(facts), tag('body', main), lang='en')}\n"


def _sections(papers: Papers) -> Iterator[Section | None]:
    yield figures_section(papers)
    yield intervals_section(papers)
    yield windows_section(papers)
    yield classes_section(papers)
    yield lineage_section(papers)
    yield nodes_section(papers)
    yield guards_section(papers)
    yield settings_section(papers)
    yield verify_section(papers)


def _head(facts: Facts) -> Markup:
    css = Markup(style())
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{facts.title} – leanmark report"),
        tag("link", rel="icon", href="data:,"),  # else a browser may ask for one
        tag("style", css),
    )


def _top(papers: Papers, facts: Facts) -> Markup:
    """The label, and beside it the same in words."""
    label = Markup(draw(papers.certificate.predicate, papers.certificate.digest))
    return joined(
        tag("h1", f"{facts.model}: {f'grade {facts.grade}' if facts.letter else 'not graded'}"),
        tag("p", f"{facts.data}, {facts.date}, edition {facts.edition} of the grade", class_="quiet"),
        tag("div", tag("div", label, class_="label"), tag("div", *_verdict(papers, facts)), class_="top"),
    )


def _verdict(papers: Papers, facts: Facts) -> Iterator[str | None]:
    grade = papers.certificate.predicate["grade"]
    if facts.letter is None:
        yield tag("p", "No grade was given, because", class_="claim")
        yield bullets(grade["reasons"])
        yield tag("p", "The figures below were measured all the same; no claim rests on them.")
    yield from (_claim(claim) for claim in (facts.energy, facts.accuracy) if claim is not None)
    if facts.modelled:
        warning = tag("b", f"{facts.evidence}. ")
        yield tag("p", warning, facts.evidence_detail, class_="warning")
    else:
        yield tag("p", tag("b", f"{facts.evidence}. "), facts.evidence_detail)
    if grade["notes"]:
        yield tag("h3", "To be known beside it")
        yield bullets(grade["notes"])


def _claim(claim: Claim) -> Markup:
    return tag("p", tag("b", f"{claim.figure} "), claim.meaning, tag("small", claim.bound), class_="claim")


def _contents(sections: Sequence[Section]) -> Markup:
    links = [tag("li", tag("a", section.title, href=f"#{section.name}")) for section in sections]
    return tag("nav", tag("ul", *links), aria_label="Contents")


def _footer(facts: Facts) -> Markup:
    sentence = "Drawn from the certificate and its papers alone. This page proves nothing by itself: check the file."
    return tag("footer", tag("p", f"{sentence} Certificate {facts.digest}."), class_="quiet")
