"""The answer of a verification: what was asked by name, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from certify.core import exit_codes
from certify.core.finding import Finding, by_name

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

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
    """

    role: Literal["maker", "verifier"]
    key_id: str | None
    name: str | None
    trusted: bool
    vouches_for: str
    agrees: bool


@dataclass(frozen=True, repr=False)
class Verification:
    """Whether a certificate is to be believed, and why.

    Attributes:
        path: the model's file.
        checks: everything that was asked.
        certificate: None where none could be read.
        signatures: whose signatures are good, the maker's first.
    """

    path: Path
    checks: tuple[Finding, ...]
    certificate: Certificate | None
    signatures: tuple[Signature, ...] = ()

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Checks that did not pass."""
        return tuple(check for check in self.checks if check.outcome == "fail")

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against the certificate; says nothing about who signed it."""
        return self.certificate is not None and not self.failed

    @property
    def trusted(self) -> bool:
        """Whether it is valid and signed by a maker whom the caller trusts."""
        return self.valid and any(signature.trusted for signature in self.signatures if signature.role == "maker")

    @property
    def vouched_for(self) -> str:
        """The strongest of what trusted signers vouch for; ``self-attested`` if nobody else is heard."""
        heard = {one.vouches_for for one in self.signatures if one.trusted and one.agrees}
        return next((level for level in reversed(VOUCHING) if level in heard), VOUCHING[0])

    @property
    def refused(self) -> bool:
        """Whether the certificate says that no letter could be given."""
        return self.certificate is not None and self.certificate.predicate["outcome"] == "refused"

    @property
    def derived(self) -> bool:
        """Whether figures, guards and letter were computed again from the evidence."""
        outcomes = [check.outcome for check in self.checks if check.name in ("profile_follows", "grade_follows")]
        return len(outcomes) == 2 and all(outcome in ("pass", "note") for outcome in outcomes)

    @property
    def not_derived(self) -> str:
        """Why the figures were not derived again, in a sentence; empty where they were."""
        check = self.check("profile_follows")
        return "" if self.derived else "Its figures were not checked." if check is None else check.sentence

    @property
    def exit_code(self) -> int:
        """0 valid, 1 not valid (a revoked key too), 4 valid but signed by a key that is not trusted."""
        if not self.valid:
            return exit_codes.FAILED
        return exit_codes.DONE if self.trusted else exit_codes.NOT_TRUSTED

    @property
    def strict_exit_code(self) -> int:
        """The same, and 5 where nothing was derived from evidence."""
        return self.exit_code or (exit_codes.DONE if self.derived else exit_codes.NOT_DERIVED)

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
        what = f"grade {certificate.grade_text}"
        if self.refused:
            what = f"refused ({'; '.join(certificate.predicate['grade']['reasons'])})"
        words = [f"valid: {what}, edition {certificate.predicate['edition']['name']}", self.vouched_for]
        if not self.derived:
            words.append(f"NOT DERIVED ({self.not_derived.removesuffix('.')})")
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
            "vouched_for": self.vouched_for,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "certificate": None
            if certificate is None
            else {
                "sha256": certificate.digest,
                "grade": certificate.predicate["grade"],
                "edition": certificate.predicate["edition"]["name"],
                "created": certificate.predicate["created"],
                "key_id": certificate.signer.key_id,
                "public_key": certificate.signer.hex,
            },
            "signatures": [asdict(signature) for signature in self.signatures],
            "checks": [check.to_json() for check in self.checks],
        }

    def _repr_svg_(self) -> str | None:
        return self.certificate._repr_svg_() if self.valid and self.derived and self.certificate is not None else None

    def __str__(self) -> str:
        return "\n".join([*(str(check) for check in self.checks), self.verdict])

    def __repr__(self) -> str:
        return f"Verification({self.verdict})"
