"""``leanmark meters``."""

from __future__ import annotations

import shutil
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json
from certify.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from certify.measure.meters import Choice
    from certify.measure.meters.base import Meter

DEVICES = {"cpu": "processor", "cuda": "GPU"}
COLUMNS = {
    "meter": "name",
    "usable": "available",
    "evidence": "level",
    "scope": "scope",
    "resolution": "resolution",
    "needs": "privilege",
}
"""Key of a row by column heading."""
GAP = 2


@click.command(cls=Command, example="leanmark meters")
@json_option
def command(as_json: bool) -> None:
    """List the energy meters: which ones can be read here, why others cannot, and which one would be used.

    Two meters take arguments after a colon: --meter hwmon:NAME,NAME sums the named sensors, and --meter replay:PATH
    replays a recorded trace. A plus sums meters: --meter nvml+rapl-powercap. --meter record:PATH uses the best meter
    and writes its readings to a new trace.

    Installed packages add meters through the entry point group leanmark.meters; one that is not registered is given as
    --meter package.module:Name. Such a plug-in is used only if you name it.
    """
    from certify.measure.meters import METERS, choose, get

    meters = {name: get(name) for name in METERS.own}
    # Only built-in meters are chosen automatically; a plug-in must be named.
    chosen = {device: choose(device, list(meters.values())) for device in DEVICES}
    found, unusable = METERS.survey(lambda name: _facts(meters.get(name) or get(name), chosen))
    rows = list(found.values())
    used_for = {device: _chosen(choice) for device, choice in chosen.items()}
    if as_json:
        print_json({"meters": rows, "used_for": used_for, "unusable": unusable})
        return
    width = shutil.get_terminal_size().columns
    sentences = "\n".join([*(_sentence(*item) for item in used_for.items()), *_plug_ins(rows)])
    reasons = {row["name"]: row["reason"] for row in rows if row["reason"] is not None}
    click.echo("\n\n".join([table(rows, width), sentences, why_not({**reasons, **unusable}, width)]))


def _plug_ins(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    how = "is a plug-in: it is used only if you name it, and its joules count as sampled at best. Its code digest is"
    return [f"{row['name']} {how} {row['code']}." for row in rows if row["code"] is not None]


def _facts(meter: Meter, chosen: Mapping[str, Choice]) -> dict[str, Any]:
    from certify.measure.meters import code
    from certify.measure.meters.replay import AS_RECORDED

    reason = meter.unavailable()
    # A combined meter is named after its parts, and each part has its own row.
    parts = {device: choice.meter.name.split("+") if choice.meter else [] for device, choice in chosen.items()}
    return {
        "name": meter.name,
        "level": AS_RECORDED if meter.scope == AS_RECORDED else meter.level.value,
        "scope": meter.scope,
        "devices": sorted(meter.devices),
        "resolution": meter.resolution,
        "privilege": meter.privilege,
        "available": reason is None,
        "reason": reason,
        "code": code(meter),
        "used_for": [device for device in chosen if meter.name in parts[device]],
    }


def _chosen(choice: Choice) -> dict[str, str] | None:
    meter = choice.meter
    return None if meter is None else {"name": meter.name, "level": meter.level.value, "scope": meter.scope}


def _sentence(device: str, chosen: Mapping[str, str] | None) -> str:
    if chosen is None:
        return f"For a model on the {DEVICES[device]}: none; energy would not be reported."
    return f"For a model on the {DEVICES[device]}: {chosen['name']} ({chosen['level']}; {chosen['scope']})."


def table(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """Return a table of what each meter reads and needs, one column per property.

    Lines break only between words, so a column is never narrower than its longest word, whatever the width.
    """
    cells = [list(COLUMNS), *([_cell(row[key]) for key in COLUMNS.values()] for row in rows)]
    widths = _widths(list(zip(*cells, strict=True)), width)
    lines = []
    for line in cells:
        parts = [_wrapped(text, room) for text, room in zip(line, widths, strict=True)]
        lines += _beside(parts, widths)
    return "\n".join(lines)


def why_not(reasons: Mapping[str, str], width: int) -> str:
    """Return the reason why each unusable meter cannot be used."""
    first = max(map(len, reasons), default=0)
    widths = [first, max(1, width - first - GAP)]
    parts = [[[clean(name)], _wrapped(reason, widths[1])] for name, reason in reasons.items()]
    return "\n".join(line for part in parts for line in _beside(part, widths))


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Give each column its longest word's width, then share what is left evenly among columns that still wrap."""
    widths = [max(len(word) for text in column for word in text.split()) for column in columns]
    wanted = [max(map(len, column)) for column in columns]
    left = width - sum(widths) - GAP * (len(columns) - 1)
    # Columns grow by one character in turn, so that all get an equal share.
    while left > 0 and (short := [i for i, (now, full) in enumerate(zip(widths, wanted, strict=True)) if now < full]):
        for i in short[:left]:
            widths[i] += 1
        left -= len(short[:left])
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False)


def _beside(parts: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Join multi-line texts side by side."""
    lines = []
    for row in zip_longest(*parts, fillvalue=""):
        lines.append((" " * GAP).join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return lines


def _cell(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
