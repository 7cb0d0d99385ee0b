"""``leanmark meters``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json

if TYPE_CHECKING:
    from certify.measure.meters import Choice
    from certify.measure.meters.base import Meter

DEVICES = {"cpu": "processor", "cuda": "GPU"}


@click.command(cls=Command, example="leanmark meters")
@json_option
def command(as_json: bool) -> None:
    """List the energy meters: which can be read here, and if not, why; and which one would be used."""
    from certify.measure.meters import METERS, choose, get

    meters = [get(name) for name in METERS]
    chosen = {device: choose(device, meters) for device in DEVICES}
    rows = [_facts(meter, chosen) for meter in meters]
    if as_json:
        names = {device: choice.meter.name if choice.meter else None for device, choice in chosen.items()}
        print_json({"meters": rows, "used_for": names})
        return
    click.echo("\n\n".join(_paragraph(row) for row in rows))


def _paragraph(row: dict[str, Any]) -> str:
    if row["used_for"]:
        state = f"would be used for the {' and the '.join(DEVICES[device] for device in row['used_for'])}"
    else:
        state = "available" if row["available"] else "not available"
    lines = [
        f"{row['name']}: {state}",
        f"  evidence    {row['level']}",
        f"  scope       {row['scope']}",
        f"  resolution  {row['resolution']}",
        f"  needs       {row['privilege']}",
    ]
    return "\n".join([*lines, f"  why not     {row['reason']}"] if row["reason"] else lines)


def _facts(meter: Meter, chosen: dict[str, Choice]) -> dict[str, Any]:
    reason = meter.unavailable()
    return {
        "name": meter.name,
        "level": meter.level.value,
        "scope": meter.scope,
        "devices": sorted(meter.devices),
        "resolution": meter.resolution,
        "privilege": meter.privilege,
        "available": reason is None,
        "reason": reason,
        "used_for": [device for device, choice in chosen.items() if choice.meter is meter],
    }
