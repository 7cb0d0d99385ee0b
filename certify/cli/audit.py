"""``leanmark audit``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, ModelPath, auditor_options, take_use, trust_option, use_options
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.cli.plan import plan_options, take_plan
from certify.cli.values import OutFile
from certify.core import exit_codes

if TYPE_CHECKING:
    from rich.table import Table

    from certify.assessment.agreement import Agreement
    from certify.attest.audit import Audit
    from certify.core.evidence import Evidence

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark audit graded/model.onnx
leanmark audit graded/model.onnx --remeasure --data imagefolder:photos --keep remeasured.jsonl
""",
)
@click.argument("file", type=ModelPath())
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@trust_option
@click.option("--remeasure", is_flag=True, help="Also measure FILE and its baseline.onnx again on this machine.")
@click.option("--data", help="Data specification of the same test samples, for --remeasure.")
@click.option("--fresh-data", help="Data of the same classes, unseen by the maker; also scored by --remeasure.")
@click.option("--keep", type=OutFile(), help="File for the new evidence.")
@click.option("--verbose", is_flag=True, help="Print every figure, guard and check, signed and derived.")
@use_options
@auditor_options
@plan_options
@quiet_option
@json_option
def command(
    file: Path,
    certificate: Path | None,
    evidence: Path | None,
    trust: tuple[str, ...],
    remeasure: bool,
    data: str | None,
    fresh_data: str | None,
    keep: Path | None,
    verbose: bool,
    auditor_file: tuple[Path, ...],
    auditor_key: Path | None,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Recompute all intervals, guards and the letter of FILE's certificate from its evidence, and compare.

    The verdict comes first, then everything that does not follow from the evidence; --verbose prints every comparison.
    With --remeasure, both models are then measured again on this machine and the differences are tested: accuracy per
    sample, energy by its ratio. Exit code 0: everything agrees. 1: something differs or could not be confirmed. 2:
    usage error. 4: everything agrees, but the signing key is not one you trust. 5: the evidence is missing or
    unreadable.
    """
    from certify.attest.audit import audit
    from certify.attest.auditor import Access

    if remeasure != (data is not None):
        raise click.UsageError(
            "--remeasure and --data need each other: the models are measured on the same test samples."
        )
    if fresh_data is not None and not remeasure:
        raise click.UsageError("--fresh-data needs --remeasure and --data; add both.")
    if keep is not None and not remeasure:
        raise click.UsageError("--keep writes new evidence, which only --remeasure produces; add --remeasure.")
    purpose = {name: arguments.pop(name) for name in ("purpose", "recipient")}
    use = take_use({**purpose, "data_key": auditor_key})
    plan = take_plan(arguments)
    access = Access.from_options(auditor_file, auditor_key)
    found = audit(file, certificate, evidence, trust, access)
    agreement = None
    if data is not None:
        from certify.workflows.remeasurement import remeasure as measure_again

        key = None if access is None else access.key
        with use:
            again = measure_again(
                file, found.certificate, data, plan, progress=bars(), fresh_data=fresh_data, data_key=key
            )
        # Kept before the comparison, so that an error there does not lose hours of measuring.
        _keep(again, keep)
        agreement = found.certificate.assessment.agreement(found.evidence, again, found.edition)
    if as_json:
        print_json({**found.to_json(), "remeasured": None if agreement is None else agreement.to_json()})
    else:
        print_rich(*_audit_parts(found, verbose), *(() if agreement is None else agreement_parts(agreement)))
    confirmed = agreement is None or agreement.agrees
    click.get_current_context().exit(found.exit_code if confirmed else exit_codes.FAILED)


def _keep(evidence: Evidence, place: Path | None) -> None:
    from certify.core.evidence_file import write_evidence

    if place is not None:
        write_evidence(evidence, place)


def _audit_parts(found: Audit, verbose: bool) -> list[object]:
    """Return the verdict and its grounds: everything if verbose, else only differences, failures and notes."""
    from certify.core.finding import legend
    from certify.core.text import clean, wrapped

    parts = [clean(found.verdict), *_derived_parts(found, verbose)]
    for other in found.others:
        derived = list(_derived_parts(other, verbose))
        parts += [clean(f"{other.certificate.claims.title}:"), *derived] if derived else []
    checks = [check for check in found.checks if verbose or check.outcome in ("fail", "note")]
    message = "\n".join([*map(wrapped, checks), f"({legend(checks)})"]) if checks else None
    rest = None if verbose else "To see every figure, guard and check, run leanmark audit --verbose."
    return [part for part in (*parts, message, rest) if part is not None]


def _derived_parts(found: Audit, verbose: bool) -> Iterator[object]:
    """Yield tables of a statement's figures, guards and outcome, signed and derived: all, or only what differs."""
    from certify.core.text import clean

    figures = _table("figure", "signed", "derived", "difference")
    for row in (row for row in found.figures if verbose or row.match == "differs"):
        difference = "–" if row.difference is None else f"{row.difference:.1g}"
        signed, derived = _estimate(row.signed), _estimate(row.derived)
        # A derived figure that prints the same is not repeated; the difference column shows its last digits.
        derived = "same" if derived == signed else derived
        figures.add_row(clean(row.name), signed, derived, difference, _mark(row.match))
    result = found.certificate.assessment.result
    guards, outcome = (_table(name, "signed", "derived") for name in ("guard", result))
    for row in (row for row in found.guards if verbose or row.match == "differs"):
        guards.add_row(clean(row.name), clean(str(row.signed)), clean(str(row.derived)), _mark(row.match))
    for row in (row for row in found.result if verbose or row.match == "differs"):
        outcome.add_row(row.name, _plain(row.signed), _plain(row.derived), _mark(row.match))
    yield from (table for table in (figures, guards, outcome) if table.row_count)


def agreement_parts(agreement: Agreement) -> list[object]:
    """Return the comparison of a new measurement with the certified one, ready to print."""
    from certify.core.text import clean

    table = _table("measured again", "certified", "now", "difference")
    for figure in agreement.figures:
        estimates = (str(figure.certified), str(figure.found), str(figure.difference))
        table.add_row(figure.name, *estimates, figure.outcome)
    sentences = [f"{figure.name}: {figure.sentence}" for figure in agreement.figures]
    for arm, digests in agreement.changed.items():
        listed = ", ".join(digest[:12] for digest in digests[:5]) + (" ..." if len(digests) > 5 else "")
        sentences.append(f"{arm}: {len(digests)} samples changed their top-1 class{': ' if digests else ''}{listed}.")
    sentences.append(f"Graded on its own, the new measurement gives {agreement.text}.")
    return [table, "\n".join(clean(sentence) for sentence in sentences), clean(agreement.verdict)]


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        # The first column is never folded, because readers search for names.
        table.add_column(heading, overflow="fold", no_wrap=heading == headings[0])
    table.add_column("")
    return table


def _estimate(values: dict[str, Any] | None) -> str:
    from certify.core.estimate import Estimate

    return "–" if values is None else str(Estimate.from_json(values))


def _plain(value: Any) -> str:
    from certify.core.text import clean

    if isinstance(value, list):
        return f"{len(value)} sentences"
    return "–" if value is None else clean(f"{value:.9g}" if isinstance(value, float) else str(value))


def _mark(match: str) -> str:
    return {"same": "=", "reworded": "= (reworded)", "differs": "DIFFERS"}[match]
