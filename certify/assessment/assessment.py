"""The protocol of an assessment, which owns a predicate type, its records, and their derivation.

Everything in an assessment is pure: no clock, no device, no network. The surrounding machinery (signing, verifying,
auditing, drawing, gates, exports) knows only this protocol, so a new assessment needs no change elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from certify.assessment.agreement import Agreement
from certify.assessment.claims import Claims, Costs, common_claims
from certify.assessment.outcome import Edition, Outcome
from certify.assessment.profile import Profile
from certify.core.errors import CertificateError, LeanmarkError, UsageError
from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.core.private_data import AuditorBinding, DataKey
from certify.model_file.model_file import ModelFile

NOT_DERIVABLE = (
    LeanmarkError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip
"""Errors raised by formulas on values of forged records (no blocks, zero durations); honest records have none."""


@dataclass(frozen=True)
class Version:
    """Released version of an assessment's statement.

    Attributes:
        schema: name of its JSON schema.
        package: package that contains the schema.
        upgrade: function from a statement of this version to the next; None for the newest.
    """

    schema: str
    package: str
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Surroundings:
    """Statement with its surrounding files, for the checks of its assessment.

    Attributes:
        predicate: signed predicate.
        subject: name of the model file.
        digests: signed digests of the model.
        model: the model file; None if it is not the signed one.
        records: records of the statement; None if they are missing or unreadable.
        folders: folders of further files, in order of precedence.
        trusted_code: digests of plug-in code that the reader trusts, by name.
        trusts: whether the reader trusts a key, by its id.
    """

    predicate: Mapping[str, Any]
    subject: str
    digests: Mapping[str, str]
    model: ModelFile | None
    records: Any
    folders: Sequence[Path]
    trusted_code: Mapping[str, str]
    trusts: Callable[[str], bool] = lambda key_id: False


@dataclass(frozen=True)
class Facts:
    """Facts by which statements of different assessments are compared; empty if not stated.

    Attributes:
        runtime: runtime of the model, with its version.
        lineage: hex SHA-256 of the lineage.
        test_data: digest of the test data.
        baseline: digests of the baseline, of any kind.
    """

    runtime: str = ""
    lineage: str = ""
    test_data: str = ""
    baseline: tuple[str, ...] = ()


class Assessment(Protocol):
    """An assessment; subclass it for the defaults.

    Attributes:
        name: name of its folder and its files, such as ``efficiency``.
        title: display title, such as ``Energy against accuracy``.
        predicate_type: predicate type of its statements.
        versions: every released version, by predicate type; a released one is never removed.
        result: name of the predicate's field with the outcome.
        accepted: word for an outcome other than a refusal, ``graded`` or ``claimed``.
        sealed: whether its statement is sealed into the model file.
        rests_on_others: whether its statement counts others, so that it is removed when one of them is replaced.
    """

    name: str
    title: str
    predicate_type: str
    versions: Mapping[str, Version]
    result: str = "result"
    accepted: str = "claimed"
    sealed: bool = False
    rests_on_others: bool = False

    def parse(self, content: bytes, name: str) -> Any:
        """Parse the bytes of a record file.

        Args:
            content: content of the file.
            name: file name, for errors.

        Raises:
            CertificateError: a record is malformed.
        """
        ...

    def dump(self, records: Any, /) -> bytes:
        """Serialise records; the inverse of :meth:`parse`."""
        ...

    def load_edition(self, name: str) -> Edition:
        """Load an edition by name.

        Raises:
            UsageError: the edition is unknown.
        """
        ...

    def subject(self, records: Any) -> Mapping[str, str]:
        """Return the digests of the model that the records are about: ``sha256`` and ``leanmarkContent``."""
        return asdict(records.header.model)

    def repeated(self, records: Any) -> Mapping[str, Any]:
        """Return the fields of the predicate that repeat the records, including ``leanmark`` and ``created``."""
        ...

    def auditor(self, records: Any) -> AuditorBinding | None:
        """Return the binding of the auditor file, if the data are private; None if nothing is withheld."""
        return None

    def joined(self, records: Any, content: bytes, key: DataKey) -> Any:
        """Return the records with the rows that only an auditor sees, from which withheld checks are derived.

        Args:
            records: public records.
            content: content of the auditor file.
            key: data key that keyed its identifiers.

        Raises:
            CertificateError: the auditor file is malformed, or the public records do not follow from it.
        """
        raise CertificateError(f"Records of {self.name} do not have an auditor file; omit it.")

    def derive(self, records: Any, edition: Any) -> Mapping[str, Estimate]:
        """Derive every figure from the records, by name; an underivable figure is absent, never 0."""
        ...

    def findings(self, records: Any, edition: Any) -> tuple[Finding, ...]:
        """Run every named check over the records."""
        ...

    def outcome(self, profile: Profile, edition: Any) -> Outcome:
        """Return the outcome of figures and findings."""
        ...

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Run checks specific to this assessment, such as facts that follow from the model file."""
        return ()

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return names and free texts shown to readers, by description; none may be mistaken for another text."""
        return {"model's name": predicate["model"]["name"]}

    def where(self, predicate: Mapping[str, Any]) -> str:
        """Return where the outcome holds, such as a class of devices; empty if it holds everywhere."""
        return ""

    def is_repeat(self, first: Any, second: Any) -> bool:
        """Return whether two sets of records are the same measurement."""
        return bool(first == second)

    def agreement(self, first: Any, second: Any, edition: Any) -> Agreement:
        """Test whether a second measurement agrees with the first.

        Raises:
            UsageError: this assessment cannot be measured again.
            CertificateError: the two are not about the same model and data.
        """
        raise UsageError(f"Records of {self.name} cannot be measured again, so they cannot be compared.")

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return every figure that a scorecard may read, by name: those of the profile and those that follow from it.

        Yes is 1 and no is 0; a figure that the statement does not contain is absent.

        Args:
            predicate: predicate of a statement that conforms to its schema.
            lineage: content of the lineage that the statement names; None if not available.
            later: joules spent after it was closed; see :func:`certify.assessment.claims.later_costs`.

        Raises:
            CertificateError: an estimate is malformed.
        """
        return Profile.from_json(predicate["profile"]).estimates

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return the facts by which this statement is compared with others about the same model."""
        return Facts(lineage=(predicate["lineage"] or {}).get("sha256", ""))

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed about a statement.

        Args:
            predicate: predicate of a statement that conforms to its schema.
            digest: hex SHA-256 of the signed envelope.

        Raises:
            CertificateError: a printable field is malformed.
        """
        return Claims(**common_claims(self, predicate, digest))


def profile_of(assessment: Assessment, records: Any, edition: Any) -> Profile:
    """Derive figures and findings: a pure function, reproducible to 1e-9 anywhere.

    Raises:
        CertificateError: a record has a value that cannot have been observed.
    """
    return Profile(assessment.derive(records, edition), assessment.findings(records, edition))
