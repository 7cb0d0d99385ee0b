"""Assessment of two files under corruptions and witnesses, stated next to the model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.robustness.assessment import WITNESS_FOLDER, Robustness
from certify.assessments.robustness.edition import NEWEST, load_edition
from certify.assessments.robustness.wording import by_condition
from certify.attest.certificate import Certificate
from certify.attest.keys import SigningKey
from certify.attest.statements import statement_path
from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.core.files import copy, write_bytes
from certify.core.progress import Progress, job, shown
from certify.data import Preprocess, load
from certify.data.contract_slot import contract_of
from certify.data.triggers import Trigger
from certify.workflows.robustness_records import Stress, StressOptions
from certify.workflows.statements import state


@dataclass(frozen=True)
class Assessed:
    """Signed robustness result.

    Attributes:
        statement: signed statement, stored next to the model.
        profile: all figures and findings.
        path: path of the statement.
    """

    statement: Certificate
    profile: Profile
    path: Path

    @property
    def refused(self) -> bool:
        """Whether the statement is a refusal."""
        return self.statement.claims.refused

    def by_condition(self) -> tuple[dict[str, dict[str, Estimate]], dict[str, Estimate]]:
        """Return the figures of each condition by column, and the other figures by their display name."""
        return by_condition(self.profile.estimates)

    def to_json(self) -> dict[str, Any]:
        """Return result, profile and path as JSON values."""
        result = dict(self.statement.result)
        return {"result": result, "profile": self.profile.to_json(), "statement": str(self.path)}


@job("Stressing")
def assess(
    model: str | Path,
    *,
    baseline: str | Path,
    data: Any,
    severities: Sequence[int] = (),
    samples: int | None = None,
    witnesses: Sequence[str | Path] = (),
    triggers: Sequence[str | Trigger] = (),
    float_parent: str | Path | None = None,
    adversarially_trained: bool = False,
    preprocess: Preprocess | str | Path | None = None,
    baseline_preprocess: Preprocess | str | Path | None = None,
    runtime: str = "onnxruntime-cpu",
    edition: str = NEWEST,
    name: str | None = None,
    signer: SigningKey | None = None,
    progress: Progress | bool | None = None,
) -> Assessed:
    """Test a model and its baseline under corruptions, witnesses and given triggers; sign and state the result.

    No attack runs here: anybody can make witnesses, with ``leanmark attack`` or otherwise, and each is checked by one
    forward pass. The statement is written to ``statements/robustness.json`` next to the model, the witness files to
    ``witnesses/``.

    Args:
        model: ONNX file; if it is certified, the one in the folder of its certificate.
        baseline: the original model.
        data: data specification or data set (see :func:`certify.data.load`); its test split is used.
        severities: severities of the corruptions, 1 to 5; empty for no corruptions.
        samples: number of corrupted samples. Default: the edition's maximum.
        witnesses: witness files for either model.
        triggers: given backdoor triggers, ``FILE:CLASS``.
        float_parent: ONNX file of the model before quantization, compared under the triggers too.
        adversarially_trained: whether the baseline is declared to be adversarially trained.
        preprocess: the model's preprocessing contract; None uses the one in the model file.
        baseline_preprocess: likewise for the baseline; None uses its own, else the model's.
        runtime: runtime adapter of both models.
        edition: edition of the assessment.
        name: display name of the model.
        signer: signing key. Default: the user's own, created on first use.
        progress: progress display.

    Raises:
        UsageError: no stress was chosen, a contract is missing, or a name is unknown.
        DataError: the data hold no images with classes, or a witness file belongs to another model or other samples.
        ModelError: a file is damaged, or cannot be fed or run.

    Example:
        >>> import certify
        >>> found = certify.robustness(
        ...     "robust/model.onnx", baseline="robust/baseline.onnx", data="npz:test=photos.npz", severities=[3],
        ...     progress=False)
        >>> found.refused, found.path.as_posix()
        (False, 'robust/statements/robustness.json')
    """
    model, baseline, files = Path(model), Path(baseline), [Path(witness) for witness in witnesses]
    parent = None if float_parent is None else Path(float_parent)
    for path in (model, baseline, *files, *(() if parent is None else (parent,))):
        if not path.is_file():
            raise UsageError(f"The file {path} does not exist; check the path.")
    constants, progress = load_edition(edition), shown(progress)
    dataset = load(data, progress=progress)
    parsed_triggers = [
        trigger if isinstance(trigger, Trigger) else Trigger.parse(trigger, dataset.classes) for trigger in triggers
    ]
    options = StressOptions(
        tuple(severities), samples, tuple(files), tuple(parsed_triggers), parent, adversarially_trained, runtime
    )
    contract = contract_of(model, preprocess)
    contracts = {"baseline": contract_of(baseline, baseline_preprocess, default=contract), "candidate": contract}
    stress = Stress({"baseline": baseline, "candidate": model}, contracts, dataset, constants, progress)  # type: ignore[arg-type]
    records = stress.records(options)
    for path in files:
        target = model.parent / WITNESS_FOLDER / path.name
        target.parent.mkdir(exist_ok=True)
        if target.resolve() != path.resolve():
            # Copying the file onto itself would truncate it.
            copy(path, target)
    robustness = Robustness()
    # Written as a file, because a statement is always made from records that were read.
    with tempfile.TemporaryDirectory(prefix="leanmark-records-") as folder:
        source = Path(folder, "records.jsonl")
        write_bytes(source, robustness.dump(records))
        statement = state(model, robustness.name, source, edition=constants.name, name=name, signer=signer)
    return Assessed(statement, statement.profile, statement_path(model.parent, robustness.name))
