"""Command-line options that say how to measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certify.measure.plan import MAX_THREADS

if TYPE_CHECKING:
    from certify.measure.plan import Plan

F = TypeVar("F", bound=Callable[..., object])

RUNTIME_NAMES = (
    "onnxruntime-cpu, onnxruntime-cuda, onnxruntime-tensorrt, openvino, openvino-bf16, torch-cuda, or auto for the "
    "cheapest installed one for each model"
)
"""Written out, so that printing help does not import the runtimes."""

OF_OTHERS = "a plug-in by name or as package.module:Name"

DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smh]?)")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Parse ``600``, ``90s``, ``10m`` or ``1.5h`` into seconds.

    Example:
        >>> duration("1.5h"), duration("90")
        (5400.0, 90.0)
    """
    match = DURATION.fullmatch(text.strip())
    # Zero would measure nothing.
    if match is None or float(match["number"]) == 0:
        raise click.BadParameter(f"'{text}' is not a positive duration such as 600, 90s, 10m or 1.5h.")
    return float(match["number"]) * SECONDS[match["unit"]]


# Click shows the name of a parser as the type of its value.
duration.__name__ = "duration"

_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    (
        "threads",
        "threads",
        click.IntRange(1, MAX_THREADS),
        "Intra-op threads of both models.  [default: the cheapest number for each]",
    ),
    ("batch", "batch", int, "Samples per inference.  [default: 1]"),
    (
        "time-limit",
        "time_limit_s",
        duration,
        "Time limit of the main run, such as 90, 90s or 2m; the minimum number of blocks always runs.  [default: 90s]",
    ),
    (
        "precision",
        "precision",
        click.FloatRange(0, 100, min_open=True, max_open=True),
        "Target half-width of the energy ratio's interval, in percent.  [default: 5]",
    ),
    ("runtime", "runtime", str, f"Runtime of the models: {RUNTIME_NAMES}; {OF_OTHERS}.  [default: onnxruntime-cpu]"),
    (
        "meter",
        "meter",
        str,
        f"Energy meter; {OF_OTHERS}.  [default: the best usable built-in one, see leanmark meters]",
    ),
    ("seed", "seed", click.IntRange(0, 2**31 - 1), "Seed of every random choice.  [default: 0]"),
    ("metric", "metric", str, f"Graded metric: top1, top5 or regression:SCALE; {OF_OTHERS}.  [default: top1]"),
)


MEASURING = tuple(name for _, name, _, _ in _FLAGS if name not in ("seed", "metric"))
"""Arguments of these options that have no effect unless something is measured (passes also use seed and metric)."""


def plan_options(command: F) -> F:
    """Add the options of a Plan; :func:`take_plan` reads them."""
    return plan_options_but()(command)


def plan_options_but(*own: str) -> Callable[[F], F]:
    """Add the options of a Plan except those that the command defines itself, which must fill the same arguments."""

    def add(command: F) -> F:
        # Reversed, because each decorator adds its option before the existing ones.
        for flag, name, kind, help_text in reversed(_FLAGS):
            if name not in own:
                command = click.option(f"--{flag}", name, type=kind, help=help_text)(command)
        return command

    return add


def take_plan(arguments: dict[str, Any], **usual: Any) -> Plan:
    """Remove the plan's options from a command's arguments and return the plan.

    Args:
        arguments: the command's arguments by name.
        usual: fields of the plan that apply unless the user set them.

    Raises:
        UsageError: a value is out of range, or the runtime is unknown or not installed.
    """
    from certify.measure import runtimes
    from certify.measure.plan import Plan

    settings = {name: arguments.pop(name) for _, name, _, _ in _FLAGS}
    fields = {**usual, **{name: value for name, value in settings.items() if value is not None}}
    if "precision" in fields:
        # The command line states percent, and the plan a fraction.
        fields["wanted_half_width"] = fields.pop("precision") / 100
    # Checked here, so that a misspelt runtime is reported before data are loaded.
    if "runtime" in fields:
        runtimes.check(fields["runtime"])
    return Plan(**fields)
