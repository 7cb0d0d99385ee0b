"""``leanmark audit-privacy``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, ModelPath, key_option, private_options, take_data_key, take_use, use_options
from certify.cli.output import bars, json_option, print_json, print_rich, quiet_option
from certify.core import exit_codes
from compress.cli.compress import model_arguments

USUAL_DELTA = 1e-5


@click.command(
    cls=Command,
    example="""\
leanmark audit-privacy build/small --data npz:digits.npz
leanmark audit-privacy build/private --data npz:digits.npz --private-data --shadows 0 --canaries 1000
leanmark audit-privacy build/served --data npz:digits.npz --shadows 0 --canaries 0 --served --queries 100,500
""",
)
@click.argument("file", type=ModelPath(packs=False))
@click.option("--data", required=True, help="Data that FILE was made from.")
@click.option("--model", "spec", help="Name of FILE's original, if its lineage does not say how to build it.")
@click.option(
    "--model-args", type=model_arguments, metavar="NAME=VALUE,...", help="Arguments of the factory of --model."
)
@click.option("--weights", help="Initial weights of the job.  [default: those that the lineage names]")
@click.option(
    "--shadows",
    type=click.IntRange(0, 256),
    default=8,
    show_default=True,
    help="Shadow models for the membership attack; 0 for none.",
)
@click.option(
    "--canaries",
    type=click.IntRange(0, 100_000),
    help="Canaries of the twin; 0 for none.  [default: 1000, or as many as the test part has]",
)
@click.option(
    "--guesses", type=click.IntRange(1), help="Number of coins to guess, fixed before training.  [default: a fifth]"
)
@click.option(
    "--epsilon",
    type=click.FloatRange(0, min_open=True),
    help="Claimed epsilon to test with the canaries.  [default: that of privacy.jsonl]",
)
@click.option(
    "--delta", type=click.FloatRange(0, 1, max_open=True), help="Delta of the claim in --epsilon.  [default: 1e-5]"
)
@click.option(
    "--served", is_flag=True, help="FILE is served, not published: test how well it can be copied by queries."
)
@click.option("--queries", default="100,500", show_default=True, help="Numbers of queries, with --served.")
@private_options
@use_options
@key_option
@quiet_option
@json_option
def command(file: Path, data: str, as_json: bool, **arguments: Any) -> None:
    """Attack FILE, a model made by leanmark compress, and state what the attacks reveal about its training data.

    The attacks train further models by FILE's own recipe; these never ship. Shadow models test membership: how well
    samples of the training data are recognised with FILE, with its original, and with both. A twin is trained with
    canaries; a coin that is committed to beforehand decides whether each is included. What the twin reveals about the
    coins gives a lower bound on epsilon, which can contradict a claim but never prove one. With --private-data, the
    findings go only to auditor/, because epsilon does not cover them. An interrupted audit resumes after its last
    finished training.

    Exit code 0: nothing contradicts FILE's claim. 2: usage error, or FILE cannot be made again. 3: a refusal, such as
    a claim that the canaries contradict. 6: the use policy next to the data does not permit it.
    """
    from certify.attest.keys import signing_key

    use, key = take_use(arguments), arguments.pop("key")
    data_key = take_data_key(arguments)
    with bars().task("Loading PyTorch"):
        from compress.auditing.audit import audit
    signer = signing_key(key) if key else None
    original = {name: arguments[name] for name in ("spec", "model_args", "weights")}
    with use:
        found = audit(file, data, _settings(arguments), data_key=data_key, signer=signer, progress=bars(), **original)
    claims = found.statement.claims
    path = file.parent / "statements" / "privacy_audit.json"
    if as_json:
        figures = {name: figure.to_json() for name, figure in claims.figures.items()}
        files = {name: str(file) for name, file in found.files.items()}
        print_json(
            {"path": str(path), "outcome": claims.text, "reasons": list(claims.reasons), "figures": figures, **files}
        )
    else:
        print_rich(*_tables(found.statement, path))
    click.get_current_context().exit(exit_codes.NO if claims.refused else exit_codes.DONE)


def _settings(options: dict[str, Any]) -> Any:
    """Return the settings of the audit.

    Raises:
        UsageError: the options conflict.
    """
    from certify.core.errors import UsageError
    from compress.auditing.audit import AuditSettings
    from compress.auditing.canaries import Claim, Plan
    from compress.auditing.extraction import parse_queries

    epsilon, delta, canaries = (options[name] for name in ("epsilon", "delta", "canaries"))
    if delta is not None and epsilon is None:
        raise UsageError("--delta needs --epsilon; add it.")
    if canaries == 0 and (epsilon is not None or options["guesses"] is not None):
        raise UsageError("--epsilon and --guesses are about canaries; drop them, or drop --canaries 0.")
    claim = None if epsilon is None else Claim(epsilon, USUAL_DELTA if delta is None else delta)
    # With None, the audit chooses the number, because it knows the size of the test part.
    plan = None if canaries == 0 else Plan(canaries, options["guesses"])
    return AuditSettings(
        options["shadows"], plan, claim, parse_queries(options["queries"]) if options["served"] else ()
    )


def _tables(statement: Any, path: Path) -> list[object]:
    """Return the table of figures and the sentences that follow it."""
    from rich.table import Table

    from certify.core.text import clean

    claims = statement.claims
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Attacks on the training data")
    table.add_column("", justify="right")
    for name, figure in claims.figures.items():
        table.add_row(name.replace("_", " "), str(figure))
    checks = "\n".join(str(finding) for finding in claims.findings)
    lines = [f"{claims.title}: {claims.text}", *claims.reasons, *claims.notes]
    return [table, clean(checks) if "\n" not in checks else checks, *map(clean, lines), str(path)]
