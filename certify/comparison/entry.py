"""One certified model in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.core.text import clean
from certify.estimate import Estimate

if TYPE_CHECKING:
    from certify.certificate.issue import Certificate
    from certify.certificate.keys import PublicKey


@dataclass(frozen=True)
class Entry:
    """A model with its certificate.

    Attributes:
        name: how it is called in tables: its path, as it was given.
        certificate: of which nothing was found that is not valid.
        trusted: whether it is signed by a key that the caller trusts.
    """

    name: str
    certificate: Certificate
    trusted: bool

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What was signed."""
        return self.certificate.predicate

    @property
    def refused(self) -> bool:
        """Whether there is no letter."""
        return bool(self.predicate["outcome"] == "refused")

    def estimate(self, name: str) -> Estimate | None:
        """A signed figure, or None where there is none."""
        return self.certificate.profile.estimates.get(name)


def read_entry(path: str | Path, trust: Iterable[str | Path | PublicKey] = ()) -> Entry:
    """Verify a certified model.

    Raises:
        UsageError: there is no such file.
        CertificateError: it holds no certificate, or one that is not valid.
        NotDerivedError: there is no evidence that its figures follow from.
    """
    from certify.certificate.verify import require_derived

    certificate, verification = require_derived(path, trust=trust)
    return Entry(clean(path), certificate, verification.trusted)
