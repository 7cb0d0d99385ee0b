"""``leanmark compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, trust_option
from certify.cli.output import json_option, print_json, print_rich
from certify.cli.values import OutFile

if TYPE_CHECKING:
    from certify.comparison import Comparison


@click.command(cls=Command, example="leanmark compare pruned/model.onnx int8/model.onnx --plot pareto.svg")
@click.argument("paths", type=ModelPath(), nargs=-1, required=True, metavar="FILE FILE...")
@trust_option
@click.option("--plot", type=OutFile(), metavar="IMAGE",
              help="Plot energy against accuracy loss, as .svg or .png.")  # fmt: skip
@json_option
def command(paths: tuple[Path, ...], trust: tuple[str, ...], plot: Path | None, as_json: bool) -> None:
    """Compare certified models side by side and mark those that no other dominates.

    Each model is verified first. Models are comparable if they were measured on the same test data, workload, method
    and device, under one edition; otherwise the reason is printed (exit code 2). Certificates of one model from several
    machines are listed side by side, and the worst letter is marked.
    """
    from certify.comparison import compare

    comparison = compare(*paths, trust=trust)
    if plot is not None:
        _draw(comparison, plot)
    if as_json:
        print_json(comparison.to_json())
        return
    from certify.cli.tables import files, several

    listed = {str(number): Path(entry.name) for number, entry in enumerate(comparison.entries, start=1)}
    print_rich(several(comparison), files(listed if plot is None else {**listed, "plot": plot}))


def _draw(comparison: Comparison, path: Path) -> None:
    from certify.core.errors import UsageError
    from certify.core.files import write_bytes, write_text
    from certify.present.label import render

    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--plot must end in .svg or .png, got '{path.suffix or path.name}'.")
    drawing = comparison.plot()
    if path.suffix == ".svg":
        write_text(path, drawing)
    else:
        write_bytes(path, render(drawing, width_px=1440))
