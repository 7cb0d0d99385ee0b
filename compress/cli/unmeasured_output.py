"""Output of jobs that measure nothing: the plan of a job, or what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from certify.cli.output import print_json, print_rich
from certify.core.estimate import Estimate
from certify.core.text import clean

if TYPE_CHECKING:
    from compress.job.compression_result import CompressionResult
    from compress.job.dry_run import JobPlan, PlannedPass

UNITS = {"macs": "MACs", "parameters": "parameters"}


def print_plan(plan: JobPlan, as_json: bool) -> None:
    """Print the plan of a job."""
    if as_json:
        print_json(plan.to_json())
        return
    from certify.cli.tables import single

    counts = ", ".join(f"{count} {part}" for part, count in plan.data["counts"].items() if count)
    measured = "Nothing would be measured."
    if plan.measured is not None:
        measured = "Measured: batch {batch} in {runtime}, for {time_limit_s:g} s or the minimum number of blocks."
        measured = measured.format(**plan.measured)
    weights = f"{plan.origin}; a baseline is trained first" if plan.trained_here else plan.origin
    print_rich(
        _lines(f"{plan.model}: {weights}.", f"Data: {plan.data['name']} ({counts})."),
        _lines(f"Preprocessing: {plan.preprocess}.", f"Target: {plan.target}."),
        single(_figures(plan.size, "candidate")),
        _lines(*(_line(number, each) for number, each in enumerate(plan.passes, start=1))),
        _lines(measured, f"Folder: {plan.out}.", "This was a dry run: nothing was trained, measured or written."),
    )


def _line(number: int, planned: PlannedPass) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in planned.config.items()) or "defaults"
    if planned.left_out is not None:
        return f"{number}. {planned.name}: skipped, {planned.left_out}."
    targets = ", ".join(_target(name, value) for name, value in planned.asked.items())
    return f"{number}. {planned.name} ({settings})" + (f": target about {targets}." if targets else ".")


def _target(name: str, value: float) -> str:
    from certify.cli.tables import quantity

    if name in ("energy", "latency"):
        return f"{value:g} of the original's {name} in the precision that ships"
    return quantity(value, "B") if name == "bytes" else f"{quantity(value, '')} {UNITS[name]}"


def print_outputs(result: CompressionResult, as_json: bool) -> None:
    """Print what a job made, and the command that certifies it."""
    if as_json:
        print_json(result.to_json())
        return
    from certify.cli.tables import comparison, files

    baseline, rows = result.lineage.baseline, result.lineage.rows
    after, accuracy = (rows[-1].facts, rows[-1].validation_accuracy) if rows else (baseline.facts, None)
    parts = [comparison({**_figures(baseline.facts, "baseline"), **_figures(after, "candidate")})]
    sentences = [
        f"{row.name} skipped: {each['why']}."
        for row in rows
        if not row.record["done"]
        # The first reason explains why the pass did nothing; later ones are about single layers.
        for each in row.record["declined"][:1]
    ]
    if accuracy is not None and baseline.validation_accuracy is not None:
        shares = f"{100 * baseline.validation_accuracy:.1f} % before, {100 * accuracy:.1f} % after"
        sentences.append(f"Accuracy on validation samples: {shares}.")
    sentences.append("Nothing was measured. Certify it, here or where it will run, with:")
    print_rich(*parts, files(result.files), _lines(*sentences))
    click.echo(f"  {clean(result.certify_command)}")


def _lines(*sentences: str) -> str:
    return "\n".join(map(clean, sentences))


def _figures(size: Any, arm: str) -> dict[str, Estimate]:
    units = {"macs": "1", "parameters": "1", "bytes": "B"}
    return {f"{name}_{arm}": Estimate.exact(getattr(size, name), unit, "count") for name, unit in units.items()}
