"""The rows of the zoo as a table in Markdown, and which of them are in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

MACS = 0.6
"""Share of the multiply-adds that may be left."""
MOST_DIFFERENCE = 1e-3
"""From the masked original, as a share of how far outputs differ between images: where they hardly do, as in deep
networks of random weights, a small share of the largest output would prove nothing."""

HEAD = (
    "| model | input | MACs left in the file | exported, largest difference | masked original, largest difference "
    "| layers in int8 | int8: cosine, same class | |"
)


def pruned(row: Row) -> bool:
    """Whether channels were really removed: the file's MACs fell, and it computes what the masked original does."""
    counted = row.get("count", {})
    return bool(counted.get("agree") and counted["macs_share"] <= MACS and equal(row.get("mask", {})))


def equal(mask: Row) -> bool:
    """Whether the pruned file and the masked original were compared and give the same."""
    return "difference" in mask and bool(mask["difference"] <= MOST_DIFFERENCE * mask["spread"])


def ran(row: Row) -> bool:
    """Whether it went through export and int8."""
    return "failed" not in row and "int8" in row and "declined" not in row.get("quantize", {})


def complete(row: Row) -> bool:
    """Whether nothing was declined and nothing failed."""
    return pruned(row) and ran(row)


def markdown(zoo: str, names: Sequence[str], rows: Mapping[str, Row]) -> str:
    """A line an architecture, and above them how many of them went how far."""
    there = [rows[name] for name in names if name in rows]
    summary = (
        f"{zoo}: {len(names)} architectures, {len(there)} tried; {sum(map(pruned, there))} pruned to at most {MACS:g} "
        f"of the MACs, equal to the masked original; {sum(map(ran, there))} through export and int8.\n"
    )
    lines = [_line(name, rows[name]) if name in rows else f"| {name} | | | | | | | not tried |" for name in names]
    return "\n".join([summary, HEAD, "|---|---|---|---|---|---|---|---|", *lines, ""])


def _line(name: str, row: Row) -> str:
    cells = [name, *(_cell(kind, row.get(kind)) for kind in CELLS), "; ".join(_remarks(row))]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _cell(kind: str, found: Row | None) -> str:
    return "" if found is None else CELLS[kind](found)


def _mask(found: Row) -> str:
    return "" if "why" in found else f"{found['difference']:.1e}"


def _layers(found: Row) -> str:
    return "" if "declined" in found else f"{found['quantized']} of {found['quantized'] + found['kept_float']}"


def _agreement(found: Row) -> str:
    return f"{found['cosine']:.3f}, {found['agreement']:.0%}"


CELLS = {
    "build": lambda found: "x".join(map(str, found["input"])),
    "count": lambda found: f"{found['macs_share']:.3f}",
    "export": lambda found: f"{found['difference']:.1e}",
    "mask": _mask,
    "quantize": _layers,
    "int8": _agreement,
}


def _remarks(row: Row) -> list[str]:
    """What was declined or failed, and why."""
    found = []
    prune = row.get("prune", {})
    if "declined" in prune:
        found.append(f"not pruned: {prune['declined']}")
    found += [f"{setting} {prune[setting]}" for setting in ("round_to", "embedding") if setting in prune]
    if row.get("export", {}).get("declined"):
        found.append(f"export: {row['export']['declined']}")
    if "count" in row and not row["count"]["agree"]:
        found.append("the file's MACs can't be compared with torch's")
    mask = row.get("mask", {})
    if "why" in mask:
        found.append(f"not compared with the masked original: {mask['why']}")
    elif mask and not equal(mask):
        found.append(f"differs from the masked original, while outputs differ by {mask['spread']:.1e} between images")
    if "declined" in row.get("quantize", {}):
        found.append(f"not quantized: {row['quantize']['declined']}")
    if "whole" in row:
        whole = row["whole"]
        found.append(f"unpruned, in {len(whole['files'])} files: {whole['difference']:.1e}, int8 {_agreement(whole)}")
    if "failed" in row:
        found.append(f"failed at {row.get('at', 'the end')}: {row['failed']}")
    return [" ".join(text.split())[:300] for text in found]
