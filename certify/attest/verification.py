"""The answer of a verification: what was asked by name, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from certify.assessment.claims import REFUSED
from certify.core import exit_codes
from certify.core.finding import Finding, by_name, legend

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

DERIVED = ("profile_follows", "outcome_follows")
"""Checks that derive what was signed again."""

ROWS = "private_rows"
"""The check over rows of private data, which stand in an auditor file."""

VOUCHING = ("self-attested", "cross-checked", "reproduced")
"""What a signature can vouch for, weakest first."""


@dataclass(frozen=True)
class Signature:
    """One who signed, and what for.

    Attributes:
        role: ``maker`` signed the certificate, ``verifier`` a statement of his own about it.
        key_id: of his key; None where sigstore says who he is.
        name: under which the user knows him, or sigstore's identity; None for a stranger.
        trusted: whether the user takes his word.
        vouches_for: ``self-attested``, ``cross-checked`` (derived again from the evidence) or ``reproduced`` (measured
            again).
        agrees: whether he found what the certificate says.
        auditor_files: digests of the auditor files of private data that he had.
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
    """Whether a certificate is to be believed, and why.

    Attributes:
        path: the model's file.
        checks: everything that was asked.
        certificate: None where none could be read.
        signatures: whose signatures are good, the maker's first.
        name: of the statement's assessment.
        others: the same of the further statements that lie beside the model; what holds of a verification as a whole
            (valid, trusted, derived) holds of these too.
    """

    path: Path
    checks: tuple[Finding, ...]
    certificate: Certificate | None
    signatures: tuple[Signature, ...] = ()
    name: str = ""
    others: tuple[Verification, ...] = ()

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Checks that did not pass, those of further statements under ``ASSESSMENT.NAME``."""
        own = tuple(check for check in self.checks if check.outcome == "fail")
        further = (replace(check, name=f"{one.name}.{check.name}") for one in self.others for check in one.failed)
        return (*own, *further)

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against any statement; says nothing about who signed it."""
        return self.certificate is not None and not self.failed

    @property
    def trusted(self) -> bool:
        """Whether it is valid and signed by makers whom the caller trusts."""
        own = any(signature.trusted for signature in self.signatures if signature.role == "maker")
        return self.valid and own and all(one.trusted for one in self.others)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every statement that could be read, the main one first."""
        return tuple(one.certificate for one in (self, *self.others) if one.certificate is not None)

    @property
    def vouched_for(self) -> str:
        """The strongest of what trusted signers vouch for; ``self-attested`` if nobody else is heard."""
        heard = {one.vouches_for for one in self.signatures if one.trusted and one.agrees}
        return next((level for level in reversed(VOUCHING) if level in heard), VOUCHING[0])

    @property
    def refused(self) -> bool:
        """Whether the certificate is a refusal."""
        return self.certificate is not None and self.certificate.outcome_text == REFUSED

    @property
    def derived(self) -> bool:
        """Whether figures, findings and outcome of every statement were computed again from its records."""
        return self._derived and all(one.derived for one in self.others)

    @property
    def _derived(self) -> bool:
        outcomes = [check.outcome for check in self.checks if check.name in DERIVED]
        return len(outcomes) == len(DERIVED) and all(outcome in ("pass", "note") for outcome in outcomes)

    @property
    def auditor_files(self) -> frozenset[str]:
        """Digests of the auditor files from which statements were derived again here, and hold."""
        judged = [one for one in (self, *self.others) if one.certificate is not None and one.rows_hold]
        stated = [one.certificate.predicate["auditor"]["sha256"] for one in judged if one.certificate is not None]
        return frozenset(stated)

    @property
    def rows_hold(self) -> bool:
        """Whether this statement was derived again from its auditor file, here and not by somebody else."""
        rows = self.check(ROWS)
        return rows is not None and rows.outcome == "pass" and bool(self.certificate and self.certificate.audited)

    @property
    def complete(self) -> bool:
        """Whether it is derived, and so is what only rows of private data tell, by the caller or a trusted auditor."""
        return self.derived and not self.waiting

    @property
    def waiting(self) -> str:
        """What waits for an auditor file, in a sentence; empty where nothing does."""
        rows = self.check(ROWS)
        own = "" if rows is None or rows.outcome == "pass" else rows.sentence
        return own or next((one.waiting for one in self.others if one.waiting), "")

    @property
    def not_derived(self) -> str:
        """Why the figures were not derived again, in a sentence; empty where they were."""
        if self._derived:
            return next((f"{one.name}: {one.not_derived}" for one in self.others if not one.derived), "")
        check = self.check("profile_follows")
        return "Its figures were not checked." if check is None else check.sentence

    @property
    def exit_code(self) -> int:
        """0 valid, 1 not valid (a revoked key too), 4 valid but signed by a key that is not trusted."""
        if not self.valid:
            return exit_codes.FAILED
        return exit_codes.DONE if self.trusted else exit_codes.NOT_TRUSTED

    @property
    def strict_exit_code(self) -> int:
        """The same, and 5 where evidence, or the auditor file of private data, is missing."""
        return self.exit_code or (exit_codes.DONE if self.complete else exit_codes.NOT_DERIVED)

    def check(self, name: str) -> Finding | None:
        """A check by name, or None where it was not reached."""
        return by_name(self.checks, name)

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        if not self.valid:
            names = ", ".join(check.name for check in self.failed)
            return f"NOT VALID: {self.path} failed {names}."
        certificate = self.certificate
        if certificate is None:  # for the type checker: valid implies a certificate
            return ""
        words = [f"valid: {_what(certificate, self.name)}", self.vouched_for]
        words += [_what(one.certificate, one.name) for one in self.others if one.certificate is not None]
        if not self.derived:
            words.append(f"NOT DERIVED ({self.not_derived.removesuffix('.')})")
        elif self.waiting:
            words.append("what needs rows of private data is NOT DERIVED")
        if not self.trusted:
            words.append("signed by a key that you have not said you trust")
        return "; ".join(words) + "."

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
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
                certificate.assessment.result: certificate.shown[certificate.assessment.result],
                "edition": certificate.predicate["edition"]["name"],
                "created": certificate.predicate["created"],
                "key_id": certificate.signer.key_id,
                "public_key": certificate.signer.hex,
            },
            "signatures": [asdict(signature) for signature in self.signatures],
            "checks": [check.to_json() for check in self.checks],
            "statements": {one.name: one.to_json() for one in self.others},
        }

    def _repr_svg_(self) -> str | None:
        return self.certificate._repr_svg_() if self.valid and self.derived and self.certificate is not None else None

    def __str__(self) -> str:
        lines = [str(check) for check in self.checks]
        for one in self.others:
            lines += ["", f"{one.name}:", *(str(check) for check in one.checks)]
        told = legend(check for one in (self, *self.others) for check in one.checks)
        return "\n".join([*lines, "", f"({told})", self.verdict])

    def __repr__(self) -> str:
        return f"Verification({self.verdict})"


def _what(certificate: Certificate, name: str) -> str:
    """The outcome of a statement in a few words."""
    result = certificate.assessment.result
    edition = f"edition {certificate.predicate['edition']['name']}"
    kind = result if certificate.assessment.sealed else name
    if certificate.outcome_text == REFUSED:
        refusal = f"refused ({'; '.join(certificate.shown[result]['reasons'])}), {edition}"
        return refusal if certificate.assessment.sealed else f"{kind} {refusal}"
    where = certificate.assessment.where(certificate.predicate)
    return f"{kind} {certificate.outcome_text}{where and f' on {where}'}, {edition}"
