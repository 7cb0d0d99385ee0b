"""``leanmark certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command, key_option, private_options, take_data_key, take_use, use_options
from certify.cli.output import bars, carbon_option, json_option, print_result, print_rich, quiet_option
from certify.cli.plan import plan_options, take_plan
from certify.cli.preprocess import contract, preprocess_options, take_flags
from certify.cli.stress import stress_options, tables, take_stress
from certify.core import exit_codes
from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.measure.plan import Plan
    from certify.workflows.certification_result import Result
    from certify.workflows.robustness_statement import Assessed

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark certify small.onnx --baseline original.onnx \\
    --data imagefolder:photos --preprocess preprocess.yaml --out graded
""",
)
@click.argument("candidate", type=FILE)
@click.option("--baseline", type=FILE, required=True, help="Original model, in its original precision.")
@click.option("--data", required=True, help="Test data: a folder, or a specification such as npz:PATH or arrays:PATH.")
@click.option("--keep-data", is_flag=True, help="Write the test part to test-data.npz, for auditors.")
@click.option(
    "--groups", metavar="COLUMNS", help="Also report these group columns, such as sex,race or sex,race,sex:race."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Output folder.")
@click.option("--origin", default=None, help="Source of the baseline, one sentence; shown as your statement.")
@click.option("--edition", default="2026", show_default=True, help="Edition of the grade.")
@plan_options
@preprocess_options
@click.option("--baseline-preprocess", type=FILE, help="YAML contract of the baseline, if it differs.")
@click.option("--lineage", type=FILE, help="File lineage.json, written with CANDIDATE by leanmark compress.")
@click.option(
    "--contracts-differ", metavar="WHY", help="Reason why the contracts differ, one sentence; shown on the label."
)
@private_options
@use_options
@stress_options
@key_option
@carbon_option
@quiet_option
@json_option
def command(
    candidate: Path, preprocess: Path | None, baseline_preprocess: Path | None, key: Path | None,
    carbon_intensity: float | None, embodied: float | None, as_json: bool, **arguments: Any,
) -> None:  # fmt: skip
    """Measure CANDIDATE against its baseline, grade it, sign the result and seal it into the file.

    Both must be ONNX files, made by any toolkit. The folder --out receives the graded model.onnx, baseline.onnx,
    certificate.json, evidence.jsonl, the label and signer.pub; weights of models over 2 GB are stored in a .data file
    next to the model. With --private-data, public files identify no sample; OUT/auditor holds the files for auditors
    and must not be published.

    Exit code 0: graded. 2: usage error, or input that cannot be read. 3: no grade; the reasons are printed. 6: the
    data's use policy does not permit --purpose.
    """
    from certify.api import certify
    from certify.attest.keys import signing_key
    from certify.data.preprocess import Preprocess

    use = take_use(arguments)
    # Each takes its own options out of the arguments; what remains is passed on.
    plan, flags, stress = take_plan(arguments), take_flags(arguments), take_stress(arguments)
    arguments["data_key"] = take_data_key(arguments)
    # Refused now, because otherwise the witnesses would turn out unusable only after the measurement.
    if arguments["data_key"] is not None and stress.get("witnesses"):
        raise UsageError(
            "Witnesses identify samples by digest, so they cannot be published for private data; drop --witnesses."
        )
    arguments["signer"] = signing_key(key) if key else None
    with use:
        result = certify(
            candidate,
            preprocess=contract(candidate, preprocess, flags),
            baseline_preprocess=None if baseline_preprocess is None else Preprocess.from_yaml(baseline_preprocess),
            plan=plan,
            progress=bars(),
            **{name: value for name, value in arguments.items() if value is not None},
        )
        stressed = _stressed(result, arguments, stress, plan) if stress else None
    more = None if stressed is None else {"robustness": stressed.to_json()}
    print_result(result, as_json, carbon_intensity, embodied, more)
    if stressed is not None and not as_json:
        print_rich("", *tables(stressed))
    # A refusal is a result: it is signed and written, and has its own exit code.
    click.get_current_context().exit(exit_codes.NO if result.grade.letter is None else exit_codes.DONE)


def _stressed(result: Result, arguments: dict[str, Any], stress: dict[str, Any], plan: Plan) -> Assessed:
    """Test both certified files under stress; they carry their own contracts."""
    from certify.assessments.efficiency.facts import baseline_name
    from certify.workflows.robustness_statement import assess

    baseline = result.model.with_name(baseline_name(result.model))
    # `auto` chooses a runtime per model, but answers are compared under one.
    runtime = plan.runtime if plan.runtime != "auto" else "onnxruntime-cpu"
    name, signer = result.certificate.claims.model, arguments["signer"]
    return assess(
        result.model, baseline=baseline, data=arguments["data"], runtime=runtime, name=name, signer=signer,
        progress=bars(), **stress,
    )  # fmt: skip
