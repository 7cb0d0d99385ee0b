"""``leanmark score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, folder_of, key_option, trust_option
from certify.cli.output import json_option, print_json, print_rich
from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.workflows.scoring import Scored

STEPS = 5


@click.command(
    cls=Command,
    example='leanmark score graded --sign\nleanmark score graded --not-applicable federated="trained on one machine"',
)
@click.argument("folder", type=ModelPath())
@click.option("--edition", help="Edition of the scorecard.  [default: the newest]")
@click.option(
    "--not-applicable",
    multiple=True,
    metavar="PILLAR=REASON",
    help="Pillar that does not apply, with the reason; its points stay lost; repeatable.",
)
@trust_option
@click.option("--sign", is_flag=True, help="Sign the count and write it next to the model.")
@key_option
@json_option
def command(
    folder: Path,
    edition: str | None,
    not_applicable: tuple[str, ...],
    trust: tuple[str, ...],
    sign: bool,
    key: Path | None,
    as_json: bool,
) -> None:
    """Count the points of the certified model in FOLDER, and list what the next level needs.

    Every statement next to the model is first verified and derived again. What nobody measured, or only the maker
    declares, earns nothing; a third party's attestation counts if you trust their key. Points are not a mark: only a
    scheme's signature awards a level (leanmark mark).

    Exit code 1: a file about the model is not valid. 5: evidence is missing.
    """
    from certify.attest.keys import signing_key
    from certify.scorecard.edition import NEWEST
    from certify.workflows.scoring import score_model, sign_score

    if key is not None and not sign:
        raise UsageError("--key needs --sign; add --sign.")
    # A pack is unpacked to a temporary folder, so the signed score would be lost.
    if sign and folder_of(folder) != folder.parent:
        raise UsageError("The score of a pack cannot be signed; unpack it and pass the folder.")
    out = dict(_pair(text) for text in not_applicable)
    scored = score_model(folder, edition=edition or NEWEST, not_applicable=out, trust=trust)
    signed = sign_score(scored, signing_key(key)) if sign else None
    if as_json:
        print_json({**scored.to_json(), "signed": None if signed is None else signed.digest})
        return
    print_rich(*tables(scored))
    if signed is not None:
        click.echo(f"\n{folder.parent / 'statements' / 'scorecard.json'}")


def _pair(text: str) -> tuple[str, str]:
    pillar, _, reason = text.partition("=")
    if not reason.strip():
        # A reason is required, because it is printed wherever the points are.
        raise UsageError(
            f'--not-applicable must be a pillar and a reason, such as federated="no clients"; got {text!r}.'
        )
    return pillar.strip(), reason.strip()


def tables(scored: Scored) -> list[object]:
    """Return lines, pillars, prerequisites and what the next level needs, for display."""
    from certify.core.text import bullet, wrapped

    found = scored.score
    parts: list[object] = [_lines(scored), _pillars(scored)]
    unmet = [f"{row.name} {row.prerequisite.title}: {row.state}. {row.sentence}" for row in found.prerequisites]
    parts.append("Prerequisites (0 points)\n" + "\n".join(map(bullet, unmet)))
    if scored.not_counted:
        parts.append("\n".join(map(wrapped, scored.not_counted)))
    return [*parts, next_steps(scored), scored.line]


def _lines(scored: Scored) -> object:
    from rich.table import Table

    from certify.core.text import clean

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("Line", min_width=22)
    table.add_column("Points", justify="right", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Result")
    for line in scored.score.lines:
        points = f"{_points(line.points)} / {line.credit.points:g}"
        place = "" if line.source is None else f" ({scored.evidence_of(line.source)['path']})"
        found = "" if line.state == "not assessed" else f"{clean(line.sentence)}{place}"
        table.add_row(line.name, line.credit.title, points, line.state, found)
    return table


def _pillars(scored: Scored) -> str:
    found = scored.score
    parts = [
        f"{pillar.title} {_points(found.of(name))} of {pillar.points:g}"
        + (" (not applicable)" if name in found.scoped_out else "")
        for name, pillar in found.edition.pillars.items()
    ]
    return "; ".join(parts) + "."


def _points(points: float) -> str:
    """Format points in tenths, rounded down."""
    from certify.scorecard.levels import format_points

    return format_points(points)


def next_steps(scored: Scored) -> str:
    """Return what the next level needs, and the most effective ways to more points."""
    from certify.core.text import bullet
    from certify.scorecard.levels import lacking, next_level, steps

    level = next_level(scored.score)
    if level is None:
        return "All requirements of the edition are met. Only a scheme can award a level (leanmark mark)."
    lines = [f"In addition to a scheme's signature, the level {level} needs:"]
    lines += [bullet(lack.sentence) for lack in lacking(scored.score, level)]
    lines += [bullet(step) for step in steps(scored.score, level)[:STEPS]]
    return "\n".join(lines)
