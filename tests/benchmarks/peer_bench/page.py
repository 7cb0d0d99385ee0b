"""The comparison as Markdown, JSON and SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from certify.core.estimate import Estimate
from certify.present.charts.draw import standalone
from certify.present.charts.intervals import IntervalRow, intervals_chart
from peer_bench.compare import MAKING, Comparison, Row, behind, rows
from peer_bench.limit import precision_of
from peer_bench.making import Artifact
from peer_bench.scores import Score
from peer_bench.times import Group, Time
from peer_bench.verdicts import QUIET_CORES, Range, Verdict, gops

MIB = 2**20
MARK = "†"
NONE = "–"
INTERVAL = "Wilson score interval, 95 %"


def markdown(head: Mapping[str, str], found: Sequence[Comparison]) -> str:
    """Return the page: the machine, then each model's tables."""
    parts = [*(f"- {name}: {value}" for name, value in head.items()), ""]
    for one in found:
        parts += [f"## {one.job.model}", "", *_files(one), *_scores(one), *_times(one), *_places(one)]
    return "\n".join(parts)


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown, with an empty line after it; nothing without lines."""
    body = ["| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in line) + " |" for line in lines]
    return ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles), *body, ""] if body else []


def _files(found: Comparison) -> list[str]:
    def line(one: Artifact) -> tuple[str, ...]:
        if one.file is None:
            return one.title, one.settings, one.version or NONE, one.why_not, NONE, NONE, NONE
        mark = MARK if _busy(one) else ""
        wall = NONE if one.wall_s is None else f"{one.wall_s:.1f}{mark}"
        cpu = NONE if one.cpu_s is None else f"{one.cpu_s:.1f}{mark}"
        memory = NONE if one.peak_bytes is None else f"{one.peak_bytes / MIB:,.0f}"
        return one.title, one.settings, one.version or NONE, f"{one.bytes:,}", wall, cpu, memory

    titles = ("file", "settings", "version", "bytes", "made in s", "CPU s", "peak MiB")
    noted = (
        f"{MARK} other processes used more than {QUIET_CORES:.2f} of a core meanwhile, so the times may be too long."
    )
    made = table(titles, map(line, found.artifacts))
    return [*made, noted, ""] if any(MARK in each for each in made) else made


def _busy(one: Artifact) -> bool:
    """Return whether others used the machine while a file was made, or may have."""
    return one.wall_s is not None and (one.foreign_cores is None or one.foreign_cores > QUIET_CORES)


def _scores(found: Comparison) -> list[str]:
    def line(runtime: str, name: str, score: Score | str) -> tuple[str, ...]:
        title = _title(found, name)
        if isinstance(score, str):
            return runtime, title, f"not measured: {score}", NONE, NONE, NONE
        return (
            runtime, title, _percent(score.accuracy), _percent(score.agreement), f"{score.cosine:.4f}",
            f"{score.least_cosine:.3f}",
        )  # fmt: skip

    titles = ("runtime", "file", "accuracy, %", "agreement with the float file, %", "mean cosine", "least")
    lines = [line(runtime, name, score) for (runtime, name), score in found.scores.items()]
    if not lines:
        return ["Accuracy: not measured, since the weights are random.", ""]
    return table(titles, lines)


def _times(found: Comparison) -> list[str]:
    titles = ("runtime", "threads", "batch", "file", "ms", "CPU ms", "modelled mJ", "of the limit")
    return table(titles, (line for group in found.groups for line in _group(found, group)))


def _group(found: Comparison, group: Group) -> Iterator[tuple[str, ...]]:
    place = group.runtime, str(group.threads), str(group.batch)
    if group.refused is not None:
        yield (*place, "all", f"not measured: {group.refused}", NONE, NONE, NONE)
    for name, taken in group.times.items():
        title, energy = _title(found, name), f"~{taken.energy_mj.median:.3g}"
        yield (*place, title, _range(taken.wall_ms), _range(taken.cpu_ms), energy, _of_limit(found, group, name, taken))
    for name, why in group.failed.items():
        yield (*place, _title(found, name), f"failed: {why}", NONE, NONE, NONE)


def _title(found: Comparison, name: str) -> str:
    """Return the title of a file; its name if it is not one of the artifacts."""
    return name if (one := found.artifact(name)) is None else one.title


def _of_limit(found: Comparison, group: Group, name: str, taken: Time) -> str:
    limit = found.limits.get(group.threads, {}).get(precision_of(name, group.runtime))
    if limit is None:
        return NONE
    own = found.artifact(name)
    macs = found.job.macs if own is None or own.macs is None else own.macs
    return f"{gops(macs, group.batch, taken.wall_ms.median) / limit:.0%}"


def _places(found: Comparison) -> list[str]:
    def line(row: Row, verdict: Verdict) -> tuple[str, ...]:
        peer = _title(found, row.peer)
        figure = row.figure + (MARK if noisy and row.figure == MAKING else "")
        return figure, row.runtime or NONE, peer, verdict.word, _by(row.figure, verdict)

    noisy = any(_busy(one) for one in found.artifacts)
    lost = behind(found)
    titles = ("figure", "runtime", "peer", "leanmark is", "by")
    said = f"Rows in which a peer is ahead: {len(lost)}."
    judged = [line(row, row.verdict) for row in rows(found) if row.verdict is not None]  # without refused times
    return [*table(titles, judged), said, ""]


def _by(figure: str, verdict: Verdict) -> str:
    if figure in ("accuracy", "agreement"):
        return f"{100 * verdict.by:+.2f} points"
    return f"{verdict.by:.2f} times the peer's"


def _percent(share: Any) -> str:
    return f"{100 * share.value:.2f} [{100 * share.low:.2f}, {100 * share.high:.2f}]"


def _range(values: Range) -> str:
    return f"{values.median:.3f} [{values.low:.3f}, {values.high:.3f}]"


def as_json(head: Mapping[str, str], found: Sequence[Comparison]) -> dict[str, Any]:
    """Return the same figures for programs; what was not measured is null with a reason."""
    return {"about": dict(head), "models": [_model(one) for one in found]}


def _model(found: Comparison) -> dict[str, Any]:
    def artifact(one: Artifact) -> dict[str, Any]:
        return {**asdict(one), "file": None if one.file is None else one.file.name}

    def score(runtime: str, name: str, one: Score | str) -> dict[str, Any]:
        if isinstance(one, str):
            return {"runtime": runtime, "file": name, "not_measured": one}
        kept = {key: asdict(getattr(one, key)) for key in ("accuracy", "agreement")}
        return {"runtime": runtime, "file": name, "n": len(one.right), **kept, "cosine": one.cosine,
                "least_cosine": one.least_cosine}  # fmt: skip

    return {
        "model": found.job.model,
        "macs": found.job.macs,
        "files": [artifact(one) for one in found.artifacts],
        "scores": [score(runtime, name, one) for (runtime, name), one in found.scores.items()],
        "times": [asdict(group) for group in found.groups],
        "limits_gops": {str(threads): dict(rates) for threads, rates in found.limits.items()},
        "places": [asdict(row) for row in rows(found)],
    }


def svg(found: Comparison, runtime: str) -> str | None:
    """Draw each file's agreement with the float file in a runtime, with its interval; None without scores."""
    lines = []
    for one in found.artifacts[1:]:  # the first is the float file itself
        if isinstance(score := found.scores.get((runtime, one.name)), Score):
            shown = score.agreement
            estimate = Estimate(100 * shown.value, 100 * shown.low, 100 * shown.high, "%", len(score.same), INTERVAL)
            lines.append(IntervalRow(one.name, estimate, f"{100 * shown.value:.1f} %", is_baseline=not one.own))
    title = f"{found.job.model} in {runtime}: top classes equal to the float file's"
    drawn = intervals_chart(f"agreement-{found.job.model}", title, lines)
    return None if drawn is None else standalone(drawn)
