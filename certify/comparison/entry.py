"""Certified model in a comparison."""

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
    """Model with the claims of its certificate.

    Attributes:
        name: name in tables: its path, as given.
        claims: claims of a valid certificate.
        content: digest of the model's content, the same on every machine.
        trusted: whether it is signed by a key that the caller trusts.
    """

    name: str
    claims: Claims
    content: str
    trusted: bool

    @property
    def device_class(self) -> str:
        """Class of devices on which the outcome holds; empty if it does not depend on the device."""
        return self.claims.device_class if isinstance(self.claims, EfficiencyClaims) else ""

    def estimate(self, name: str) -> Estimate | None:
        """Return a signed figure; None if there is none."""
        return self.claims.figures.get(name)


def read_entry(path: str | Path, trust: Iterable[str | Path | PublicKey] = ()) -> Entry:
    """Verify a certified model.

    Raises:
        UsageError: the file does not exist.
        CertificateError: the file has no certificate, or its certificate is not valid.
        NotDerivedError: there is no evidence from which its figures follow.
    """
    certificate, verification = require_derived(path, trust=trust)
    content = certificate.subject_digest.get("leanmarkContent", "")
    return Entry(clean(path), certificate.claims, content, verification.trusted)
