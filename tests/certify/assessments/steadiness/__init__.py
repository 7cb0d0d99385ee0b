"""A toy assessment: does a model answer the same when an image moves by a pixel?

It stands for any third party's: its own records, findings, interval, refusal, edition and schema, and nothing of it in
``certify``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785

from certify.assessment.assessment import Assessment, Version
from certify.assessment.claims import Claims, common_claims
from certify.assessment.profile import Profile
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError, UsageError
from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.core.statistics.proportions import wilson_interval

TYPE = "https://example.org/steadiness/v1"


@dataclass(frozen=True)
class Edition:
    """The constants of the toy."""

    name: str = "2026"
    confidence: float = 0.95
    least_samples: int = 20
    least_steady: float = 0.8

    @property
    def digest(self) -> str:
        return hashlib.sha256(rfc8785.dumps(asdict(self))).hexdigest()


@dataclass(frozen=True)
class Records:
    """A header, and for each image whether the answer stayed."""

    header: Mapping[str, Any]
    steady: tuple[bool, ...]


@dataclass(frozen=True)
class Answer:
    """What it ends in."""

    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "reasons": list(self.reasons), "notes": list(self.notes)}


class Steadiness(Assessment):
    """Share of images whose answer stays when the image moves by a pixel."""

    name = "steadiness"
    title = "Steady under a shift"
    predicate_type = TYPE
    versions = {TYPE: Version("steadiness-1", "steadiness")}

    def parse(self, content: bytes, name: str) -> Records:
        lines = content.split(b"\n")
        if lines.pop() or not lines:
            raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
        header, *samples = (parse_canonical(line, f"a line of {name}") for line in lines)
        if not isinstance(header, dict) or set(header) != {"leanmark", "created", "model", "shift"}:
            raise CertificateError(f"{name}: its first line is not a header.")
        if not isinstance(header["model"], dict) or set(header["model"]) != {"sha256", "leanmarkContent"}:
            raise CertificateError(f"{name}: its header does not name a model.")
        if not all(isinstance(one, dict) and list(one) == ["steady"] for one in samples):
            raise CertificateError(f"{name}: a line is not a sample.")
        answers = [one["steady"] for one in samples if isinstance(one, dict)]
        if not all(isinstance(answer, bool) for answer in answers):
            raise CertificateError(f"{name}: an answer is neither true nor false.")
        return Records(header, tuple(answers))

    def dump(self, records: Records) -> bytes:
        lines = [dict(records.header), *({"steady": answer} for answer in records.steady)]
        return b"".join(rfc8785.dumps(line) + b"\n" for line in lines)

    def load_edition(self, name: str) -> Edition:
        if name != Edition.name:
            raise UsageError(f"There is no edition {name} of steadiness.")
        return Edition()

    def subject(self, records: Records) -> Mapping[str, str]:
        model: Mapping[str, str] = records.header["model"]
        return model

    def repeated(self, records: Records) -> Mapping[str, Any]:
        return {name: records.header[name] for name in ("leanmark", "created", "shift")}

    def derive(self, records: Records, edition: Edition) -> Mapping[str, Estimate]:
        n, steady = len(records.steady), sum(records.steady)
        interval = wilson_interval(steady, n, edition.confidence)
        return {"steady": Estimate(steady / n, interval.low, interval.high, "1", n, "Wilson score interval")}

    def findings(self, records: Records, edition: Edition) -> tuple[Finding, ...]:
        n, shift = len(records.steady), records.header["shift"]
        enough, moved = n >= edition.least_samples, isinstance(shift, int) and shift > 0
        return (
            Finding("enough_samples", "pass" if enough else "fail", f"{n} images, at least {edition.least_samples}."),
            Finding("moved", "pass" if moved else "fail", f"The images moved by {shift} pixels."),
        )

    def outcome(self, profile: Profile, edition: Edition) -> Answer:
        reasons = [f"{one.name}: {one.sentence}" for one in profile.guards if one.outcome != "pass"]
        if (low := profile.estimates["steady"].low) < edition.least_steady:
            reasons.append(f"The share may be as low as {low:.2f}; {edition.least_steady:g} is asked.")
        return Answer("refused" if reasons else "steady", tuple(reasons))

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        limits = ("It says nothing about other changes of an image.",)
        return Claims(**common_claims(self, predicate, digest, headlines={"steady": "share"}, limits=limits))


def records(model: Mapping[str, str], steady: int = 97, images: int = 100, shift: int = 1) -> Records:
    """Records of so many images, of which so many kept their answer."""
    header = {"leanmark": "0.1.0", "created": "2026-01-02T03:04:05Z", "model": dict(model), "shift": shift}
    return Records(header, tuple(number < steady for number in range(images)))


def lines(content: bytes) -> list[Any]:
    """A record file as plain values, for tests that alter it."""
    return [json.loads(line) for line in content.splitlines()]
