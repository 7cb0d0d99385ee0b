"""``leanmark gate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, auditor_options, trust_option
from certify.cli.output import json_option, print_json
from certify.core import exit_codes

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="leanmark gate graded/model.onnx --at-least C --max-loss 1 --not-worse-than last.json --trust ours.pub",
)
@click.argument("file", type=ModelPath())
@click.option("--at-least", metavar="LETTER", help="Worst letter that passes (C~ counts as C).")
@click.option("--max-loss", "max_loss_percent", type=float, metavar="PERCENT",
              help="Maximum accuracy loss (upper end of its 95 % interval).")  # fmt: skip
@click.option("--not-worse-than", type=FILE, metavar="CERTIFICATE", help="Earlier certificate.json or certified file.")
@click.option("--metered", is_flag=True, help="Reject modelled energy and plug-in meters with untrusted code.")
@click.option(
    "--require",
    multiple=True,
    metavar="STATEMENT",
    help="Required statement, such as privacy, or a bound on its interval, such as privacy.epsilon<=8.",
)
@trust_option
@click.option("--any-key", is_flag=True, help="Accept signatures by any key.")
@click.option("--purpose", help="Intended use of the model; its data-use statement must permit it.")
@click.option("--recipient", default="", help="Intended user, as named in the use policy of its data.")
@click.option("--revocations", type=FILE, multiple=True, help="Statement that revokes models; repeatable.")
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
    """Decide whether FILE passes a build pipeline, and say why if it does not.

    FILE passes if its certificate is valid, follows from the evidence next to it, is signed by a key that you trust
    (your own is trusted), has a letter, and meets the options. Further statements next to FILE must meet the same
    conditions; --require makes one mandatory. With --not-worse-than, FILE must be comparable with the earlier
    certificate, must not have a lower letter (if both have the same baseline), and must not be significantly worse in
    energy or accuracy. In GitHub Actions each reason becomes an annotation and a line of the step's summary.

    Exit code 0: passed. 1: invalid. 2: usage error. 3: stopped by an option, or without a letter. 4: signed by a key
    you do not trust. 5: not derived: the evidence is missing or unreadable, or the data are private and you have
    neither the auditor file nor the countersignature of an auditor that you trust. 6: valid, but the use policy of its
    data does not permit --purpose; this code takes precedence over the other reasons to stop.
    """
    from certify.attest.auditor import Access
    from certify.cli.github import annotate
    from certify.comparison import Gate, evaluate_policy
    from certify.comparison.requirement import Requirement
    from certify.core.data_use import vocabulary
    from certify.core.errors import LeanmarkError
    from certify.core.text import wrapped
    from certify.workflows.use_control import why_not_permitted

    gate = Gate(at_least, max_loss_percent, metered, any_key, tuple(map(Requirement.parse, require)))
    try:
        access = Access.from_options(auditor_file, auditor_key)
        wanted = None if purpose is None else vocabulary.purpose(purpose)
        result = evaluate_policy(
            file, gate, not_worse_than=not_worse_than, trust=trust, access=access, revocations=revocations
        )
        refused = None if wanted is None else why_not_permitted(result.verification, wanted, recipient)
    # If the gate cannot judge, the pipeline must show an error, not only log it.
    except LeanmarkError as error:
        annotate(file, [str(error)])
        raise
    code = result.exit_code
    if refused:
        # An invalid certificate outweighs a use that is not permitted.
        code = code if code == exit_codes.FAILED else exit_codes.NOT_PERMITTED
        result = replace(result, reasons=(*result.reasons, refused))
    annotate(file, result.reasons, result.verification.verdict)
    if as_json:
        print_json(result.to_json())
    else:
        lines = [f"stopped: {reason}" for reason in result.reasons] or [f"passed: {result.verification.verdict}"]
        click.echo("\n".join(map(wrapped, lines)))
    ctx.exit(code)
