"""Checks that every assessment must pass, built-in or third-party."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from certify.assessment.assessment import Assessment, profile_of
from certify.assessment.claims import Claims
from certify.assessment.profile import Profile
from certify.assessment.rederivation import compare_figures, compare_guards, compare_outcomes
from certify.assessment.registry import ASSESSMENTS
from certify.attest.certificate import Certificate
from certify.attest.envelope import sign
from certify.attest.keys import new_key
from certify.attest.statement import Binding, build_statement
from certify.core.errors import CertificateError, LeanmarkError, UsageError
from certify.core.finding import SIGNED
from certify.core.registry import NAME
from certify.core.schema import load_schema
from certify.testing.checks import CheckFailed, require

DIGEST = re.compile(r"[0-9a-f]{64}")
# One of each JSON kind, with the values on which readers most often fail.
ALTERATIONS: tuple[Any, ...] = (None, True, -1, 0, 1e300, "", "\x00", [], {})
"""Replacement values for a field of a record."""


@dataclass(frozen=True)
class Trial:
    """An assessment and the data of its trial.

    Attributes:
        assessment: the assessment.
        content: a record file from which an outcome follows that is not a refusal.
        edition: name of the edition to judge by.
        stated: further fields of its predicate, which do not follow from the records.
    """

    assessment: Assessment
    content: bytes
    edition: str
    stated: Mapping[str, Any]

    def judged(self, content: bytes | None = None) -> tuple[Profile, Any]:
        """Return profile and outcome, from the bytes of a record file."""
        assessment, edition = self.assessment, self.assessment.load_edition(self.edition)
        records = assessment.parse(self.content if content is None else content, "records.jsonl")
        profile = profile_of(assessment, records, edition)
        return profile, assessment.outcome(profile, edition)

    def certificate(self) -> Certificate:
        """Return a statement signed with a new key."""
        assessment, edition = self.assessment, self.assessment.load_edition(self.edition)
        records, key = assessment.parse(self.content, "records.jsonl"), new_key()
        profile, outcome = self.judged()
        binding = Binding(
            "model", None, "model.onnx", assessment.subject(records), ("00" * 32, len(self.content)), None, {},
            key.public, self.stated,
        )  # fmt: skip
        payload = build_statement(assessment, records, profile, outcome, edition, binding)
        return Certificate(sign(payload, key).to_bytes())


def check_assessment(
    assessment: Assessment, content: bytes, edition: str, stated: Mapping[str, Any] | None = None
) -> None:
    """Try an assessment on a record file and check the contract of assessments.

    Its names and schemas are valid; its records are read, written and judged reproducibly; figures, findings and
    outcome can be signed, read back and printed; and truncated or altered records are judged or refused with a message,
    never with a traceback.

    Args:
        assessment: the assessment; its statements are read back by their type, so it must be registered.
        content: a record file from which an outcome follows that is not a refusal.
        edition: name of the edition to judge by.
        stated: further fields of its predicate, which do not follow from the records.

    Raises:
        CheckFailed: the contract is violated; the message names the assessment and the check.
    """
    trial = Trial(assessment, content, edition, stated or {})
    for name, check in CHECKS_OF_ASSESSMENTS.items():
        try:
            check(trial)
        except CheckFailed as error:
            raise CheckFailed(f"{assessment.name} {error} (check: {name})") from error


def _check_names(trial: Trial) -> None:
    assessment = trial.assessment
    require(bool(NAME.fullmatch(assessment.name)), "must have a name of lower-case letters, digits, '-' and '_'")
    # Parsing by predicate type goes through the registry, so an assessment outside it cannot be verified.
    require(assessment.name in ASSESSMENTS.names(), "is not registered (entry point leanmark.assessments)")
    require(bool(assessment.title.strip()), "has no display title")
    newest = [kind for kind, version in assessment.versions.items() if version.upgrade is None]
    require(newest == [assessment.predicate_type], "must have its predicate type as its only newest version")


def _check_schemas(trial: Trial) -> None:
    for kind, version in trial.assessment.versions.items():
        schema = load_schema(version.schema, version.package)
        stated = schema.get("properties", {}).get("predicateType", {}).get("const")
        require(stated == kind, f"has a schema {version.schema} that is not of the type {kind}")


def _check_editions(trial: Trial) -> None:
    edition = trial.assessment.load_edition(trial.edition)
    require(edition.name == trial.edition, "returns an edition with a different name than requested")
    require(bool(DIGEST.fullmatch(edition.digest)), "has an edition without a hex SHA-256")
    try:
        trial.assessment.load_edition("no such edition")
    except UsageError:
        # Falling back to another edition would judge by other constants than the statement names.
        return
    raise CheckFailed("loads an edition that does not exist")


def _check_records(trial: Trial) -> None:
    assessment = trial.assessment
    records = assessment.parse(trial.content, "records.jsonl")
    # Compared byte for byte, because otherwise digests of records would depend on who wrote them.
    require(assessment.dump(records) == trial.content, "does not write the records as they were read")
    require(
        assessment.is_repeat(records, assessment.parse(trial.content, "again")),
        "does not recognise its own records as a repeat",
    )
    subject = assessment.subject(records)
    require(set(subject) == {"sha256", "leanmarkContent"}, "does not name both digests of its model")
    require(all(DIGEST.fullmatch(digest) for digest in subject.values()), "names a digest that is not a hex SHA-256")
    require({"leanmark", "created"} <= set(assessment.repeated(records)), "repeats neither version nor time")


def _check_judging(trial: Trial) -> None:
    (profile, outcome), (again, second) = trial.judged(), trial.judged()
    rows = [*compare_figures(profile, again), *compare_guards(profile, again)]
    rows += compare_outcomes(outcome.to_json(), second.to_json())
    # Figures must follow from the records alone; a clock or a random number would show here.
    require(all(row.match == "same" for row in rows), "judges the same records differently the second time")
    require(not outcome.refused, "refuses the records that it is tried on; give check_assessment better ones")
    require({"text", "reasons", "notes"} <= set(outcome.to_json()), "has an outcome without text, reasons or notes")
    for finding in profile.guards:
        require(
            finding.outcome in SIGNED,
            f"has the finding {finding.name} with an outcome other than pass, fail and unknown",
        )
        require(
            finding.sentence.endswith("."),
            f"has the finding {finding.name} whose sentence does not end with a full stop",
        )
    for name, estimate in profile.estimates.items():
        require(estimate.low <= estimate.value <= estimate.high, f"has the figure {name} outside of its own interval")


def _check_statement(trial: Trial) -> None:
    try:
        certificate = trial.certificate()
        claims = trial.assessment.claims(certificate.predicate, certificate.digest)
    except CertificateError as error:
        raise CheckFailed(f"has a statement that cannot be read back ({error})") from error
    profile, outcome = trial.judged()
    require(certificate.assessment.name == trial.assessment.name, "shares its predicate type with another assessment")
    require(isinstance(claims, Claims), "returns claims that are not of type Claims")
    require(dict(claims.figures) == dict(profile.estimates), "claims other figures than were signed")
    require(claims.text == outcome.text and not claims.refused, "claims another outcome than was signed")
    require(set(claims.headlines) <= {*claims.figures}, "has a headline without a figure")
    require(bool(claims.headlines), "has no headline figure")


def _check_altered(trial: Trial) -> None:
    for content in _altered(trial.content):
        try:
            trial.judged(content)
        except LeanmarkError:
            continue
        except (ValueError, TypeError, ArithmeticError, LookupError):
            continue  # attest turns these into a failed finding
        except Exception as error:  # any error, since this is what the check is about
            raise CheckFailed(f"raises {type(error).__name__} on altered records") from error


def _altered(content: bytes) -> Iterator[bytes]:
    """Yield truncated record files, and files with one field of one of the first lines replaced."""
    # Truncated in several ways, because a file may end anywhere when a disk is full.
    yield from (b"", b"\n", b"{}\n", content[:-1], content[: len(content) // 2], content + b"\x00\n")
    lines = content.splitlines(keepends=True)
    # The first three lines are the header and two records; further ones are of the same kinds.
    for number, line in enumerate(lines[:3]):
        yield b"".join([*lines[:number], *lines[number + 1 :]])
        values = json.loads(line)
        for field in values if isinstance(values, dict) else ():
            for other in ALTERATIONS:
                replaced = rfc8785.dumps({**values, field: other}) + b"\n"
                yield b"".join([*lines[:number], replaced, *lines[number + 1 :]])


CHECKS_OF_ASSESSMENTS: dict[str, Callable[[Trial], None]] = {
    "names": _check_names,
    "schemas": _check_schemas,
    "editions": _check_editions,
    "records": _check_records,
    "judging": _check_judging,
    "statement": _check_statement,
    "altered": _check_altered,
}
"""Checks by name, in order of execution."""
