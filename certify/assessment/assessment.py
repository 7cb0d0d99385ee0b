"""What an assessment is: it owns a predicate type, its records, and what follows from them.

Everything in an assessment is pure: no clock, no device, no network. The machinery around it (signing, verifying,
auditing, drawing, gates, exports) knows this protocol and nothing else, so a new assessment edits no other module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from certify.assessment.agreement import Agreement
from certify.assessment.claims import Claims, common_claims
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
"""What formulas raise on values that no honest records hold (no blocks, zero durations): only forged ones do."""


@dataclass(frozen=True)
class Version:
    """A released form of an assessment's statement.

    Attributes:
        schema: name of its JSON schema.
        package: package whose data the schema is.
        upgrade: makes a statement of the next version from one of this; None for the newest.
    """

    schema: str
    package: str
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Surroundings:
    """A statement with everything that lies around it, for the checks of its assessment.

    Attributes:
        predicate: what was signed.
        subject: name of the model's file.
        digests: of the model, as signed.
        model: the file; None where it is not the one that was signed for.
        records: that the statement follows from; None where they are missing or cannot be read.
        folders: where further files may lie, in this order.
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
    """What a statement says that those of other assessments can be held against; empty where it says nothing.

    Attributes:
        runtime: what ran the model, with its version.
        lineage: hex SHA-256 of the lineage.
        test_data: digest of the test data.
        baseline: digests of what the model is compared with, of whatever kind.
    """

    runtime: str = ""
    lineage: str = ""
    test_data: str = ""
    baseline: tuple[str, ...] = ()


class Assessment(Protocol):
    """One assessment; subclass it for the defaults.

    Attributes:
        name: of its folder and its files, such as ``efficiency``.
        title: for people, such as ``Energy against accuracy``.
        predicate_type: of its statements.
        versions: every released form, by predicate type; a released one is never taken out.
        result: name of the predicate's field that holds the outcome.
        accepted: word for an outcome that is not a refusal, ``graded`` or ``claimed``.
        sealed: whether its statement is sealed into the model's file.
        rests_on_others: whether its statement counts others, so that it goes when one of them is replaced.
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
        """Read the bytes of a record file.

        Args:
            content: the whole file.
            name: of the file, for errors.

        Raises:
            CertificateError: a record is malformed.
        """
        ...

    def dump(self, records: Any) -> bytes:
        """Write records, the inverse of :meth:`parse`."""
        ...

    def load_edition(self, name: str) -> Edition:
        """Load an edition by name.

        Raises:
            UsageError: there is no edition of that name.
        """
        ...

    def subject(self, records: Any) -> Mapping[str, str]:
        """Digests of the model that the records are about: ``sha256`` and ``leanmarkContent``."""
        ...

    def repeated(self, records: Any) -> Mapping[str, Any]:
        """Fields of the predicate that repeat the records, ``leanmark`` and ``created`` among them."""
        ...

    def auditor(self, records: Any) -> AuditorBinding | None:
        """What binds the auditor file, where the records are about private data; None where nothing is withheld."""
        return None

    def joined(self, records: Any, content: bytes, key: DataKey) -> Any:
        """The records with the rows that only an auditor sees, from which the withheld checks are judged.

        Args:
            records: the public ones.
            content: of the auditor file.
            key: that its identifiers were made with.

        Raises:
            CertificateError: the auditor file is malformed, or the public records do not follow from it.
        """
        raise CertificateError(f"Records of {self.name} have no auditor file.")

    def derive(self, records: Any, edition: Any) -> Mapping[str, Estimate]:
        """Derive every figure from the records, by name; a figure that cannot be derived is absent, never 0."""
        ...

    def findings(self, records: Any, edition: Any) -> tuple[Finding, ...]:
        """Run every named check over the records."""
        ...

    def outcome(self, profile: Profile, edition: Any) -> Outcome:
        """Judge figures and findings."""
        ...

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check what only this assessment knows, such as facts that follow from the model's file."""
        return ()

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Names and free texts of a predicate that people read, by what they are; none may pass for another."""
        return {"model's name": predicate["model"]["name"]}

    def where(self, predicate: Mapping[str, Any]) -> str:
        """Where the outcome holds, such as on a class of devices; empty where it holds everywhere."""
        return ""

    def is_repeat(self, first: Any, second: Any) -> bool:
        """Whether two sets of records are one measurement."""
        return bool(first == second)

    def agreement(self, first: Any, second: Any, edition: Any) -> Agreement:
        """Test whether a second measurement agrees with the first.

        Raises:
            UsageError: this assessment cannot be measured again.
            CertificateError: the two are not of the same model and data.
        """
        raise UsageError(f"Records of {self.name} cannot be made again, so there is nothing to compare them with.")

    def figures(self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None) -> Mapping[str, Estimate]:
        """Every figure of a statement that a scorecard may read, by name: those of its profile, and what follows.

        A yes is 1 and a no is 0; what the statement does not tell is absent.

        Args:
            predicate: of a statement that fits its schema.
            lineage: content of the lineage that the statement names, where it is at hand.

        Raises:
            CertificateError: an estimate is malformed.
        """
        return Profile.from_json(predicate["profile"]).estimates

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """What statements of other assessments about the same model can be held against."""
        return Facts(lineage=(predicate["lineage"] or {}).get("sha256", ""))

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Say what may be printed of a statement.

        Args:
            predicate: of a statement that fits its schema.
            digest: hex SHA-256 of the signed envelope.

        Raises:
            CertificateError: something that may be printed is malformed.
        """
        return Claims(**common_claims(self, predicate, digest))


def profile_of(assessment: Assessment, records: Any, edition: Any) -> Profile:
    """Derive figures and findings: a pure function, the same to 1e-9 wherever it is computed again.

    Raises:
        CertificateError: a record holds a value that cannot have been observed.
    """
    return Profile(assessment.derive(records, edition), assessment.findings(records, edition))
