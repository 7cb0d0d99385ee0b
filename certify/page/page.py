"""The whole page. It holds no script, and a policy that forbids any, and any request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from certify.core.text import clean
from certify.page.lineage import lineage_section
from certify.page.measurement import figures_section, intervals_section, windows_section
from certify.page.models import classes_section, nodes_section
from certify.page.papers import Papers
from certify.page.parts import Section, bullets
from certify.page.style import style
from certify.page.trust import guards_section, settings_section, verify_section
from certify.present import wording
from certify.present.claims import Claims, efficiency_claims, presenting
from certify.present.headline import Headline
from certify.present.label import draw
from certify.present.svg import joined, tag


def page(papers: Papers) -> str:
    """The report on a certificate, refusals included; equal papers give equal text.

    Raises:
        CertificateError: the certificate lacks something that the report shows.
    """
    with presenting("a report"):
        return _page(papers)


def _page(papers: Papers) -> str:
    claims = efficiency_claims(papers.certificate.predicate, papers.certificate.digest)
    sections = [section for section in _sections(papers) if section is not None]
    main = tag(
        "main", _top(papers, claims), _contents(sections), *(part.markup() for part in sections), _footer(claims)
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(claims), tag('body', main), lang='en')}\n"


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


def _head(claims: Claims) -> Markup:
    css = Markup(style())
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{wording.title(claims)} – leanmark report"),
        tag("link", rel="icon", href="data:,"),  # else a browser may ask for one
        tag("style", css),
    )


def _top(papers: Papers, claims: Claims) -> Markup:
    """The label, and beside it the same in words."""
    label = Markup(draw(claims))
    return joined(
        tag(
            "h1",
            f"{clean(claims.model)}: {f'grade {clean(claims.grade.text)}' if claims.grade.letter else 'not graded'}",
        ),
        tag(
            "p",
            f"{wording.tested_on(claims)}, {wording.date(claims)}, edition {clean(claims.edition.name)} of the grade",
            class_="quiet",
        ),
        tag("div", tag("div", label, class_="label"), tag("div", *_verdict(papers, claims)), class_="top"),
    )


def _verdict(papers: Papers, claims: Claims) -> Iterator[str | None]:
    if claims.grade.letter is None:
        yield tag("p", "No grade was given, because", class_="claim")
        yield bullets(claims.grade.reasons)
        yield tag("p", "The figures below were measured all the same; no claim rests on them.")
    yield from (_claim(claim) for claim in (claims.energy, claims.accuracy) if claim is not None)
    if claims.unmetered:
        warning = tag("b", f"{wording.energy_source(claims)}. ")
        yield tag("p", warning, wording.energy_source_detail(claims), class_="warning")
    else:
        yield tag("p", tag("b", f"{wording.energy_source(claims)}. "), wording.energy_source_detail(claims))
    if claims.grade.notes:
        yield tag("h3", "To be known beside it")
        yield bullets(claims.grade.notes)


def _claim(claim: Headline) -> Markup:
    return tag("p", tag("b", f"{claim.figure} "), claim.meaning, tag("small", claim.bound), class_="claim")


def _contents(sections: Sequence[Section]) -> Markup:
    links = [tag("li", tag("a", section.title, href=f"#{section.name}")) for section in sections]
    return tag("nav", tag("ul", *links), aria_label="Contents")


def _footer(claims: Claims) -> Markup:
    sentence = "Drawn from the certificate and its papers alone. This page proves nothing by itself: check the file."
    return tag("footer", tag("p", f"{sentence} Certificate sha256:{claims.digest}."), class_="quiet")
