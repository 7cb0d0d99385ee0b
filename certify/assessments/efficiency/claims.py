"""Printable claims of an efficiency certificate."""

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
LITTLE = "under 1 %"
HEADLINES = {Figures.energy_ratio: "energy ratio", Figures.relative_loss_percent: "relative accuracy loss"}


@dataclass(frozen=True)
class DataClaim:
    """Test data.

    Attributes:
        name: name of the data set.
        spec: value of ``--data``.
        test_samples: number of test samples.
        test_digest: hex SHA-256 over the samples.
        classes: number of classes.
        metric: declared score that is graded; None for top-1 accuracy.
        further: other signed fields about the data.
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
        """Public test set that these samples and labels are, by digest; None for the maker's own data."""
        return public_name(self.test_digest)

    @property
    def whose(self) -> str:
        """Origin of the test set in a few words: public, or the maker's own."""
        return OWN if self.public is None else "a public test set"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as signed, in the order of canonical JSON."""
        own = {name: value for name, value in vars(self).items() if name != "further" and value is not None}
        return dict(sorted({**own, **self.further}.items()))


@dataclass(frozen=True)
class BaselineClaim:
    """Model that the certified one was compared with.

    Attributes:
        file_digest: hex SHA-256 of its bytes.
        content_digest: hex digest of its content.
        origin: its source, in its maker's words.
        published: published network whose weights it has; None if no known one matches.
        simplified: what was removed or rewritten before measuring; None if it was measured as given.
        preprocess: its preprocessing contract.
        contracts_differ: declared reason why it differs from the certified model's; None if none was declared.
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
        """Published network with these weights, or a note that the maker supplied it."""
        return self.published or GIVEN

    @property
    def provenance(self) -> str:
        """Verified source of the model, and what its maker says about it."""
        return f"{self.known}; its maker says: {self.origin}"

    @property
    def changed(self) -> str | None:
        """Difference from the given file; None if it was measured as given."""
        if self.simplified is None:
            return None
        parts = []
        if self.simplified["removed"] is not None:
            work, size = (_rounded(self.simplified[share]) for share in ("work_share", "bytes_share"))
            operators = ", ".join(self.simplified["removed"]) or "unused parts"
            if work == size == LITTLE:
                parts.append(f"without {operators} ({LITTLE} of its work and bytes)")
            else:
                # The shares come first, because a label has no room for a long list.
                parts.append(f"without {work} of its work and {size} of its bytes: {operators}")
        if self.simplified["rewritten"]:
            parts.append(f"in a form that computes the same in less time: {', '.join(self.simplified['rewritten'])}")
        return f"measured {'; '.join(parts)}"


@dataclass(frozen=True)
class RegradeClaim:
    """Certificate whose evidence was graded again under another edition."""

    certificate: str
    edition: str
    key_id: str


@dataclass(frozen=True, kw_only=True)
class EfficiencyClaims(Claims):
    """Claims of an efficiency certificate.

    Attributes:
        names: names of all figures.
        grade: the letter, or the reasons why there is none.
        workload: how the models were run.
        workload_digest: digest of the workload's canonical JSON.
        device: facts about the machine, by name.
        meter: source of the energy figures; None if there are none.
        data: the test data.
        baseline: model compared with.
        preprocess: the preprocessing contract, as sealed in the file.
        attempts: logged measurements of this pair on that machine, including this one; there may have been more.
        libraries: SHA-256 of the runtime's shared libraries, by name.
        renderer: renderer of the label, with its version.
        regrade_of: original certificate of a regrade; None for a certificate from its own measurement.
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
        """Whether energy comes from a model or a proxy rather than from a meter."""
        return self.meter is not None and self.meter.level in UNMETERED

    @property
    def device_class(self) -> str:
        """Class of devices on which the letter holds."""
        return device_class(self.device, vars(self.workload))

    @property
    def text_on_device(self) -> str:
        """Letter with the class of devices on which it holds; for a refusal, only the word."""
        return self.text if self.refused else f"{self.text} on {self.device_class}"

    @property
    def scored(self) -> bool:
        """Whether a declared score was graded instead of top-1 accuracy."""
        return self.figures.score("baseline") is not None

    def pair(self, stem: Stem) -> tuple[Estimate | None, Estimate | None]:
        """Return a figure of the baseline and of the candidate, by the shared part of its name."""
        return self.figures.get(stem("baseline")), self.figures.get(stem("candidate"))


def efficiency_claims(assessment: Assessment, predicate: Mapping[str, Any], digest: str) -> EfficiencyClaims:
    """Read the claims of an efficiency certificate.

    Raises:
        CertificateError: a printable field is missing or malformed.
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


def _rounded(share: float) -> str:
    """Format a share in whole percents; what was removed must not read as 0 %."""
    return f"{100 * share:.0f} %" if share >= 0.01 else LITTLE


def _data(fields: Mapping[str, Any]) -> DataClaim:
    known = {name: fields[name] for name in ("name", "spec", "test_samples", "test_digest", "classes")}
    further = {name: value for name, value in fields.items() if name not in known and name != "metric"}
    return DataClaim(**known, metric=fields.get("metric"), further=further)
