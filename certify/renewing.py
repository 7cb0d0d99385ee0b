"""Validity of a signed score: what must be measured again, and why."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.attest.checks_sidecars import now as clock
from certify.attest.trust import trusted
from certify.attest.verify import verify
from certify.core.errors import UsageError
from certify.marking import signed_score
from certify.scorecard.edition import edition_names
from certify.scorecard.levels import Score
from certify.scorecard.mark import read_withdrawals
from certify.scorecard.records import Counted
from certify.scorecard.validity import Lists, Validity, validity

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey


@dataclass(frozen=True)
class Renewal:
    """Validity of a signed score.

    Attributes:
        score: score derived from its records.
        validity: whether it holds.
        runtime: runtime that it was compared with; empty if none is installed.
    """

    score: Score
    validity: Validity
    runtime: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "holds": self.validity.holds,
            "until": self.validity.until,
            "runtime": self.runtime,
            "reasons": [vars(one) for one in self.validity.reasons],
            "lists": [vars(one) for one in self.validity.lists],
        }


def renewal(
    path: str | Path,
    *,
    runtime: str | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    withdrawals: Iterable[Path] = (),
    now: datetime.datetime | None = None,
) -> Renewal:
    """Check whether a signed score still holds, and what must be measured again if it does not.

    Args:
        path: path of the model file.
        runtime: runtime of the model, such as ``onnxruntime-cpu 1.33.0``. Default: the version installed here.
        trust: public keys to trust, in addition to the trust store.
        withdrawals: lists of marks that schemes withdrew.
        now: the reader's time. Default: by this machine's clock.

    Raises:
        UsageError: there is no signed score, or it is not valid.
        CertificateError: a list is malformed.

    Example:
        >>> installed("no-such-runtime 1.0")
        ''
    """
    path, keys = Path(path), tuple(trust)
    verification = verify(path, trust=keys)
    counted = signed_score(path, verification)
    if counted is None:
        raise UsageError(f"There is no valid signed score next to {path}; create one with leanmark score --sign.")
    points, store = counted[1], trusted(keys)
    measured = next((one.runtime for one in points.records.of(Counted) if one.runtime), "")
    today = installed(measured) if runtime is None else runtime
    marks = {name for one in withdrawals for name in [read_withdrawals(one).named]}
    against = [one for one in verification.signatures if one.role == "verifier" and one.trusted and not one.agrees]
    lists = Lists(
        revoked={key.key_id: why for key, why in store.revoked.items()},
        disagreeing=tuple(one.key_id for one in against if one.key_id is not None),
        newest=edition_names()[-1],
        named=tuple(sorted(marks, key=str)),
    )
    return Renewal(points, validity(points, now or clock(), today, lists), today)


def installed(runtime: str) -> str:
    """Return the runtime with its version installed here; empty if it is not installed."""
    name = runtime.partition(" ")[0]
    for distribution in (name, name.rpartition("-")[0], f"{name.rpartition('-')[0]}-gpu"):
        try:
            return f"{name} {version(distribution)}" if distribution else ""
        except PackageNotFoundError:
            continue
    return ""
