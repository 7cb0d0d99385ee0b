"""``leanmark gate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, auditor_options
from certify.cli.output import json_option, print_json
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="leanmark gate graded/model.onnx --at-least C --max-loss 1 --not-worse-than last.json --trust ours.pub",
)
@click.argument("file", type=ModelPath())
@click.option("--at-least", metavar="LETTER", help="The worst letter that passes (C~ passes for C).")
@click.option("--max-loss", "max_loss_percent", type=float, metavar="PERCENT",
              help="Largest loss of accuracy that may not be ruled out: the upper end of its interval.")  # fmt: skip
@click.option("--not-worse-than", type=FILE, metavar="CERTIFICATE", help="Earlier certificate.json, or certified file.")
@click.option("--metered", is_flag=True, help="Reject modelled energy, and plug-in meters whose code you do not trust.")
@click.option(
    "--require",
    multiple=True,
    metavar="STATEMENT",
    help="Statement that must be there, such as privacy, or privacy.epsilon<=8 (the interval's upper end).",
)
@click.option("--trust", multiple=True, metavar="PUBKEY", help="Public key whose signature counts: PEM file or hex.")
@click.option("--any-key", is_flag=True, help="Let the signature of any key count.")
@click.option("--purpose", help="What the model is to be used for; its data-use statement must permit it.")
@click.option("--recipient", default="", help="Who is to use it, as the use policy of its data may name them.")
@click.option("--revocations", type=FILE, multiple=True, help="Statement by which models were revoked; several.")
@auditor_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    file: Path,
    at_least: str | None,
    max_loss_percent: float | None,
    not_worse_than: Path | None,
    metered: bool,
    require: tuple[str, ...],
    trust: tuple[str, ...],
    any_key: bool,
    purpose: str | None,
    recipient: str,
    revocations: tuple[Path, ...],
    auditor_file: tuple[Path, ...],
    auditor_key: Path | None,
    as_json: bool,
) -> None:
    """Let FILE pass a build pipeline, or stop it and say why.

    FILE passes if its certificate is valid, follows from the evidence beside it, is signed by a key that you trust
    (your own is), has a letter, and meets the options. So must be the further statements that lie beside FILE; with
    --require, one must be there. With --not-worse-than, FILE must be comparable with the earlier certificate, must not
    have a lower letter (where both have one baseline), and must not be shown to be worse in energy or in accuracy.
    In GitHub Actions each reason becomes an annotation and a line of the step's summary.

    Exit code 0: passed. 1: not valid. 2: wrong usage. 3: stopped, by what the options ask or for want of a letter.
    4: signed by a key that you have not said you trust. 5: not derived, as the evidence is missing or unreadable, or
    the data are private and neither their auditor file nor the word of an auditor whom you trust is there. 6: valid,
    but the use policy of its data does not permit --purpose, whatever else stops it.
    """
    from certify.attest.auditor import Access
    from certify.cli.github import annotate
    from certify.comparison import Gate, evaluate_policy
    from certify.comparison.requirement import Requirement
    from certify.core.data_use import vocabulary
    from certify.core.errors import LeanmarkError
    from certify.core.text import clean
    from certify.using import why_not_permitted

    gate = Gate(at_least, max_loss_percent, metered, any_key, tuple(map(Requirement.parse, require)))
    try:
        access = Access.given(auditor_file, auditor_key)
        wanted = None if purpose is None else vocabulary.purpose(purpose)
        result = evaluate_policy(
            file, gate, not_worse_than=not_worse_than, trust=trust, access=access, revocations=revocations
        )
        refused = None if wanted is None else why_not_permitted(result.verification, wanted, recipient)
    except LeanmarkError as error:
        annotate(file, [str(error)])
        raise
    code = result.exit_code
    if refused:
        code = code if code == exit_codes.FAILED else exit_codes.NOT_PERMITTED
        result = replace(result, reasons=(*result.reasons, refused))
    annotate(file, result.reasons, result.verification.verdict)
    if as_json:
        print_json(result.to_json())
    else:
        told = [f"stopped: {clean(reason)}" for reason in result.reasons]
        click.echo("\n".join(told or [f"passed: {clean(result.verification.verdict)}"]))
    ctx.exit(code)
