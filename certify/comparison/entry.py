"""One certified model in a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certify.assessments.claims import Claims
from certify.attest.verify import require_derived
from certify.core.estimate import Estimate
from certify.core.text import clean

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey


@dataclass(frozen=True)
class Entry:
    """A model with the claims of its certificate.

    Attributes:
        name: what tables call it: its path, as given.
        claims: of a certificate against which nothing was found.
        trusted: whether it is signed by a key that the caller trusts.
    """

    name: str
    claims: Claims
    trusted: bool

    def estimate(self, name: str) -> Estimate | None:
        """A signed figure, or None where there is none."""
        return self.claims.figures.get(name)


def read_entry(path: str | Path, trust: Iterable[str | Path | PublicKey] = ()) -> Entry:
    """Verify a certified model.

    Raises:
        UsageError: there is no such file.
        CertificateError: it holds no certificate, or one that is not valid.
        NotDerivedError: there is no evidence that its figures follow from.
    """
    certificate, verification = require_derived(path, trust=trust)
    return Entry(clean(path), certificate.claims, verification.trusted)
