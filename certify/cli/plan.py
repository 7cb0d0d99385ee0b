"""How to measure, on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from certify.measure.plan import Plan

F = TypeVar("F", bound=Callable[..., object])

RUNTIME_NAMES = (
    "onnxruntime-cpu, onnxruntime-cuda, onnxruntime-tensorrt, openvino, openvino-bf16, torch-cuda, or auto for the "
    "cheapest of those installed for each model"
)
"""Written out, so that help needs no import of the runtimes."""

OF_OTHERS = "one of another package by its name or package.module:Name"

DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smh]?)")
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds of ``600``, ``90s``, ``10m`` or ``1.5h``."""
    match = DURATION.fullmatch(text.strip())
    if match is None or float(match["number"]) == 0:
        raise click.BadParameter(f"'{text}' is not a length of time above 0 such as 600, 90s, 10m or 1.5h.")
    return float(match["number"]) * SECONDS[match["unit"]]


duration.__name__ = "duration"

_FLAGS: tuple[tuple[str, str, Any, str], ...] = (
    (
        "threads",
        "threads",
        click.IntRange(1, 1024),
        "Intra-op threads of both models [for each the number at which it is cheapest].",
    ),
    ("batch", "batch", int, "Samples in one inference [1]."),
    (
        "time-limit",
        "time_limit_s",
        duration,
        "Longest that the main run may take, such as 90, 90s or 2m [90s]; the fewest blocks are measured anyway.",
    ),
    (
        "precision",
        "precision",
        click.FloatRange(0, 100, min_open=True, max_open=True),
        "Half-width of the energy ratio's interval to aim at, in percent [5].",
    ),
    ("runtime", "runtime", str, f"Runtime that runs the models: {RUNTIME_NAMES}; {OF_OTHERS} [onnxruntime-cpu]."),
    ("meter", "meter", str, f"Energy meter; {OF_OTHERS} [the best own one that leanmark meters shows as usable]."),
    ("seed", "seed", click.IntRange(0, 2**31 - 1), "Seed of every random choice [0]."),
    ("metric", "metric", str, f"What is graded: top1, top5 or regression:SCALE; {OF_OTHERS} [top1]."),
)


MEASURING = tuple(name for _, name, _, _ in _FLAGS if name not in ("seed", "metric"))
"""Arguments that these options fill and that say nothing where nothing is measured; passes score by the metric."""


def plan_options(command: F) -> F:
    """Add the options that make a Plan; :func:`take_plan` reads them."""
    return plan_options_but()(command)


def plan_options_but(*own: str) -> Callable[[F], F]:
    """Likewise, without those for which the command has options of its own, which must fill the same arguments."""

    def add(command: F) -> F:
        for flag, name, kind, help_text in reversed(_FLAGS):
            if name not in own:
                command = click.option(f"--{flag}", name, type=kind, help=help_text)(command)
        return command

    return add


def take_plan(arguments: dict[str, Any], **usual: Any) -> Plan:
    """Take the plan's options out of a command's arguments.

    Args:
        arguments: the command's, by name.
        usual: fields of the plan that hold where the user gave none.

    Raises:
        UsageError: a value is out of its range, or the runtime is unknown or not installed.
    """
    from certify.measure import runtimes
    from certify.measure.plan import Plan

    given = {name: arguments.pop(name) for _, name, _, _ in _FLAGS}
    fields = {**usual, **{name: value for name, value in given.items() if value is not None}}
    if "precision" in fields:
        fields["wanted_half_width"] = fields.pop("precision") / 100
    if "runtime" in fields:
        runtimes.check(fields["runtime"])
    return Plan(**fields)
