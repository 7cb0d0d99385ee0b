"""Result of a verification: named checks with their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from certify.assessment.claims import REFUSED
from certify.core import exit_codes
from certify.core.finding import Finding, by_name, legend
from certify.core.text import wrapped

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

DERIVED = ("profile_follows", "outcome_follows")
"""Checks that derive again what was signed."""

ROWS = "private_rows"
"""Check of the rows of private data, which are in an auditor file."""

Vouching = Literal["self-attested", "cross-checked", "reproduced"]
VOUCHING: tuple[Vouching, ...] = ("self-attested", "cross-checked", "reproduced")
"""Levels of vouching, weakest first."""


@dataclass(frozen=True)
class Signature:
    """A signer, and what they vouch for.

    Attributes:
        role: ``maker`` signed the certificate, ``verifier`` a statement of their own about it.
        key_id: id of the signer's key; None if sigstore states the identity.
        name: the user's name for the signer, or sigstore's identity; None for an unknown signer.
        trusted: whether the user trusts the signer.
        vouches_for: ``self-attested``, ``cross-checked`` (derived again from the evidence) or ``reproduced`` (measured
            again).
        agrees: whether the signer agrees with the certificate.
        auditor_files: digests of the auditor files of private data that the signer had.
    """

    role: Literal["maker", "verifier"]
    key_id: str | None
    name: str | None
    trusted: bool
    vouches_for: str
    agrees: bool
    auditor_files: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Verification:
    """Whether a certificate can be believed, and why.

    Attributes:
        path: the model's file.
        checks: all checks.
        certificate: None if none could be read.
        signatures: valid signatures, the maker's first.
        name: name of the statement's assessment.
        others: verifications of the further statements next to the model; properties of the whole (valid, trusted,
            derived) include these.

    Example:
        >>> import certify
        >>> found = certify.verify("graded/model.onnx", trust=["maker.pub"])
        >>> found.valid, found.trusted, found.derived, found.exit_code
        (True, True, True, 0)
        >>> found.check("content_digest").outcome
        'pass'
    """

    path: Path
    checks: tuple[Finding, ...]
    certificate: Certificate | None
    signatures: tuple[Signature, ...] = ()
    name: str = ""
    others: tuple[Verification, ...] = ()

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Checks that did not pass; those of further statements as ``ASSESSMENT.NAME``."""
        own = tuple(check for check in self.checks if check.outcome == "fail")
        further = (
            # Prefixed, to distinguish equal checks of different statements.
            replace(check, name=f"{statement.name}.{check.name}")
            for statement in self.others
            for check in statement.failed
        )
        return (*own, *further)

    @property
    def valid(self) -> bool:
        """Whether no check contradicts any statement; independent of who signed it."""
        return self.certificate is not None and not self.failed

    @property
    def trusted(self) -> bool:
        """Whether it is valid and signed by makers that the caller trusts."""
        own = any(signature.trusted for signature in self.signatures if signature.role == "maker")
        return self.valid and own and all(statement.trusted for statement in self.others)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every readable statement, the main one first."""
        return tuple(statement.certificate for statement in (self, *self.others) if statement.certificate is not None)

    @property
    def vouched_for(self) -> str:
        """Strongest level that a trusted signer vouches for; ``self-attested`` if there is only the maker."""
        # Untrusted and disagreeing signers vouch for nothing.
        heard = {signature.vouches_for for signature in self.signatures if signature.trusted and signature.agrees}
        return next((level for level in reversed(VOUCHING) if level in heard), VOUCHING[0])

    @property
    def refused(self) -> bool:
        """Whether the certificate is a refusal."""
        return self.certificate is not None and self.certificate.outcome_text == REFUSED

    @property
    def derived(self) -> bool:
        """Whether figures, findings and outcome of every statement were derived again from its records."""
        return self._derived and all(statement.derived for statement in self.others)

    @property
    def _derived(self) -> bool:
        outcomes = [check.outcome for check in self.checks if check.name in DERIVED]
        # Both checks must have run, because an empty list would pass.
        return len(outcomes) == len(DERIVED) and all(outcome in ("pass", "note") for outcome in outcomes)

    @property
    def auditor_files(self) -> frozenset[str]:
        """Digests of the auditor files from which statements were derived here, and that agree with them."""
        judged = [
            statement for statement in (self, *self.others) if statement.certificate is not None and statement.rows_hold
        ]
        stated = [
            statement.certificate.predicate["auditor"]["sha256"]
            for statement in judged
            if statement.certificate is not None
        ]
        return frozenset(stated)

    @property
    def rows_hold(self) -> bool:
        """Whether this statement was derived again from its auditor file here, not by someone else."""
        rows = self.check(ROWS)
        return rows is not None and rows.outcome == "pass" and bool(self.certificate and self.certificate.audited)

    @property
    def complete(self) -> bool:
        """Whether it is derived, including what needs rows of private data, by the caller or a trusted auditor."""
        return self.derived and not self.waiting

    @property
    def waiting(self) -> str:
        """What needs an auditor file, in one sentence; empty if nothing does."""
        rows = self.check(ROWS)
        own = "" if rows is None or rows.outcome == "pass" else rows.sentence
        return own or next((statement.waiting for statement in self.others if statement.waiting), "")

    @property
    def not_derived(self) -> str:
        """Why the figures were not derived again, in one sentence; empty if they were."""
        if self._derived:
            return next(
                (f"{statement.name}: {statement.not_derived}" for statement in self.others if not statement.derived), ""
            )
        check = self.check("profile_follows")
        return "Its figures were not checked." if check is None else check.sentence

    @property
    def exit_code(self) -> int:
        """0: valid; 1: not valid (or signed by a revoked key); 4: valid, but signed by a key that is not trusted."""
        if not self.valid:
            return exit_codes.FAILED
        return exit_codes.DONE if self.trusted else exit_codes.NOT_TRUSTED

    @property
    def strict_exit_code(self) -> int:
        """As :attr:`exit_code`, or 5 if evidence, or the auditor file of private data, is missing."""
        return self.exit_code or (exit_codes.DONE if self.complete else exit_codes.NOT_DERIVED)

    def check(self, name: str) -> Finding | None:
        """Return a check by name; None if it was not reached."""
        return by_name(self.checks, name)

    @property
    def verdict(self) -> str:
        """Answer in one sentence."""
        return self._verdict(_what)

    def _verdict(self, what: Callable[[Certificate, str], str]) -> str:
        """Return the verdict, with the outcome of each statement as ``what`` describes it."""
        if not self.valid:
            names = ", ".join(check.name for check in self.failed)
            return f"NOT VALID: {self.path} failed {names}."
        certificate = self.certificate
        if certificate is None:  # for the type checker: a valid verification has a certificate
            return ""
        # Before the outcome, which is only a claim then.
        doubt = "" if self.derived else f", but NOT DERIVED ({self.not_derived.removesuffix('.')})"
        words = [f"valid{doubt}: {what(certificate, self.name)}", self.vouched_for]
        words += [what(each.certificate, each.name) for each in self.others if each.certificate is not None]
        if self.derived and self.waiting:
            words.append("what needs rows of private data is NOT DERIVED")
        if not self.trusted:
            words.append("signed by a key you do not trust")
        return "; ".join(words) + "."

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        certificate = self.certificate
        return {
            "path": str(self.path),
            "valid": self.valid,
            "trusted": self.trusted,
            "refused": self.refused,
            "derived": self.derived,
            "complete": self.complete,
            "vouched_for": self.vouched_for,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "certificate": None
            if certificate is None
            else {
                "sha256": certificate.digest,
                certificate.assessment.result: certificate.displayed[certificate.assessment.result],
                "edition": certificate.predicate["edition"]["name"],
                "created": certificate.predicate["created"],
                "key_id": certificate.signer.key_id,
                "public_key": certificate.signer.hex,
            },
            "signatures": [asdict(signature) for signature in self.signatures],
            "checks": [check.to_json() for check in self.checks],
            "statements": {statement.name: statement.to_json() for statement in self.others},
        }

    def _repr_svg_(self) -> str | None:
        return self.certificate._repr_svg_() if self.valid and self.derived and self.certificate is not None else None

    def __str__(self) -> str:
        lines = [str(check) for check in self.checks]
        for one in self.others:
            lines += ["", f"{one.name}:", *(str(check) for check in one.checks)]
        text = legend(check for one in (self, *self.others) for check in one.checks)
        lines += ["", f"({text})"]
        for one in (self, *self.others):
            if self.valid and one.refused and one.certificate is not None:
                lines += [f"Reasons of the refusal{'' if one is self else f', {one.name}'}:"]
                lines += [f"- {reason}" for reason in _reasons(one.certificate)]
        return "\n".join(map(wrapped, [*lines, self._verdict(_what_in_short)]))

    def __repr__(self) -> str:
        return f"Verification({self.verdict})"


def _reasons(certificate: Certificate) -> list[str]:
    return list(certificate.displayed[certificate.assessment.result]["reasons"])


def _what(certificate: Certificate, name: str) -> str:
    """Return the outcome of a statement, with the reasons of a refusal."""
    because = f" ({'; '.join(_reasons(certificate))})" if certificate.outcome_text == REFUSED else ""
    return _what_in_short(certificate, name, because)


def _what_in_short(certificate: Certificate, name: str, because: str = "") -> str:
    """Return the outcome of a statement in a few words."""
    result = certificate.assessment.result
    edition = f"edition {certificate.predicate['edition']['name']}"
    kind = result if certificate.assessment.sealed else name
    if certificate.outcome_text == REFUSED:
        refusal = f"refused{because}, {edition}"
        return refusal if certificate.assessment.sealed else f"{kind} {refusal}"
    where = certificate.assessment.where(certificate.predicate)
    return f"{kind} {certificate.outcome_text}{where and f' on {where}'}, {edition}"
