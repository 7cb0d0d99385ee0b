"""From a certified file to its report: a page without scripts, with a policy that forbids scripts and requests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from certify.assessment.claims import Claims, contradictions, later_costs, presenting
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.payback import Payback, payback
from certify.core.files import write_text
from certify.core.text import clean, printable
from certify.present import wording
from certify.present.carbon import carbon_sentences
from certify.present.charts.palette import DARK, LIGHT, rules
from certify.present.headline import accuracy_of, energy_of
from certify.present.label import draw
from certify.present.report.lineage import lineage_section
from certify.present.report.machines import machines_section
from certify.present.report.measurement import figures_section, intervals_section, windows_section
from certify.present.report.models import classes_section, nodes_section
from certify.present.report.sections import Section
from certify.present.report.sidecars import Sidecars, read_sidecars
from certify.present.report.statement import statement_section
from certify.present.report.trust import guards_section, settings_section, verify_section


def report(
    path: str | Path,
    *,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    out: str | Path | None = None,
    beside: Iterable[str | Path] = (),
    carbon_intensity: float | None = None,
    embodied: float | None = None,
) -> str:
    """Return a full report on a certified model as one HTML page; equal files give equal text.

    Args:
        path: path of the model file.
        certificate: its certificate. Default: the one sealed into the file, else the one next to it.
        evidence: the evidence file. Default: the one next to the model.
        out: file to also write the page to.
        beside: the same model as certified on other machines; the worst letter is marked.
        carbon_intensity: grams of CO2 equivalent per kWh, to print carbon too.
        embodied: grams of CO2 equivalent of making the hardware, per inference.

    Returns:
        The HTML page.

    Raises:
        UsageError: a named file does not exist.
        CertificateError: there is no certificate, or it is not valid.
        NotDerivedError: there is no evidence from which it follows.

    Example:
        >>> import certify
        >>> certify.report("graded/model.onnx", out="report.html").splitlines()[0]
        '<!DOCTYPE html>'
    """
    text = page(read_sidecars(path, certificate, evidence, beside), carbon_intensity, embodied)
    if out is not None:
        write_text(Path(out), text)
    return text


def page(sidecars: Sidecars, carbon_intensity: float | None = None, embodied: float | None = None) -> str:
    """Return the report on a certificate or refusal; equal sidecar files give equal text.

    Raises:
        CertificateError: the certificate lacks something that the report shows.
        UsageError: the intensity or the embodied emissions are not at least 0.
    """
    claims, others = sidecars.certificate.claims, [other.claims for other in sidecars.others]
    css = style()
    with presenting("a report"):
        if isinstance(claims, EfficiencyClaims):
            later = later_costs(claims.lineage_digest, others)
            paid = payback(claims.figures, sidecars.lineage, carbon_intensity, embodied, later)
            message, sections = _measured(claims), _sections(claims, sidecars, paid)
        else:
            message, sections = {"measured": False, "title": clean(claims.title)}, _stated_sections(claims, sidecars)
        return _template_environment().get_template("report.html.j2").render(
            claims=claims,
            model=clean(claims.model),
            date=wording.date(claims),
            **message,
            contradicted=[contradiction.sentence for contradiction in contradictions((claims, *others))],
            label=Markup(draw(claims, others)),
            sections=[section for section in sections if section is not None],
            style=Markup(css),
            # The policy allows the style by its digest, so that an injected one is ignored.
            style_digest=source_digest(css),
        )  # fmt: skip


def _measured(claims: EfficiencyClaims) -> dict[str, object]:
    """Return content above the sections that only an efficiency certificate has."""
    return {
        "measured": True,
        "title": wording.title(claims),
        "tested_on": wording.tested_on(claims),
        "energy_source": wording.energy_source(claims),
        "energy_source_detail": wording.energy_source_detail(claims),
        "headlines": (energy_of(claims), accuracy_of(claims)),
    }


def _stated_sections(claims: Claims, sidecars: Sidecars) -> Iterator[Section | None]:
    every = (claims, *(other.claims for other in sidecars.others))
    yield from (statement_section(statement, every) for statement in every)
    yield verify_section(claims, sidecars)


def _sections(claims: EfficiencyClaims, sidecars: Sidecars, paid: Payback) -> Iterator[Section | None]:
    yield figures_section(claims)
    yield machines_section(
        claims, [sidecar.claims for sidecar in sidecars.beside if isinstance(sidecar.claims, EfficiencyClaims)]
    )
    yield intervals_section(claims)
    evidence = sidecars.evidence
    yield None if evidence is None else windows_section(claims, evidence)
    yield None if evidence is None else classes_section(claims, evidence)
    yield lineage_section(claims, sidecars.lineage, paid)
    if paid.carbon and not claims.refused:
        yield Section("carbon", "Carbon at the given intensity", list(carbon_sentences(paid)))
    yield None if evidence is None else nodes_section(claims, evidence)
    yield guards_section(claims)
    every = (claims, *(other.claims for other in sidecars.others))
    yield from (statement_section(statement, every) for statement in every[1:])
    yield settings_section(claims)
    yield verify_section(claims, sidecars)


@cache
def _template_environment() -> Environment:
    return Environment(
        loader=PackageLoader("certify.present.report", ""), autoescape=True, undefined=StrictUndefined,
        finalize=_printable, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _printable(value: object) -> object:
    """Strip characters that HTML forbids or that reorder text, before escaping."""
    return value if isinstance(value, Markup) else printable(value)


@cache
def source_digest(text: str) -> str:
    """Return the SHA-256 of a style or script, in Base64, by which a page's security policy allows it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def style() -> str:
    """Return the page's CSS; dark colours are used only on screens, so that prints are dark on white."""
    # Variables instead of colours, so that one stylesheet serves both colour schemes.
    variables = rules({name: f"var(--{name})" for name in LIGHT})
    layout = (files("certify.present.report") / "report.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme:dark){{{_root(DARK)}}}"
    return f"{_root(LIGHT)}\n{dark}\n{variables}\n{layout}"


def _root(colours: Mapping[str, str]) -> str:
    return f":root{{{''.join(f'--{name}:{colour};' for name, colour in colours.items())}}}"
