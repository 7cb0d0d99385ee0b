"""``leanmark attack``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, governed
from certify.cli.output import bars, json_option, print_json, quiet_option
from certify.cli.values import OutFile
from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.data.dataset import Dataset
    from certify.measure.answers import Answers
    from compress.attacks.witness_search import Attack

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
BLACK_BOX = "square"
RANGES = 64
"""Number of samples for the ranges of a straight-through copy."""


def sizes(text: str) -> tuple[int, ...]:
    """Parse grey levels separated by commas, such as ``1,2,4,8``.

    Example:
        >>> sizes("4,1,2")
        (1, 2, 4)
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1 or found[-1] > 64 or len(found) > 16:
        raise click.BadParameter(f"'{text}' is not a list of whole grey levels from 1 to 64 such as 1,2,4,8.")
    return tuple(found)


sizes.__name__ = "sizes"


@click.command(
    cls=Command,
    example="""\
leanmark attack build/model.onnx --data npz:test=test.npz --checkpoint build --straight-through --out candidate.npz
leanmark attack other.onnx --data npz:test=test.npz --preprocess other.yaml --method square --out other.npz
""",
)
@click.argument("file", type=FILE)
@click.option("--data", required=True, help="Data whose test part is attacked.")
@click.option("--out", type=OutFile(), required=True, help="Witness file to write.")
@click.option(
    "--method", type=click.Choice(["fgsm", "pgd", "apgd", BLACK_BOX]), default="apgd", show_default=True,
    help="Attack method: gradients, or queries to FILE alone (square, weak).",
)  # fmt: skip
@click.option("--eps", type=sizes, default="1,2,4,8", show_default=True, help="Maximum changes, in grey levels.")
@click.option("--samples", type=click.IntRange(1), default=200, show_default=True, help="Samples to attack.")
@click.option("--checkpoint", type=click.Path(exists=True, path_type=Path), help="Float parent of FILE.")
@click.option("--model", "spec", help="Architecture of the parent, if the checkpoint does not name it.")
@click.option("--weights", help="Weights of --model, if there is no checkpoint.")
@click.option("--straight-through", is_flag=True, help="Round the parent to 8 bits, with straight-through gradients.")
@click.option("--transfer", is_flag=True, help="Use the gradients of a model that is not the parent of FILE.")
@click.option("--steps", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Steps per restart.")
@click.option("--restarts", type=click.IntRange(1, 1000), default=1, show_default=True, help="Random starts.")
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True, help="Queries per sample (square).")
@click.option(
    "--past", type=click.FloatRange(0, 1), default=0.05, show_default=True,
    help="Distance past the boundary, in median margins, so that witnesses hold at other settings.",
)  # fmt: skip
@click.option("--preprocess", type=FILE, help="Contract of FILE; files from leanmark contain theirs.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Seed of random starts.")
@quiet_option
@json_option
@governed
def command(file: Path, data: str, out: Path, method: str, as_json: bool, **options: Any) -> None:
    """Search for adversarial witnesses against FILE, an ONNX model, and write those that fool it.

    Gradients must come from FILE's own float parent: witnesses made on another model make FILE look more robust than it
    is. leanmark certify --witnesses and leanmark witness add check what is written here.

    Exit code 2: the parent is missing or its outputs differ from FILE's.
    """
    from certify.core.files import write_bytes
    from certify.data import load
    from certify.data.contract_slot import contract_of
    from certify.measure.answers import Answers
    from certify.model_file.subject import subject_digests
    from compress.attacks import Hunt, hunt

    dataset = load(data, progress=bars())
    contract = contract_of(file, options["preprocess"])
    digest = subject_digests(file)["leanmarkContent"]
    with Answers(file, contract, len(dataset.classes)) as answers:
        attacks, gradients = _attacks(method, options, answers, dataset)
        rounded = options["straight_through"] and gradients is not None
        plan = Hunt(method, options["eps"], options["samples"], gradients, rounded, options["past"])
        found = hunt(answers, dataset, digest, plan, attacks, bars())
    content = found.to_bytes()
    write_bytes(out, content)
    counts = {str(eps): sum(witness.eps <= eps for witness in found.witnesses) for eps in options["eps"]}
    result = {"witnesses": len(found.witnesses), "samples": found.header.samples, "fell": counts, "bytes": len(content)}
    if as_json:
        print_json({**result, "file": str(out)})
        return
    for eps, count in counts.items():
        click.echo(f"{eps}/255: {count} of {found.header.samples} samples have a witness")
    click.echo(f"{out}: {result['witnesses']} witnesses, {result['bytes']} bytes")


def _attacks(
    method: str, options: dict[str, Any], answers: Answers, dataset: Dataset
) -> tuple[list[Attack], str | None]:
    """Return the attacks in order, and the digest of their parent model (None without one)."""
    from compress.attacks.square import SquareAttack
    from compress.attacks.witness_search import margins_of

    if method == BLACK_BOX:
        if options["checkpoint"] is not None or options["spec"] is not None:
            raise UsageError("square queries only the file; drop --checkpoint and --model.")
        square = SquareAttack(queries=options["queries"], seed=options["seed"])
        return [lambda images, labels, eps, past: square.signs(images, eps, margins_of(answers, labels), past)], None
    from compress.attacks.parent import load_parent, require_parent
    from compress.attacks.pixels import Pixels
    from compress.attacks.straight_through import straight_through
    from compress.core.samples import as_tensor

    parent, digest = load_parent(options["checkpoint"], options["spec"], options["weights"], dataset)
    test = dataset.test
    if not options["transfer"]:
        require_parent(parent, answers, test)
    if options["straight_through"]:
        source = dataset.calibration or dataset.validation or dataset.train or test
        ranges = answers.contract.batch(source, range(min(RANGES, len(source))))
        parent = straight_through(parent, as_tensor(ranges))
    model = Pixels(parent, answers.contract).eval()
    return gradient_attacks(model, method, options), None if options["transfer"] else digest


def gradient_attacks(model: Any, method: str, options: dict[str, Any]) -> list[Attack]:
    """Return two attacks: one that changes a pixel's channels together (small witnesses), one for all values."""
    from compress.attacks.gradient import GradientAttack

    steps, restarts, seed = (options[name] for name in ("steps", "restarts", "seed"))
    found: list[Attack] = []
    # Small witnesses first: the second attack only tries the samples that withstood the first.
    for shared in (True, False):
        search = GradientAttack(method, steps, restarts, seed, shared=shared)  # type: ignore[arg-type]
        found.append(functools.partial(search.signs, model))
    return found
