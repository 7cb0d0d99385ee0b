"""Validity of a signed score: what must be measured again, and why."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.attest.checks_sidecars import now as clock
from certify.attest.trust import TrustStore, trusted
from certify.attest.verify import verify
from certify.core.errors import LeanmarkError, UsageError
from certify.scorecard.edition import edition_names
from certify.scorecard.levels import Score
from certify.scorecard.mark import Withdrawals, mark_files, read_mark, read_withdrawals
from certify.scorecard.records import Counted
from certify.scorecard.validity import Lists, Validity, validity
from certify.workflows.signed_score import signed_score

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate
    from certify.attest.keys import PublicKey
    from certify.attest.verification import Verification


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
            "reasons": [vars(reason) for reason in self.validity.reasons],
            "lists": [vars(listed) for listed in self.validity.lists],
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
        withdrawals: schemes' lists of withdrawn marks, in which the marks next to the model are looked up.
        now: the reader's time. Default: by this machine's clock.

    Raises:
        UsageError: there is no signed score, or it is not valid.
        CertificateError: a list is malformed.

    Example:
        >>> renewal("graded/model.onnx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        certify.core.errors.UsageError: There is no valid signed score next to graded/model.onnx; ...
    """
    path, keys = Path(path), tuple(trust)
    lists = tuple(read_withdrawals(withdrawal) for withdrawal in withdrawals)
    return renewal_of(path, verify(path, trust=keys), trusted(keys), lists, runtime, now or clock())


def renewal_of(
    path: Path,
    verification: Verification,
    store: TrustStore,
    withdrawals: Sequence[Withdrawals],
    runtime: str | None,
    now: datetime.datetime,
) -> Renewal:
    """Check the signed score of a model that is already verified; see :func:`renewal`."""
    counted = signed_score(path, verification)
    if counted is None:
        raise UsageError(f"There is no valid signed score next to {path}; create one with leanmark score --sign.")
    certificate, points = counted
    # All statements about a model are of one runtime, so the first one that is named decides.
    measured = next((statement.runtime for statement in points.records.of(Counted) if statement.runtime), "")
    today = installed(measured) if runtime is None else runtime
    against = [
        signature
        for signature in verification.signatures
        # Only verifiers that this reader trusts can end a score.
        if signature.role == "verifier" and signature.trusted and not signature.agrees
    ]
    lists = Lists(
        revoked={key.key_id: why for key, why in store.revoked.items()},
        disagreeing=tuple(signature.key_id for signature in against if signature.key_id is not None),
        newest=edition_names()[-1],
        withdrawn=tuple(_reasons(path, certificate, withdrawals)),
        named=tuple(sorted({withdrawal.named for withdrawal in withdrawals}, key=str)),
    )
    return Renewal(points, validity(points, now, today, lists), today)


def _reasons(path: Path, scorecard: Certificate, withdrawals: Sequence[Withdrawals]) -> Iterator[str]:
    """Yield why schemes withdrew marks next to the model."""
    # Without a list there are no reasons, so the marks need not be read.
    for file in mark_files([path.parent]) if withdrawals else ():
        try:
            mark = read_mark(file, scorecard)
        except LeanmarkError:
            continue  # malformed, or of an earlier count; verification reports it
        yield from (reason for withdrawal in withdrawals if (reason := withdrawal.reason(mark)) is not None)


def installed(runtime: str) -> str:
    """Return the runtime with its version installed here; empty if it is not installed.

    Example:
        >>> installed("no-such-runtime 1.0")
        ''
    """
    name = runtime.partition(" ")[0]
    # An extra such as `-gpu` is another distribution with the same runtime.
    for distribution in (name, name.rpartition("-")[0], f"{name.rpartition('-')[0]}-gpu"):
        try:
            return f"{name} {version(distribution)}" if distribution else ""
        except PackageNotFoundError:
            continue
    return ""
