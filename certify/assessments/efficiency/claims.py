"""What may be printed about an efficiency certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from certify.assessment.claims import Claims, common_claims, presenting
from certify.assessments.efficiency.device_class import device_class
from certify.assessments.efficiency.figures import Figures, Stem
from certify.assessments.efficiency.grade import Grade
from certify.core.estimate import Estimate
from certify.core.evidence import MeterFacts, Workload
from certify.data.public_sets import OWN, public_name
from certify.model_file.onnx_graph.published_weights import GIVEN

if TYPE_CHECKING:
    from certify.assessment.assessment import Assessment

UNMETERED = ("modelled", "proxy")
HEADLINES = {Figures.energy_ratio: "energy ratio", Figures.relative_loss_percent: "relative accuracy loss"}


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

    @property
    def public(self) -> str | None:
        """The public test set that these samples and labels are, by their digest; None for the maker's own data."""
        return public_name(self.test_digest)

    @property
    def whose(self) -> str:
        """Whether it is a public test set, in a few words."""
        return OWN if self.public is None else "a public test set"

    def to_json(self) -> dict[str, Any]:
        """The fields as they were signed, in the order of canonical JSON."""
        own = {name: value for name, value in vars(self).items() if name != "further" and value is not None}
        return dict(sorted({**own, **self.further}.items()))


@dataclass(frozen=True)
class BaselineClaim:
    """The model that the certified one was compared with.

    Attributes:
        file_digest: hex SHA-256 of its bytes.
        content_digest: hex digest of what it says.
        origin: where it comes from, in its maker's words.
        published: the published network whose weights it has; None where it has none that is known.
        simplified: what was removed from the file that was given, and rewritten in it; None where it was measured as it
            was given.
        preprocess: its preprocessing contract.
        contracts_differ: why that differs from the certified model's; None where it was not declared.
    """

    file_digest: str
    content_digest: str
    origin: str
    published: str | None
    simplified: Mapping[str, Any] | None
    preprocess: Mapping[str, Any]
    contracts_differ: str | None

    @property
    def known(self) -> str:
        """The published network that it is, or that it is what the maker gave."""
        return self.published or GIVEN

    @property
    def said(self) -> str:
        """What is known of where it comes from, and what its maker says of it."""
        return f"{self.known}; its maker says: {self.origin}"

    @property
    def changed(self) -> str | None:
        """How it differs from the file that was given; None where it is that file."""
        if self.simplified is None:
            return None
        said = []
        if self.simplified["removed"] is not None:
            work, size = (f"{100 * self.simplified[share]:.0f} %" for share in ("work_share", "bytes_share"))
            told = ", ".join(self.simplified["removed"]) or "what nothing reads"
            said.append(f"without {work} of its work and {size} of its bytes: {told}")
        if self.simplified["rewritten"]:
            said.append(f"in a form that computes the same in less time: {', '.join(self.simplified['rewritten'])}")
        return f"measured {'; '.join(said)}"


@dataclass(frozen=True)
class RegradeClaim:
    """The certificate from whose evidence this one was graded under another edition."""

    certificate: str
    edition: str
    key_id: str


@dataclass(frozen=True, kw_only=True)
class EfficiencyClaims(Claims):
    """What an efficiency certificate says.

    Attributes:
        names: of all figures.
        grade: the letter, or the reasons why there is none.
        workload: how the models were run.
        workload_digest: of the workload's canonical JSON.
        device: facts about the machine, by name.
        meter: how energy came about; None where there is no energy figure.
        data: the test data.
        baseline: what the model was compared with.
        preprocess: the preprocessing contract, as sealed in the file.
        attempts: measurements of this pair logged on that machine, this one included; there may have been more.
        libraries: SHA-256 of the runtime's shared libraries, by name.
        renderer: what drew the label, with its version.
        regrade_of: the earlier certificate of a regrade; None for a measurement of its own.
    """

    names: ClassVar[type[Figures]] = Figures

    figures: Figures
    grade: Grade
    workload: Workload
    workload_digest: str
    device: Mapping[str, Any]
    meter: MeterFacts | None
    data: DataClaim
    baseline: BaselineClaim
    preprocess: Mapping[str, Any]
    attempts: int
    libraries: Mapping[str, str]
    renderer: str
    regrade_of: RegradeClaim | None

    @property
    def unmetered(self) -> bool:
        """Whether energy comes from a model or a stand-in rather than from a meter."""
        return self.meter is not None and self.meter.level in UNMETERED

    @property
    def device_class(self) -> str:
        """On what class of devices the letter holds."""
        return device_class(self.device, vars(self.workload))

    @property
    def text_on_device(self) -> str:
        """The letter with the class of devices on which it holds; of a refusal, the word alone."""
        return self.text if self.refused else f"{self.text} on {self.device_class}"

    @property
    def scored(self) -> bool:
        """Whether a declared score was graded rather than top-1 accuracy."""
        return self.figures.score("baseline") is not None

    def pair(self, stem: Stem) -> tuple[Estimate | None, Estimate | None]:
        """A figure of the baseline and of the candidate, by the part of its name that both share."""
        return self.figures.get(stem("baseline")), self.figures.get(stem("candidate"))


def efficiency_claims(assessment: Assessment, predicate: Mapping[str, Any], digest: str) -> EfficiencyClaims:
    """Read the claims of an efficiency certificate.

    Raises:
        CertificateError: something that may be printed is missing or malformed.
    """
    common = common_claims(assessment, predicate, digest, headlines=HEADLINES)
    with presenting("claims"):
        meter, regrade = predicate["meter"], predicate.get("regrade_of")
        return EfficiencyClaims(
            **{**common, "figures": Figures.of(common["figures"])},
            grade=Grade.from_json(predicate["grade"]),
            workload=Workload(**predicate["workload"]),
            workload_digest=predicate["workload_digest"],
            device=predicate["device"],
            meter=None if meter is None else MeterFacts(**meter),
            data=_data(predicate["data"]),
            baseline=BaselineClaim(**predicate["baseline"]),
            preprocess=predicate["preprocess"],
            attempts=predicate["attempts"],
            libraries=predicate["libraries"],
            renderer=predicate["label"]["renderer"],
            regrade_of=None if regrade is None else RegradeClaim(**regrade),
        )


def _data(fields: Mapping[str, Any]) -> DataClaim:
    known = {name: fields[name] for name in ("name", "spec", "test_samples", "test_digest", "classes")}
    further = {name: value for name, value in fields.items() if name not in known and name != "metric"}
    return DataClaim(**known, metric=fields.get("metric"), further=further)
