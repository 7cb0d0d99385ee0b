"""Hugging Face: the README.md of a model, metadata with a model-index in front and a readable body.

The metadata is written by huggingface_hub (https://huggingface.co/docs/hub/model-cards). The body is plain Markdown:
no template engine sees a text of the certificate, and what a text could do in Markdown or HTML is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from certify.core.text import clean
from certify.estimate import Estimate
from certify.export.source import Source
from certify.export.wording import figure, levelled, subject_matter, unmetered_sentence
from certify.present.numbers import interval, quantity, significant

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LIBRARIES = {"onnx": "onnx", "pt2": "pytorch"}
"""Library that runs the file, by its ending."""

UNITS = {"1": "", "1/s": "/s"}
INDEX = {
    "accuracy_candidate": "accuracy",
    "agreement": "agreement",
    "relative_loss_percent": "relative_loss_percent",
    "energy_ratio": "energy_ratio",
    "energy_j_candidate": "energy_j",
    "duration_ratio": "duration_ratio",
    "latency_p50_s_candidate": "latency_p50_s",
    "macs_candidate": "macs",
    "parameters_candidate": "parameters",
    "bytes_candidate": "bytes",
}
"""Estimates that are about this model, with the names under which they enter the model-index."""

MARKDOWN = re.compile(r"([\\`*_\[\]|~#])")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def write(source: Source) -> str:
    """The README.md."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        model_name=clean(source.take("model", "name")),
        library_name=LIBRARIES.get(source.subject_name().rpartition(".")[2]),
        pipeline_tag=_task(source),
        tags=["leanmark", "energy-efficiency"],
        eval_results=list(_results(source)),
    )
    return f"---\n{metadata.to_yaml(line_break=chr(10))}\n---\n\n" + "\n".join(_body(source)) + "\n"


def _task(source: Source) -> str:
    return f"{subject_matter(source)}-classification"


def _results(source: Source) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    data = source.take("data", "name")
    for name, metric in INDEX.items():
        path = ("profile", "estimates", name)
        if source.look(*path) is None:
            continue
        yield EvalResult(
            task_type=_task(source),
            dataset_type=_NOT_A_NAME.sub("-", data) or "unknown",
            dataset_name=clean(data),
            dataset_split="test",
            metric_type=metric,
            metric_name=levelled(name, source.take(*path, "evidence")),
            metric_value=source.take(*path, "value"),
        )


def _body(source: Source) -> Iterator[str]:
    yield f"# {safe(source.take('model', 'name'))}"
    yield ""
    yield from _verdict(source)
    yield from _section("Figures", _figures(source))
    yield from _section("How it was measured", _circumstances(source))
    yield from _section("Guards", _guards(source))
    yield from _section("To be known", [f"- {safe(note)}" for note in source.take("grade", "notes")])
    yield from _section("Check it", _check(source))


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    if listed := list(lines):
        yield from ("", f"## {title}", "", *listed)


def _verdict(source: Source) -> Iterator[str]:
    edition = f"edition {safe(source.take('edition', 'name'))}"
    if source.take("outcome") == "refused":
        yield f"**Not graded** by leanmark ({edition}):"
        yield ""
        yield from (f"- {safe(reason)}" for reason in source.take("grade", "reasons"))
    else:
        score, upper, loss = (figure(source.take("grade", key)) for key in ("score_db", "upper_ratio", "loss_percent"))
        grade = safe(source.take("grade", "text"))
        yield f"**Grade {grade}** by leanmark ({edition}): {score} dB, from an energy ratio of at most {upper}"
        yield f"and a relative accuracy loss of at most {loss} %, both upper ends of intervals."
    if source.unmetered:
        yield ""
        yield f"**{safe(unmetered_sentence(source))}**"


def _figures(source: Source) -> Iterator[str]:
    """A table of all estimates, rounded for people: ends of intervals outward."""
    yield "| figure | value | interval | n | evidence |"
    yield "|---|---|---|---|---|"
    for name in source.estimates():
        path = ("profile", "estimates", name)
        fields = {key: source.take(*path, key) for key in ("value", "low", "high", "unit", "n", "evidence")}
        estimate = Estimate.from_json({**fields, "method": ""})
        unit = UNITS.get(estimate.unit, estimate.unit)
        value, ends = quantity(estimate.value, unit), interval(estimate, unit)
        if unit == "%":  # takes no prefix
            value, ends = f"{significant(estimate.value, 3)} %", interval(estimate, "")
        cells = [name, value, ends, estimate.n, fields["evidence"]]
        yield f"| {' | '.join(safe(cell) for cell in cells)} |"


def _circumstances(source: Source) -> Iterator[str]:
    parts: dict[str, Any] = {
        "Measured": source.take("created"),
        "By": f"leanmark {source.take('leanmark')}",
        "Baseline": source.take("baseline", "origin"),
        "Test data": source.take("data"),
        "Device": source.take("device"),
        "Workload": source.take("workload"),
        "Energy": source.take("meter") or "No meter could be used on this device.",
        "Preprocessing": source.take("preprocess"),
        "Measurements of this pair logged": source.take("attempts"),
    }
    for name, value in parts.items():
        yield f"- {name}: {safe(_plain(value))}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return figure(value)


def _guards(source: Source) -> Iterator[str]:
    for path, _ in source.guards():
        guard = source.take(*path)
        yield f"- {safe(guard['name'])}: **{safe(guard['outcome'])}**. {safe(guard['sentence'])}"


def _check(source: Source) -> Iterator[str]:
    files = {
        source.subject_name(): source.file_digest(),
        "certificate.json": source.digest,
        "evidence.jsonl": source.take("evidence", "sha256"),
    }
    command = f"leanmark verify {source.subject_name()}"
    yield f"This page repeats a signed certificate. `{command}` checks the certificate itself."
    yield ""
    yield from (f"- {safe(name)}: SHA-256 `{safe(digest)}`" for name, digest in files.items())
    algorithm, key = (safe(source.take("signer", name)) for name in ("algorithm", "public_key"))
    yield f"- signed with the {algorithm} key `{key}`"


def safe(words: object) -> str:
    """A line of text that is nothing but text in Markdown, and in the HTML that Markdown lets through."""
    return MARKDOWN.sub(r"\\\1", html.escape(clean(words), quote=False))
