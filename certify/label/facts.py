"""What a label prints, read out of a certificate's predicate and put into words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.label.figures import percent, significant
from certify.label.text import clean
from certify.label.wording import Claim, accuracy_claim, energy_claim

LEVELS = {
    "wall": "Metered at the wall socket",
    "counter": "Metered by the device's energy counter",
    "sampled": "Metered by power samples of the device",
    "modelled": "Modelled, not metered",
    "proxy": "Estimated by a stand-in, not metered",
}
NO_METER = "No energy figure"
SCOPES = {
    "board": "the whole accelerator board",
    "module": "the whole computing module",
    "package": "the processor package",
    "vcpu": "the vCPUs",
    "wall": "all that hangs on the socket",
}
LETTERS = tuple("ABCDEFG")
UNMETERED = ("modelled", "proxy")
NOT_VIRTUAL = "none seen"  # as certify.measure writes it where no hypervisor shows
SHORT_DIGITS = 16


@dataclass(frozen=True)
class Facts:
    """The words and figures of one label.

    Attributes:
        letter: A to G; None for a refusal.
        grade: the letter as it is written, with a tilde where energy is modelled.
        reasons: why no letter was given.
        energy: saving, or None for a refusal.
        accuracy: loss, or None for a refusal.
        accuracies: accuracy before and after.
        model: name of the model.
        data: what it was tested on.
        edition: name of the edition.
        date: day of measuring.
        modelled: whether energy is modelled rather than metered.
        evidence: how energy came about, in a few words.
        evidence_detail: the same in a sentence.
        rows: further facts, name and value.
        digest: of the certificate, with its algorithm.
    """

    letter: str | None
    grade: str
    reasons: tuple[str, ...]
    energy: Claim | None
    accuracy: Claim | None
    accuracies: str | None
    model: str
    data: str
    edition: str
    date: str
    modelled: bool
    evidence: str
    evidence_detail: str
    rows: tuple[tuple[str, str], ...]
    digest: str

    @property
    def short_digest(self) -> str:
        """First digits, enough to compare by eye."""
        return self.digest.rpartition(":")[2][:SHORT_DIGITS]

    @property
    def title(self) -> str:
        """For a screen reader, the label in one line."""
        if self.letter is None:
            return f"Energy label of {self.model}: not graded"
        return f"Energy label of {self.model}: grade {self.letter}{', modelled' if self.modelled else ''}"

    @property
    def description(self) -> str:
        """For a screen reader, everything that the label shows."""
        parts = [claim.sentence() for claim in (self.energy, self.accuracy) if claim]
        parts += [*self.reasons, self.evidence, self.evidence_detail, self.data]
        parts += [f"{name}: {value}" for name, value in self.rows]
        return ". ".join([*parts, f"Edition {self.edition}, {self.date}", f"Certificate {self.digest}"]) + "."


def read(predicate: Mapping[str, Any], certificate_digest: str) -> Facts:
    """Read a predicate.

    Raises:
        CertificateError: something that a label shows is missing or malformed.
    """
    try:
        return _read(predicate, certificate_digest)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CertificateError(f"The certificate can't be drawn as a label: {reason}.") from error


def _read(predicate: Mapping[str, Any], digest: str) -> Facts:
    grade, data, meter = predicate["grade"], predicate["data"], predicate["meter"]
    figures = {name: Estimate.from_json(fields) for name, fields in predicate["profile"]["estimates"].items()}
    graded = grade["letter"] is not None
    if graded and grade["letter"] not in LETTERS:
        raise ValueError(f"{grade['letter']!r} is no letter of the scale")
    return Facts(
        letter=grade["letter"],
        grade=clean(grade["text"]),
        reasons=tuple(clean(reason) for reason in grade["reasons"]),
        energy=energy_claim(figures["energy_ratio"], grade["upper_ratio"]) if graded else None,
        accuracy=_loss(figures, grade) if graded else None,
        accuracies=_accuracies(figures) if graded else None,
        model=clean(predicate["model"]["name"]),
        data=clean(f"tested on {data['test_samples']:,} samples of {data['name']}"),
        edition=clean(predicate["edition"]["name"]),
        date=clean(predicate["created"][:10]),
        modelled=meter is not None and meter["level"] in UNMETERED,
        evidence=NO_METER if meter is None else LEVELS[meter["level"]],
        evidence_detail="No meter could be used on this device." if meter is None else clean(_meter(meter)),
        rows=tuple((name, clean(value)) for name, value in _rows(predicate, figures)),
        digest=f"sha256:{digest.removeprefix('sha256:')}",
    )


def _loss(figures: Mapping[str, Estimate], grade: Mapping[str, Any]) -> Claim:
    quality = "score" if "score_baseline" in figures else "accuracy"
    return accuracy_claim(figures["relative_loss_percent"], grade["loss_percent"], quality)


def _accuracies(figures: Mapping[str, Estimate]) -> str:
    before, after = (percent(100 * figures[f"accuracy_{arm}"].value) for arm in ("baseline", "candidate"))
    return f"top-1 {before} before, {after} after"


def _meter(meter: Mapping[str, Any]) -> str:
    """The warning stands first, so that a long method can't push it off the label."""
    source = f"{meter['name']}: {meter['method'].rstrip('.')}; covers {_scope(meter['scope'])}."
    if meter["level"] in UNMETERED:
        return f"The model's own error is not in the interval. {source}"
    if meter["relative_error"] is None:
        return source
    return f"{source} Its maker states {percent(100 * (meter['relative_error'] - 1))} of error."


def _scope(scope: str) -> str:
    """What the joules cover; a scope that no meter here has is named as it stands."""
    return SCOPES.get(scope, f"the {scope}")


def _rows(predicate: Mapping[str, Any], figures: Mapping[str, Estimate]) -> Iterator[tuple[str, str]]:
    yield "Device", _device(predicate["device"])
    yield "Workload", _workload(predicate["workload"])
    if "score_baseline" in figures:
        yield "Graded on", f"the score {predicate['data']['metric']}, not top-1 accuracy"
    yield "Baseline", predicate["baseline"]["origin"]
    yardstick = [figures.get(f"energy_yardstick_{arm}") for arm in ("candidate", "baseline")]
    if yardstick[0] is not None and yardstick[1] is not None:
        after, before = (f"{significant(multiple.value, 2)}×" for multiple in yardstick if multiple is not None)
        yield "Yardstick", f"{after} a ResNet-50's energy (baseline {before})"
    if smallest := figures.get("smallest_detectable_saving"):
        share = smallest.value if smallest.unit == "%" else 100 * smallest.value
        yield "Resolution", f"a saving of {percent(share, 'up')} can be told from none"
    attempts = predicate["attempts"]
    yield "Attempts", f"{attempts} measurement{'s' if attempts > 1 else ''} of this pair logged"
    if unknown := [g["name"].replace("_", " ") for g in predicate["profile"]["guards"] if g["outcome"] == "unknown"]:
        yield "Not known", ", ".join(unknown)


def _device(device: Mapping[str, Any]) -> str:
    parts = [str(device[name]) for name in ("accelerator", "processor") if device.get(name)]
    if processors := device.get("processors_allowed"):
        parts.append(f"{processors} processor{'' if processors == 1 else 's'}")
    if device.get("virtualisation") not in (None, "", NOT_VIRTUAL):
        parts.append("virtual machine")
    return ", ".join(parts or [f"{name} {value}" for name, value in device.items()])


def _workload(workload: Mapping[str, Any]) -> str:
    parts = [f"batch {workload['batch']}", _threads(workload["threads"], workload["candidate_threads"])]
    parts.append(f"{workload['runtime']} {workload['runtime_version']}")
    if workload["precision"] != "as in the model":
        parts.append(workload["precision"])
    return ", ".join(parts)


def _threads(baseline: int, candidate: int) -> str:
    plural = "" if candidate == 1 else "s"
    return f"{candidate} thread{plural}" + (f" (baseline {baseline})" if baseline != candidate else "")
