"""Everything that may be printed about one certificate, typed and read from the signed predicate in one place.

Renderers take :class:`Claims` and never see the predicate. Text stands here as it was signed: each renderer cleans and
escapes it for its own medium.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from certify.assessments.efficiency.profile import Profile
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.evidence import MeterFacts, Workload
from certify.core.finding import Finding
from certify.present.headline import Headline, accuracy_headline, energy_headline

LETTERS = tuple("ABCDEFG")
UNMETERED = ("modelled", "proxy")


@dataclass(frozen=True)
class GradeClaim:
    """The outcome of an edition's rules, as it was signed.

    Attributes:
        letter: A (best) to G; None for a refusal.
        text: the letter as it is written, with a tilde where energy is modelled; ``refused`` for a refusal.
        modelled: whether energy is modelled rather than metered.
        score_db: score in decibels; None for a refusal.
        upper_ratio: U, the upper end of the energy ratio's interval; None where unknown.
        loss_percent: L, the upper end of the relative accuracy loss in percent; None where unknown.
        reasons: why there is no letter, one sentence each.
        notes: what a reader of the letter should know, one sentence each.
    """

    letter: str | None
    text: str
    modelled: bool
    score_db: float | None
    upper_ratio: float | None
    loss_percent: float | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EditionClaim:
    """The edition by whose rules the grade was given."""

    name: str
    digest: str


@dataclass(frozen=True)
class DataClaim:
    """The test data.

    Attributes:
        name: of the data set.
        spec: what ``--data`` was given.
        test_samples: number of test samples.
        test_digest: hex SHA-256 over the samples.
        classes: number of classes.
        metric: the declared score that is graded; None for top-1 accuracy.
        further: what else was signed about the data.
    """

    name: str
    spec: str
    test_samples: int
    test_digest: str
    classes: int
    metric: str | None
    further: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The fields as they were signed, in the order of canonical JSON."""
        own = {name: value for name, value in vars(self).items() if name != "further" and value is not None}
        return dict(sorted({**own, **self.further}.items()))


@dataclass(frozen=True)
class BaselineClaim:
    """The model that the certified one was compared with."""

    file_digest: str
    content_digest: str
    origin: str


@dataclass(frozen=True)
class SignerClaim:
    """The key that signed the certificate."""

    algorithm: str
    public_key: str


@dataclass(frozen=True)
class RegradeClaim:
    """The certificate from whose evidence this one was graded under another edition."""

    certificate: str
    edition: str
    key_id: str


@dataclass(frozen=True)
class Claims:
    """What a certificate says.

    Attributes:
        digest: hex SHA-256 of the certificate.
        leanmark: version that measured.
        created: UTC time at which measuring began.
        model: name of the model, for people.
        model_metadata: digest of the metadata entries of an ONNX file; None for another file.
        edition: by whose rules it was graded.
        outcome: ``graded`` or ``refused``.
        grade: the letter, or the reasons why there is none.
        energy: the headline about energy; None for a refusal.
        accuracy: the headline about accuracy; None for a refusal.
        figures: every figure with its interval and evidence level, by name.
        findings: outcome and sentence of every guard.
        workload: how the models were run.
        workload_digest: of the workload's canonical JSON.
        device: facts about the machine, by name.
        meter: how energy came about; None where there is no energy figure.
        data: the test data.
        baseline: what the model was compared with.
        preprocess: the preprocessing contract, as sealed in the file.
        evidence_digest: hex SHA-256 of the evidence file.
        evidence_bytes: size of that file.
        lineage_digest: hex SHA-256 of the lineage; None for a model whose making is not known.
        companions: hex SHA-256 of further files, by name.
        attempts: measurements of this pair logged on that machine, this one included.
        signer: who signed.
        regrade_of: the earlier certificate of a regrade; None for a measurement of its own.
    """

    digest: str
    leanmark: str
    created: str
    model: str
    model_metadata: str | None
    edition: EditionClaim
    outcome: str
    grade: GradeClaim
    energy: Headline | None
    accuracy: Headline | None
    figures: Mapping[str, Estimate]
    findings: tuple[Finding, ...]
    workload: Workload
    workload_digest: str
    device: Mapping[str, Any]
    meter: MeterFacts | None
    data: DataClaim
    baseline: BaselineClaim
    preprocess: Mapping[str, Any]
    evidence_digest: str
    evidence_bytes: int
    lineage_digest: str | None
    companions: Mapping[str, str]
    attempts: int
    signer: SignerClaim
    regrade_of: RegradeClaim | None

    @property
    def refused(self) -> bool:
        """Whether there is no letter."""
        return self.outcome == "refused"

    @property
    def unmetered(self) -> bool:
        """Whether energy comes from a model or a stand-in rather than from a meter."""
        return self.meter is not None and self.meter.level in UNMETERED

    @property
    def scored(self) -> bool:
        """Whether a declared score was graded rather than top-1 accuracy."""
        return "score_baseline" in self.figures

    def pair(self, stem: str) -> tuple[Estimate | None, Estimate | None]:
        """A figure of the baseline and of the candidate, by the part of its name that both share."""
        return self.figures.get(f"{stem}_baseline"), self.figures.get(f"{stem}_candidate")


@contextmanager
def presenting(what: str) -> Iterator[None]:
    """Turn whatever a malformed certificate raises while it is drawn into a CertificateError.

    Args:
        what: is drawn, such as ``a label``.

    Raises:
        CertificateError: in place of the errors of missing and mistyped values.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CertificateError(f"The certificate cannot be drawn as {what}: {reason}.") from error


def efficiency_claims(predicate: Mapping[str, Any], digest: str) -> Claims:
    """Read the claims of an efficiency certificate.

    Args:
        predicate: of a statement that fits its schema.
        digest: hex SHA-256 of the certificate.

    Raises:
        CertificateError: something that may be printed is missing or malformed.
    """
    with presenting("claims"):
        return _claims(predicate, digest)


def _claims(predicate: Mapping[str, Any], digest: str) -> Claims:
    profile, grade = Profile.from_json(predicate["profile"]), grade_claim(predicate["grade"])
    energy, accuracy = (None, None) if grade.letter is None else _headlines(profile.estimates, grade)
    meter, lineage, regrade = predicate["meter"], predicate["lineage"], predicate.get("regrade_of")
    return Claims(
        digest=digest.removeprefix("sha256:"),
        leanmark=predicate["leanmark"],
        created=predicate["created"],
        model=predicate["model"]["name"],
        model_metadata=predicate["model"]["metadata"],
        edition=EditionClaim(**predicate["edition"]),
        outcome=predicate["outcome"],
        grade=grade,
        energy=energy,
        accuracy=accuracy,
        figures=profile.estimates,
        findings=profile.guards,
        workload=Workload(**predicate["workload"]),
        workload_digest=predicate["workload_digest"],
        device=predicate["device"],
        meter=None if meter is None else MeterFacts(**meter),
        data=_data(predicate["data"]),
        baseline=BaselineClaim(**predicate["baseline"]),
        preprocess=predicate["preprocess"],
        evidence_digest=predicate["evidence"]["sha256"],
        evidence_bytes=predicate["evidence"]["bytes"],
        lineage_digest=None if lineage is None else lineage["sha256"],
        companions=predicate["companions"],
        attempts=predicate["attempts"],
        signer=SignerClaim(**predicate["signer"]),
        regrade_of=None if regrade is None else RegradeClaim(**regrade),
    )


def grade_claim(fields: Mapping[str, Any]) -> GradeClaim:
    """A grade from its JSON fields.

    Raises:
        ValueError: its letter is not one of the scale.
    """
    grade = GradeClaim(**{**fields, "reasons": tuple(fields["reasons"]), "notes": tuple(fields["notes"])})
    if grade.letter is not None and grade.letter not in LETTERS:
        raise ValueError(f"{grade.letter!r} is not a letter of the scale")
    return grade


def _headlines(figures: Mapping[str, Estimate], grade: GradeClaim) -> tuple[Headline, Headline]:
    quality = "score" if "score_baseline" in figures else "accuracy"
    loss = accuracy_headline(figures["relative_loss_percent"], grade.loss_percent, quality)
    return energy_headline(figures["energy_ratio"], grade.upper_ratio), loss


def _data(fields: Mapping[str, Any]) -> DataClaim:
    known = {name: fields[name] for name in ("name", "spec", "test_samples", "test_digest", "classes")}
    further = {name: value for name, value in fields.items() if name not in known and name != "metric"}
    return DataClaim(**known, metric=fields.get("metric"), further=further)
