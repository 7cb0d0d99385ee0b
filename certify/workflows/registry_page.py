"""Build a registry: a static page of all certified models in a folder, each checked when the page is built."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from certify import __version__
from certify.assessment.claims import Claims
from certify.attest.certificate import CERTIFICATE_NAME, Certificate
from certify.attest.keys import PublicKey
from certify.attest.pack import PACK_SUFFIX, model_in, unpacked
from certify.attest.statements import FOLDER
from certify.attest.trust import TrustStore, trusted
from certify.attest.verification import Verification
from certify.attest.verify import verify
from certify.core.data_use.times import is_time, now, parse_time
from certify.core.errors import LeanmarkError, UsageError
from certify.core.files import write_bytes, write_text
from certify.present.registry import Entry, registry_page
from certify.present.registry.page import BROKEN, EXPIRED, VALID, WITHDRAWN
from certify.present.report import report
from certify.scorecard.assessment import Scorecard
from certify.scorecard.edition import load_edition
from certify.workflows.mark_trust import believed_marks
from certify.workflows.renewal import renewal_of

PAGE = "index.html"
MODELS = "models"
WITHDRAWALS = ("not_revoked", "key_trusted")
"""Checks that fail if the model or the signing key was revoked."""
MOST_REASONS = 5


@dataclass(frozen=True)
class Registry:
    """Finished registry.

    Attributes:
        page: its first page.
        entries: entries in the order of the page.
    """

    page: Path
    entries: tuple[Entry, ...]

    def count(self, state: str) -> int:
        """Return the number of models in a state."""
        return sum(entry.state == state for entry in self.entries)


def build(
    folder: str | Path, out: str | Path, *, trust: Iterable[str | Path | PublicKey] = (), made: str | None = None
) -> Registry:
    """Check every certified model below a folder, and write the page with a report for each valid one.

    Args:
        folder: folder with certified models in folders or packs, at any depth.
        out: output folder for the page; its ``models/`` is replaced.
        trust: public keys to trust, in addition to the user's own.
        made: UTC time of the check. Default: now.

    Raises:
        UsageError: the folder does not exist or has no certified model, or the time is malformed.

    Example:
        >>> found = build("graded", "site", trust=["maker.pub"])
        >>> found.count("valid"), found.page.as_posix()
        (1, 'site/index.html')
    """
    folder, out, keys, made = Path(folder), Path(out), tuple(trust), made or now()
    if not folder.is_dir():
        raise UsageError(f"The folder {folder} does not exist; pass a folder with certified models.")
    if not is_time(made):
        raise UsageError(f"The time of the check must be UTC such as 2026-11-26T09:00:00Z, got {made[:40]!r}.")
    places = list(_places(folder, out))
    if not places:
        raise UsageError(f"No certified model was found below {folder}; pass a folder written by leanmark.")
    # Removed first, because links to pages of deleted models would still work.
    shutil.rmtree(out / MODELS, ignore_errors=True)
    entries = [
        # Numbered, because two folders may give the same slug.
        _entry(
            place, place.relative_to(folder).as_posix(), out, f"{MODELS}/{_slug(place, folder)}-{number}", keys, made
        )
        for number, place in enumerate(places, start=1)
    ]
    write_text(out / PAGE, registry_page(entries, made, __version__))
    return Registry(out / PAGE, tuple(entries))


def _places(folder: Path, out: Path) -> Iterator[Path]:
    """Yield folders with a certificate or statements, and packs, sorted by name."""
    found = {path.parent for path in folder.rglob(CERTIFICATE_NAME)}
    found |= {path.parent for path in folder.rglob(FOLDER) if path.is_dir() and any(path.glob("*.json"))}
    found |= set(folder.rglob(f"*{PACK_SUFFIX}"))
    # The page's own copies of certificates must not be listed again.
    inside = out.resolve()
    return (path for path in sorted(found) if not path.resolve().is_relative_to(inside))


def _slug(place: Path, folder: Path) -> str:
    name = place.relative_to(folder).as_posix().removesuffix(PACK_SUFFIX)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "model"


def _entry(
    place: Path, name: str, out: Path, address: str, keys: tuple[str | Path | PublicKey, ...], time: str
) -> Entry:
    """Check one model; the page states what is wrong with an invalid one and shows none of its figures."""
    with ExitStack() as stack:
        model = place
        try:
            model = stack.enter_context(unpacked(place)) if place.is_file() else model_in(place)
            verification = verify(model, trust=keys)
            state, reasons = _state(verification, time)
            if state in (BROKEN, WITHDRAWN):
                return Entry(name, state, _without(reasons, model, place), (), None, False, _digest(verification))
            claims = tuple(certificate.claims for certificate in verification.certificates)
            ended, marks = _scored(model, verification, trusted(keys), time)
            # An ended score expires the entry; the certificate stays valid.
            state, reasons = (EXPIRED, (*reasons, *ended)) if ended else (state, reasons)
            report(model, out=out / address / "report.html")
            _copy(verification.certificates, out / address)
        except LeanmarkError as error:
            return Entry(name, BROKEN, _without((str(error),), model, place), (), None, False, "")
        report_url, known = f"{address}/report.html", verification.trusted
        return Entry(name, state, reasons, claims, report_url, known, claims[0].digest, marks)


def _scored(
    model: Path, verification: Verification, store: TrustStore, time: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return why a signed score has ended, and an assessment of each mark; nothing without a scorecard."""
    if not any(isinstance(certificate.assessment, Scorecard) for certificate in verification.certificates):
        return (), ()
    when = parse_time(time)
    ended = renewal_of(model, verification, store, (), "", when).validity.reasons
    believed = believed_marks(model, verification, store, (), "", when)
    # One bad mark does not hide the model.
    marks = (
        f"{mark.level}, awarded by {mark.scheme}" if mark.level else f"A mark that does not count: {mark.sentence}"
        for mark in believed
    )
    return tuple(reason.sentence for reason in ended), tuple(marks)


def _without(reasons: Iterable[str], model: Path, place: Path) -> tuple[str, ...]:
    """Remove the folders of this machine from sentences: they are private and vary."""
    found = []
    for sentence in reasons:
        for folder in (model.parent, place, place.parent):
            sentence = sentence.replace(f"{folder}/", "").replace(str(folder), folder.name)
        found.append(sentence)
    return tuple(found)


def _digest(verification: Verification) -> str:
    return "" if verification.certificate is None else verification.certificate.digest


def _copy(certificates: Iterable[Certificate], out: Path) -> None:
    """Copy the signed statements next to the report, so that readers have what it repeats."""
    for certificate in certificates:
        name = CERTIFICATE_NAME if certificate.assessment.sealed else f"{FOLDER}/{certificate.assessment.name}.json"
        write_bytes(out / name, certificate.content)


def _state(verification: Verification, time: str) -> tuple[str, tuple[str, ...]]:
    failed = verification.failed
    withdrawn = [check for check in failed if check.name.rpartition(".")[2] in WITHDRAWALS]
    if withdrawn:
        return WITHDRAWN, tuple(check.sentence for check in withdrawn)
    # A few reasons suffice; a broken file fails most checks at once.
    if failed or verification.certificate is None:
        return BROKEN, tuple(f"{check.name}: {check.sentence}" for check in failed[:MOST_REASONS])
    if not verification.derived:
        return BROKEN, (f"Not derived: {verification.not_derived}",)
    old = [reason for certificate in verification.certificates if (reason := _too_old(certificate.claims, time))]
    return (EXPIRED, tuple(old)) if old else (VALID, ())


def _too_old(claims: Claims, time: str) -> str | None:
    """Return why records are older than the scorecard's edition allows; None if they are not."""
    age = parse_time(time) - parse_time(claims.created)
    most = load_edition().valid_days
    if age.days <= most:
        return None
    return f"{claims.title}: recorded {age.days} days before this page was built; the maximum is {most}."
