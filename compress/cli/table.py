"""``leanmark table``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.cli.preprocess import preprocess_options, stated, take_flags
from certify.core.text import clean
from compress.cli.compress import model_arguments

if TYPE_CHECKING:
    from rich.table import Table

    from compress.costs.cost_table import CostTable
    from compress.costs.items import Item

US, UJ = 1e6, 1e6


@click.command(
    cls=Command,
    example="""\
leanmark table resnet18
leanmark table resnet50 --precision float --threads 2
leanmark table leafnet:LeafNet --data imagefolder:photos --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --json
""",
)
@click.argument("model")
@click.option(
    "--model-args", type=model_arguments, metavar="NAME=VALUE,...", help="Factory arguments; also YAML or JSON."
)
@click.option(
    "--data", default=None, help="Data: a folder, npz:PATH, arrays:PATH, ... Without --weights, the default is mnist5k."
)
@click.option("--weights", default=None, help="Weight file, or torchvision weights by name, such as DEFAULT.")
@click.option(
    "--precision",
    type=click.Choice(["float", "int8"]),
    default="int8",
    show_default=True,
    help="Precision of the file that ships.",
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of the runtime.")
@click.option("--runtime", default="onnxruntime-cpu", show_default=True, help="Runtime for ONNX files.")
@click.option("--target", default=None, help="Processor to optimise for.  [default: this machine's]")
@click.option("--fresh", is_flag=True, help="Ignore the cache and measure again.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights.")
@preprocess_options
@quiet_option
@json_option
def command(preprocess: Path | None, as_json: bool, **arguments: Any) -> None:
    """Measure what the blocks of MODEL cost at each width, in the precision that ships.

    Each block is exported, converted to that precision, and measured in its own process. For int8, it is also measured
    in float between int8 neighbours, including the conversions; these are listed too, since float blocks in a row do
    not need them in between. Your cache keeps the costs; later tables reuse them if runtime, version, processor,
    threads, precision, and the block's code and shapes are the same. structured_prune chooses widths and formats by
    these costs if its target is energy or latency.

    Exit code 0: written. 2: usage error, or a model that cannot be exported.
    """
    from certify.data.specs import require_known

    require_known(arguments.get("data"))
    arguments["preprocess"] = stated(preprocess, take_flags(arguments))
    with bars().task("Loading PyTorch"):
        from compress.job.cost_table import cost_table

    table = cost_table(arguments.pop("model"), progress=bars(), **arguments)
    if as_json:
        print_json(table.to_json())
        return
    show(table)


def show(table: CostTable) -> None:
    """Print a cost table for human readers."""
    from certify.cli.tables import quantity

    key, whole = table.key, table.whole
    joules = (
        "" if whole.energy_j is None else f", {quantity(whole.energy_j.value, 'J')} ({whole.energy_j.evidence.value})"
    )
    threads = f"{key['threads']} thread{'s' if key['threads'] > 1 else ''}"
    print_rich(
        clean(f"{key['precision']} in {key['runtime']} {key['version']}, {threads}, on {key['processor']}"),
        clean(f"Whole model: {quantity(whole.duration_s.value, 's')}{joules} per inference."),
        _blocks(table),
        clean(_note(table)),
    )


def _blocks(table: CostTable) -> Table:
    from rich.table import Table

    from compress.costs.cost_table import CONVERSIONS

    grid = Table(show_edge=False, pad_edge=False, header_style="bold")
    for title in ("block", "width", "us", "uJ", "of full"):
        grid.add_column(title, justify="left" if title == "block" else "right", no_wrap=title != "block")
    # Blocks with the same code and shapes cost the same and were measured once.
    alike: dict[str, list[Item]] = {}
    for item in table.items:
        alike.setdefault(item.signature, []).append(item)
    for items in alike.values():
        first, costs = items[0], table.costs[items[0].signature]
        taken = {first.label(each) for each in table.worthwhile(first, "latency")}
        full = costs[first.label(first.variants[0])].duration_s.value
        labels = [first.label(variant) for variant in first.variants]
        for place, label in enumerate([*labels, *({CONVERSIONS} & costs.keys())]):
            cost = costs[label]
            joules = "" if cost.energy_j is None else _hundredths(UJ * cost.energy_j.value)
            share = _hundredths(cost.duration_s.value / full) if full > 0 else ""
            mark = "" if label in taken or place == len(labels) else " (no gain)"
            name = clean(f"{first.path or 'whole model'}{f' and {len(items) - 1} alike' if len(items) > 1 else ''}")
            grid.add_row("" if place else name, label, _hundredths(US * cost.duration_s.value), joules, share + mark)
    return grid


def _hundredths(value: float) -> str:
    """Return a value with two decimals; one that measured just below 0 has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def _note(table: CostTable) -> str:
    unstacked = any(not item.keeps_shape for item in table.items)
    found = f"{table.measured} kinds of blocks were measured, {len(table.costs) - table.measured} read from the cache."
    calls = " Blocks that change their shape cannot be stacked, so their costs include a call of the runtime."
    return found + (calls if unstacked else "")
