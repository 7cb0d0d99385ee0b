"""How to measure, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from certify.measure.plan import Plan

F = TypeVar("F", bound=Callable[..., object])

RUNTIME_NAMES = (
    "onnxruntime-cpu, onnxruntime-cuda, onnxruntime-tensorrt, openvino, openvino-bf16, torch-cuda, or auto for the "
    "cheapest of those installed, for each model"
)
"""Written out, so that help needs no import of the runtimes."""

OF_OTHERS = "one of another package by its name or package.module:Name"

_FLAGS: tuple[tuple[str, str, type, str], ...] = (
    ("threads", "threads", int, "Intra-op threads of both models [for each the number at which it is cheapest]."),
    ("batch", "batch", int, "Samples in one inference [1]."),
    ("time-limit", "time_limit_s", float, "Seconds for the main run [90]; the fewest blocks are measured anyway."),
    ("precision", "precision", float, "Half-width of the energy ratio's interval to aim at, in percent [5]."),
    ("runtime", "runtime", str, f"Runtime that runs the models: {RUNTIME_NAMES}; {OF_OTHERS} [onnxruntime-cpu]."),
    ("meter", "meter", str, f"Energy meter; {OF_OTHERS} [the best own one that leanmark meters shows as usable]."),
    ("seed", "seed", int, "Seed of every random choice [0]."),
    ("metric", "metric", str, f"What is graded: top1, top5 or regression:SCALE; {OF_OTHERS} [top1]."),
)


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


def take_plan(arguments: dict[str, Any]) -> Plan:
    """Take the plan's options out of a command's arguments.

    Raises:
        UsageError: a value is out of its range, or the runtime is unknown or not installed.
    """
    from certify.measure import runtimes
    from certify.measure.plan import Plan

    given = {name: arguments.pop(name) for _, name, _, _ in _FLAGS}
    fields = {name: value for name, value in given.items() if value is not None}
    if "precision" in fields:
        fields["wanted_half_width"] = fields.pop("precision") / 100
    if "runtime" in fields:
        runtimes.check(fields["runtime"])
    return Plan(**fields)
