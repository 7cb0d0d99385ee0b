"""Tasks of a certification scheme: award a level to a model, and withdraw a mark."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from certify.attest.certificate import read_certificate
from certify.attest.checks_sidecars import now as clock
from certify.attest.countersignature import countersignature_files, read_countersignature
from certify.attest.signed import read_statement
from certify.attest.trust import trusted
from certify.attest.verify import verify
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.scorecard.edition import edition_names
from certify.scorecard.mark import SCHEMA, Scheme, award, read_withdrawals, withdraw
from certify.scorecard.validity import Lists, validity
from certify.workflows.scoring import score_model
from certify.workflows.signed_score import signed_score

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey, SigningKey
    from certify.attest.verification import Verification


def award_level(
    path: str | Path,
    level: str,
    scheme: Scheme,
    signer: SigningKey,
    *,
    trust: Iterable[str | Path | PublicKey] = (),
    until: str | None = None,
    now: datetime.datetime | None = None,
) -> Path:
    """Award a level as a scheme, after verifying and counting everything again with the scheme's own trust.

    Args:
        path: path of the model file, next to the maker's signed score.
        level: level to award.
        scheme: description of the scheme.
        signer: key of the scheme.
        trust: keys of verifiers, in addition to the trust store.
        until: UTC time at which the award ends. Default: when the oldest measurement expires.
        now: current time. Default: by this machine's clock.

    Returns:
        Path of the mark.

    Raises:
        UsageError: the score is too low, has ended, or differs from the scheme's own count; or the key is the maker's
            or a verifier's.
        CertificateError: a file about the model is not valid.
    """
    path, moment, keys = Path(path), now or clock(), tuple(trust)
    verification = verify(path, trust=keys)
    counted = signed_score(path, verification)
    if counted is None:
        raise UsageError(
            f"There is no signed score next to {path}; its maker can create one with leanmark score --sign."
        )
    certificate, points = counted
    # Nothing may be awarded for a file that readers would reject.
    if verification.failed:
        message = ", ".join(check.name for check in verification.failed)
        raise CertificateError(f"{path} is not valid ({message}), so nothing is awarded.")
    again = score_model(
        path, edition=points.edition.name, not_applicable=points.records.header.scoped_out, trust=keys, now=moment
    )
    # A scheme vouches for its own count, so points must not rest on third parties that it does not trust.
    if again.score.records.rows != points.records.rows:
        raise UsageError(
            f"The scheme counts {again.score.points:g} points, but the maker signed {points.points:g}, because they "
            f"trust different third parties. Pass the verifiers' keys with --trust. {' '.join(again.not_counted)}"
        )
    # An award for a score that has ended would be void on its first day.
    holds = validity(points, moment, lists=Lists(newest=edition_names()[-1]))
    if not holds.holds:
        raise UsageError(f"The score has ended: {' '.join(reason.sentence for reason in holds.reasons)}")
    # Keys linked by handovers count as one holder, because a maker's second key must not act as the scheme.
    store = trusted(keys)
    related = store.of_one_holder(
        [*(certificate.signer for certificate in verification.certificates), *_verifiers(path, verification)]
    )
    return award(points, certificate, level, scheme, signer, path.parent, until=until or holds.until, related=related)


def _verifiers(path: Path, verification: Verification) -> list[PublicKey]:
    """Return the keys of all countersigners, trusted or not."""
    energy = next((certificate for certificate in verification.certificates if certificate.assessment.sealed), None)
    if energy is None:
        return []
    # Even a verifier that nobody trusts must not certify what it assessed.
    return [read_countersignature(file, energy).signed.signer for file in countersignature_files([path.parent])]


def withdraw_mark(mark: Path, reason: str, scheme: Scheme, signer: SigningKey, listed: Path) -> Path:
    """Withdraw a mark as the scheme that awarded it: add it to the scheme's list and sign the list again.

    Args:
        mark: path of the mark.
        reason: reason in one sentence.
        scheme: description of the scheme.
        signer: key of the scheme.
        listed: the scheme's list, which is created if it does not exist.

    Raises:
        UsageError: the mark or the list belongs to another scheme.
        CertificateError: a file is malformed.
    """
    content = read_certificate(mark)
    if read_statement(content, SCHEMA).signer != signer.public:
        # Otherwise a scheme could withdraw the mark of a competitor.
        raise UsageError(f"{mark} was signed by another key; a scheme can only withdraw its own marks.")
    known: dict[str, str] = {}
    if listed.is_file():
        before = read_withdrawals(listed)
        if before.key != signer.public:
            raise UsageError(f"{listed} is another scheme's list; pass your own.")
        # A new list replaces the previous one, so it must repeat the earlier marks.
        known = dict(before.marks)
    known[hashlib.sha256(content).hexdigest()] = reason
    write_bytes(listed, withdraw(known, scheme, signer).content)
    return listed
