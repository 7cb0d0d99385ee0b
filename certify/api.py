"""The referee's Python interface: measure a pair of ONNX files, grade it, sign and seal the result."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.errors import UsageError
from certify.files import copy, write_bytes, write_text
from certify.progress import Progress, Silent

if TYPE_CHECKING:
    from certify.certificate.issue import Certificate
    from certify.certificate.keys import SigningKey
    from certify.data import Dataset, Preprocess
    from certify.evidence import Evidence
    from certify.judge.edition import Edition
    from certify.judge.grade import Grade
    from certify.judge.profile import Profile
    from certify.measure.plan import Plan

BASELINE_NAME = "baseline.onnx"


@dataclass(frozen=True, repr=False)
class Result:
    """A graded (or refused) pair of models.

    Attributes:
        certificate: what was signed and sealed.
        profile: every figure with its interval, and every guard.
        grade: the letter, or why there is none.
        files: what was written, by name.
    """

    certificate: Certificate
    profile: Profile
    grade: Grade
    files: Mapping[str, Path]

    def to_json(self) -> dict[str, Any]:
        """Grade, profile and paths as JSON values."""
        return {
            "grade": {**self.grade.to_json(), "text": self.grade.text},
            "profile": self.profile.to_json(),
            "certificate_digest": self.certificate.digest,
            "files": {name: str(path) for name, path in self.files.items()},
        }

    def __repr__(self) -> str:
        verdict = f"grade {self.grade.text}" if self.grade.letter else f"not graded: {' '.join(self.grade.reasons)}"
        ratio = self.profile.estimates.get("energy_ratio")
        loss = self.profile.estimates.get("relative_loss_percent")
        return f"Result({verdict}; energy ratio {ratio}; relative accuracy loss {loss}; {self.files['model.onnx']})"

    def _repr_html_(self) -> str:
        return f"{self.certificate.label()}<p><code>{html.escape(str(self.files['model.onnx']))}</code></p>"


def certify(
    candidate: str | Path,
    *,
    baseline: str | Path,
    data: str | Dataset,
    out: str | Path,
    preprocess: Preprocess | str | Path | None = None,
    baseline_preprocess: Preprocess | str | Path | None = None,
    plan: Plan | None = None,
    edition: str = "2026",
    origin: str | None = None,
    lineage: Path | None = None,
    companions: Mapping[str, Path] | None = None,
    model_name: str | None = None,
    signer: SigningKey | None = None,
    progress: Progress | None = None,
) -> Result:
    """Measure a candidate against its baseline, grade it, sign the result and seal it into the candidate.

    Args:
        candidate: ONNX file to grade, whoever made it.
        baseline: ONNX file of the untouched original.
        data: data specification, or a data set; its test part is what counts.
        out: folder for ``model.onnx``, ``baseline.onnx``, ``certificate.json``, ``evidence.jsonl`` and the label.
        preprocess: the candidate's preprocessing contract, or a YAML file with one; None takes the one that the file
            carries.
        baseline_preprocess: likewise for the baseline; None takes the one that it carries, else the candidate's.
        plan: how to measure.
        edition: of the grade.
        origin: where the baseline comes from, in one sentence.
        lineage: ``lineage.json`` of the candidate, if its maker wrote one.
        companions: further files to bind by digest, by the name that they get in ``out``; not copied.
        model_name: for people; from the lineage or the file's name by default.
        signer: signing key; the user's own, made on first use, by default.
        progress: where to show how far it is; nowhere by default.

    Returns:
        What was written; a refusal is a result too.

    Raises:
        UsageError: no contract was given and the file carries none, or an unknown name.
        DataError: the data can't be read or have no test part.
        ModelError: a file is damaged, or can't be fed or run.
        MeasureError: a worker, a meter or the runtime failed.
    """
    from certify.certificate.issue import LINEAGE_NAME, issue
    from certify.certificate.keys import load_or_create
    from certify.judge.edition import load_edition
    from certify.judge.grade import grade

    constants = load_edition(edition)
    candidate, baseline, out = Path(candidate), Path(baseline), Path(out)
    contract = _contract(candidate, preprocess)
    contracts = _contract(baseline, baseline_preprocess, default=contract), contract
    signer = signer or load_or_create()
    origin = origin or f"{baseline.name}, as given"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".measuring-", dir=out) as folder:
        measured_baseline, measured = Path(folder, BASELINE_NAME), Path(folder, "model.onnx")
        evidence = _measure(
            (baseline, candidate),
            (measured_baseline, measured),
            contracts,
            data,
            plan,
            constants,
            origin,
            progress,
            made_here=lineage is not None,
        )
        copy(measured_baseline, out / BASELINE_NAME)
        certificate = issue(
            measured,
            evidence,
            lineage,
            contract,
            {**(companions or {}), BASELINE_NAME: out / BASELINE_NAME},
            out,
            signer,
            model_name=model_name or candidate.stem,
        )
    if lineage is None:
        (out / LINEAGE_NAME).unlink(missing_ok=True)  # of an earlier model in this folder
    _draw_label(certificate, out)
    profile = certificate.profile
    return Result(certificate, profile, grade(profile, constants), _written(out))


def profile(
    model: str | Path,
    *,
    data: str | Dataset,
    against: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Measure a model without grading it.

    Args:
        model: ONNX file.
        data: data specification, or a data set; its test part is what counts.
        against: ONNX file to compare with. None compares the model with itself, which shows how well this machine
            can tell two models apart.
        preprocess: preprocessing contract, or a YAML file with one; None takes the one that the file carries.
        plan: how to measure.
        progress: where to show how far it is; nowhere by default.

    Returns:
        Estimates by name, with ``_candidate`` for ``model`` and ``_baseline`` for the other, and the guards.

    Raises:
        LeanmarkError: as :func:`certify` does.
    """
    from certify.judge.edition import load_edition
    from certify.judge.profile import derive

    model = Path(model)
    other = model if against is None else Path(against)
    contract = _contract(model, preprocess)
    contracts = _contract(other, None, default=contract), contract
    constants = load_edition()
    with tempfile.TemporaryDirectory(prefix="leanmark-profile-") as folder:
        normal = Path(folder, BASELINE_NAME), Path(folder, "model.onnx")
        origin = f"{other.name}, as given"
        return derive(_measure((other, model), normal, contracts, data, plan, constants, origin, progress), constants)


def _measure(
    sources: tuple[Path, Path],
    normal: tuple[Path, Path],
    contracts: tuple[Preprocess, Preprocess],
    data: str | Dataset,
    plan: Plan | None,
    edition: Edition,
    origin: str,
    progress: Progress | None,
    made_here: bool = False,
) -> Evidence:
    """Bring baseline and candidate into the normal form, which is what is measured, and measure them.

    Whether a model that was not ``made_here`` has seen the test samples can't be known: that the other parts of these
    data do not hold them says nothing about what it was trained on. So those parts are left out of the observation.
    """
    from certify.certificate.normalise import normalise
    from certify.data import load
    from certify.measure.experiment import measure
    from certify.measure.plan import Plan

    plan = plan or Plan()
    progress = progress or Silent()
    dataset = load(data, seed=plan.seed, progress=progress)
    if not made_here:
        dataset = replace(dataset, train=None, calibration=None, validation=None)
    for source, target, contract in zip(sources, normal, contracts, strict=True):
        normalise(source, target, contract)
    return measure(*normal, dataset, *contracts, plan, edition, baseline_origin=origin, progress=progress)


def _contract(model: Path, given: Preprocess | str | Path | None, default: Preprocess | None = None) -> Preprocess:
    """The preprocessing contract of a model: the given one, the one in the file, or the default; never a guess."""
    from certify.certificate.normalise import stored_contract
    from certify.data import Preprocess

    if isinstance(given, Preprocess):
        return given
    contract = Preprocess.from_yaml(Path(given)) if given is not None else stored_contract(model) or default
    if contract is None:
        raise UsageError(
            f"{model} carries no preprocessing contract, and none was given; say how pictures become its input with "
            "--preprocess FILE.yaml (input size, colours, mean, std, resize, crop). A wrong guess costs points of "
            "accuracy and looks like a bad model, so none is made."
        )
    return contract


def _draw_label(certificate: Certificate, out: Path) -> None:
    from certify.certificate.issue import LABEL_PNG_NAME, LABEL_SVG_NAME
    from certify.label import render

    drawing = certificate.label()
    write_text(out / LABEL_SVG_NAME, drawing)
    write_bytes(out / LABEL_PNG_NAME, render(drawing))


def _written(out: Path) -> dict[str, Path]:
    from certify.certificate import issue, statement

    papers = (issue.CERTIFICATE_NAME, issue.EVIDENCE_NAME, issue.LINEAGE_NAME)
    names = (statement.SUBJECT_NAME, BASELINE_NAME, *papers, issue.LABEL_SVG_NAME, issue.LABEL_PNG_NAME)
    return {name: out / name for name in names if (out / name).is_file()}
