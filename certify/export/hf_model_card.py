"""Hugging Face: README.md of a model, with a model-index in its metadata and a readable body.

The metadata are written by huggingface_hub (https://huggingface.co/docs/hub/model-cards). The body is plain Markdown:
no text of the certificate passes through a template engine, and Markdown or HTML in it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate
from certify.core.text import clean
from certify.export.card_sections import declared_in, group_claims, safe, sections
from certify.export.source import ExportSource
from certify.export.wording import figure, levelled, number, signed_fields, subject_matter, unmetered_sentence
from certify.present.numbers import interval, quantity, significant

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

NAMES = EfficiencyClaims.names

LIBRARIES = {"onnx": "onnx", "pt2": "pytorch"}
"""Library that runs the file, by its suffix."""

UNITS = {"1": "", "1/s": "/s"}
INDEX = (
    NAMES.accuracy, NAMES.agreement, NAMES.relative_loss_percent, NAMES.energy_ratio, NAMES.energy_j,
    NAMES.duration_ratio, NAMES.latency_p50_s, NAMES.macs, NAMES.parameters, NAMES.bytes,
)  # fmt: skip
"""Estimates about this model; those per model are listed without the arm in the model-index."""

INCLUDED = (
    "subject.*.name", "subject.*.digest.sha256", "leanmark", "created", "model.name", "edition.name", "outcome",
    "grade.reasons", "grade.notes", "profile.estimates.*.value", "profile.estimates.*.low", "profile.estimates.*.high",
    "profile.estimates.*.unit", "profile.estimates.*.n", "profile.estimates.*.evidence", "profile.guards", "data",
    "device", "workload", "meter", "preprocess", "baseline.origin", "attempts", "evidence.sha256", "signer",
)  # fmt: skip
"""Fields of the statement that the document contains."""

INCLUDED_IF_GRADED = ("grade.text", "grade.point_letter", "grade.score_db", "grade.upper_ratio", "grade.loss_percent")

CELL, CELL_FIGURES = "cell_", ("_change_points", "_candidate")
# Identifiers on the Hub have no other characters.
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def write(source: ExportSource) -> str:
    """Return the README.md."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        model_name=clean(source.claims.model),
        library_name=LIBRARIES.get(source.subject.rpartition(".")[2]),
        **_described(source.claims, group_claims(source)),
    )
    # A fixed line break, so that equal input gives equal text on every platform.
    return f"---\n{metadata.to_yaml(line_break=chr(10))}\n---\n\n" + "\n".join(_body(source)) + "\n"


def _described(claims: Claims, groups: Claims | None) -> dict[str, Any]:
    """Return task and results of an efficiency certificate; nothing for another statement."""
    if not isinstance(claims, EfficiencyClaims):
        return {"tags": ["leanmark"]}
    tags = ["leanmark", "energy-efficiency"]
    return {
        "pipeline_tag": _task(claims),
        "tags": tags,
        "eval_results": [*_results(claims), *_by_group(claims, groups)],
    }


def _task(claims: EfficiencyClaims) -> str:
    return f"{subject_matter(claims)}-classification"


def _results(claims: EfficiencyClaims) -> Iterator[EvalResult]:
    for metric in INDEX:
        name = metric("candidate") if callable(metric) else metric
        estimate = claims.figures.get(name)
        if estimate is not None:
            yield _result(claims, str(metric), levelled(name, estimate), estimate)


def _by_group(claims: EfficiencyClaims, groups: Claims | None) -> Iterator[EvalResult]:
    """Yield the error rate of every published cell of people, and its change."""
    if groups is None:
        return
    for name, estimate in groups.figures.items():
        if name.startswith(CELL) and name.endswith(CELL_FIGURES):
            yield _result(claims, name, clean(groups.words.get(name, name)), estimate)


def _result(claims: EfficiencyClaims, metric: str, name: str, estimate: Estimate) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=_task(claims),
        dataset_type=_NOT_A_NAME.sub("-", claims.data.name) or "unknown",
        dataset_name=clean(claims.data.name),
        dataset_split="test",
        metric_type=metric,
        metric_name=name,
        metric_value=number(estimate.value),
    )


def _body(source: ExportSource) -> Iterator[str]:
    claims, declared = source.claims, declared_in(source)
    yield f"# {safe(claims.model)}"
    yield ""
    if isinstance(claims, EfficiencyClaims):
        yield from _graded(claims)
    else:
        yield from _statement(claims)
    for title, lines in sections(source):
        yield from _section(title, lines)
    for other in source.others:
        if other.claims is not declared:  # declarations have separate sections
            yield from _section(safe(other.claims.title), _statement(other.claims))
    if isinstance(claims, EfficiencyClaims):
        yield from _section("Notes", [f"- {safe(note)}" for note in claims.grade.notes])
    yield from _section("How to check it", _check(source))


def _graded(claims: EfficiencyClaims) -> Iterator[str]:
    guards = [
        f"- {safe(finding.name)}: **{safe(finding.outcome)}**. {safe(finding.sentence)}" for finding in claims.findings
    ]
    yield from _verdict(claims)
    yield from _section("Figures", _figures(claims))
    yield from _section("How it was measured", _circumstances(claims))
    yield from _section("Guards", guards)


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    if listed := list(lines):
        yield from ("", f"## {title}", "", *listed)


def _verdict(claims: EfficiencyClaims) -> Iterator[str]:
    edition, grade = f"edition {safe(claims.edition.name)}", claims.grade
    if claims.refused:
        yield f"**Not graded** by leanmark ({edition}):"
        yield ""
        yield from (f"- {safe(reason)}" for reason in grade.reasons)
    else:
        score, upper, loss = map(figure, (grade.score_db, grade.upper_ratio, grade.loss_percent))
        letter = safe(claims.text)
        yield f"**Grade {letter}** by leanmark ({edition}): {score} dB, from an energy ratio of at most {upper}"
        yield f"and a relative accuracy loss of at most {loss} %, both upper ends of intervals."
        yield f"At the measured point it would be {safe(grade.point_letter)}."
    if claims.meter is not None and claims.unmetered:
        yield ""
        yield f"**{safe(unmetered_sentence(claims.meter))}**"


def _statement(claims: Claims) -> Iterator[str]:
    """Yield a further statement: its outcome, figures, findings, and limits."""
    yield f"**{safe(claims.text)}** (edition {safe(claims.edition.name)})"
    yield ""
    yield from (f"- {safe(sentence)}" for sentence in (*claims.reasons, *claims.notes, *claims.limits))
    yield from (
        f"- {safe(finding.name)}: **{safe(finding.outcome)}**. {safe(finding.sentence)}" for finding in claims.findings
    )
    if claims.figures:
        yield ""
        yield from _figures(claims)


def _figures(claims: Claims) -> Iterator[str]:
    """Yield a table of all estimates, rounded for display: interval ends outward."""
    yield "| figure | value | interval | n | evidence |"
    yield "|---|---|---|---|---|"
    for name, estimate in claims.figures.items():
        unit = UNITS.get(estimate.unit, estimate.unit)
        value, ends = quantity(estimate.value, unit), interval(estimate, unit)
        # Otherwise an interval in percent would get an SI prefix.
        if unit == "%":  # has no SI prefix
            value, ends = f"{significant(estimate.value, 3)} %", interval(estimate, "")
        cells = [claims.words.get(name, name), value, ends, estimate.n, estimate.evidence.value]
        yield f"| {' | '.join(safe(cell) for cell in cells)} |"


def _circumstances(claims: EfficiencyClaims) -> Iterator[str]:
    no_meter = "No meter was available on this device."
    parts: dict[str, Any] = {
        "Measured": claims.created,
        "By": f"leanmark {claims.leanmark}",
        "Baseline": claims.baseline.provenance,
        "Test data": claims.data.to_json(),
        "Device": claims.device,
        "Workload": signed_fields(claims.workload),
        "Energy": no_meter if claims.meter is None else signed_fields(claims.meter),
        "Preprocessing": claims.preprocess,
        "Measurements of this pair, at least": claims.attempts,
    }
    for name, value in parts.items():
        yield f"- {name}: {safe(_plain(value))}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return figure(value)


def _check(source: ExportSource) -> Iterator[str]:
    signer = source.claims.signer
    files = {source.subject: source.file_digest, **source.files}
    command = f"leanmark verify {source.subject}"
    yield f"This page repeats a signed certificate. To check the certificate itself, run `{command}`."
    yield ""
    yield from (f"- {safe(name)}: SHA-256 `{safe(digest)}`" for name, digest in files.items())
    yield f"- signed with the {safe(signer.algorithm)} key `{safe(signer.public_key)}`"
