"""One certified model in a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
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
        content: digest of what the model says, the same on every machine.
        trusted: whether it is signed by a key that the caller trusts.
    """

    name: str
    claims: Claims
    content: str
    trusted: bool

    @property
    def device_class(self) -> str:
        """On what class of devices the outcome holds; empty where it does not depend on it."""
        return self.claims.device_class if isinstance(self.claims, EfficiencyClaims) else ""

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
    content = certificate.subject_digest.get("leanmarkContent", "")
    return Entry(clean(path), certificate.claims, content, verification.trusted)
