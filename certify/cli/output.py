"""Output of commands: tables or JSON to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from certify.assessment.claims import Costs
    from certify.core.progress import Progress
    from certify.workflows.certification_result import Result

F = TypeVar("F", bound=Callable[..., object])
QUIET = "leanmark.quiet"
STDOUT = "leanmark.stdout"


def json_option(command: F) -> F:
    """Add ``--json``, which fills the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")(command)


def print_json(result: Mapping[str, Any]) -> None:
    """Print a JSON object; raise ValueError for infinities and NaN, which are not valid JSON."""
    ctx = click.get_current_context(silent=True)
    # By default Python would write infinity and NaN, which are not JSON.
    click.echo(json.dumps(result, indent=2, allow_nan=False), file=None if ctx is None else ctx.meta.get(STDOUT))


@contextlib.contextmanager
def json_alone(ctx: click.Context) -> Iterator[None]:
    """Send output of other code, such as a user's model, to standard error, so that standard output holds only JSON."""
    ctx.meta[STDOUT] = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_rich(*parts: object) -> None:
    """Print tables and texts separated by blank lines; square brackets in them are not markup."""
    from rich.console import Console

    # Names of models and groups may contain square brackets, which rich would read as markup.
    console = Console(highlight=False, markup=False, emoji=False)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)


def print_result(
    result: Result,
    as_json: bool,
    carbon_intensity: float | None = None,
    embodied: float | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print the outcome of a grading run: before and after, the grade, its cost, and the files written.

    Args:
        result: outcome to print.
        as_json: print JSON instead of tables.
        carbon_intensity: grams of CO2 equivalent per kWh.
        embodied: grams of CO2 equivalent of the device itself, per inference.
        more: further fields of the JSON object.
    """
    from certify.assessments.efficiency.payback import payback
    from certify.attest.certificate import LINEAGE_NAME, read_lineage

    path = result.files.get(LINEAGE_NAME)
    lineage = None if path is None else read_lineage(path)
    paid = payback(result.profile.estimates, lineage, carbon_intensity, embodied, _later(result))
    if as_json:
        print_json({**result.to_json(), "payback": paid.to_json(), **(more or {})})
        return
    from certify.cli.tables import comparison, files, measured, payback_lines, verdict
    from certify.core.text import clean
    from certify.present.predicted_cost import predictions
    from certify.present.statements import of_efficiency
    from certify.present.wording import BETTER_RUNTIME, savings, test_data

    claims = of_efficiency(result.certificate)
    saved = savings(claims)
    runtime = [] if saved is None else [f"{BETTER_RUNTIME} for the untouched original: {saved}."]
    spent = [part for part in (payback_lines(paid),) if part is not None]
    tested = f"Test data: {test_data(claims)}."
    parts = (comparison(claims.figures), verdict(claims.grade, claims.device_class), measured(claims), tested)
    foreseen = map(clean, predictions(lineage, claims.figures))
    print_rich(*parts, *runtime, *foreseen, *spent, files(result.files))


def _later(result: Result) -> Costs:
    """Return joules spent on the model after its lineage was closed, according to valid statements next to it."""
    from certify.assessment.claims import later_costs
    from certify.attest.statements import statement_files
    from certify.attest.verify import verify

    if not statement_files([result.model.parent]):
        return {}
    found = [one.certificate for one in verify(result.model).others if one.valid and one.certificate is not None]
    return later_costs(result.certificate.claims.lineage_digest, (one.claims for one in found))


def carbon_option(command: F) -> F:
    """Add ``--carbon-intensity`` and ``--embodied``, which fill arguments of these names and never affect a grade."""
    grams = click.FloatRange(min=0)
    command = click.option(
        "--embodied", type=grams, metavar="GRAMS",
        help="CO2 equivalent of making the hardware, per inference, to add to the SCI.  [default: excluded]",
    )(command)  # fmt: skip
    return click.option(
        "--carbon-intensity", type=grams, metavar="GRAMS",
        help="CO2 equivalent per kWh; also prints grams and the SCI (ISO/IEC 21031). Never affects the grade.",
    )(command)  # fmt: skip


def quiet_option(command: F) -> F:
    """Add ``--quiet``, which :func:`bars` reads."""
    return click.option("--quiet", is_flag=True, expose_value=False, callback=_keep_quiet, help="Show no progress.")(
        command
    )


def _keep_quiet(ctx: click.Context, _: click.Parameter, quiet: bool) -> None:
    ctx.meta[QUIET] = quiet


def bars() -> Progress:
    """Return progress bars on standard error, or silent ones with ``--quiet``."""
    from certify.core.progress import Bars, Silent

    return Silent() if click.get_current_context().meta.get(QUIET) else Bars()
