"""The mark: a level, which only the signature of a certification scheme awards.

A mark is a file in ``marks/`` next to a model, named after the key that signed it. It identifies the model and the
signed scorecard by digest, and states which scheme awards which level, how the model was checked, and by which
verifier. Its key is neither the maker's nor a verifier's, and it counts only for readers who trust it as a scheme's
(``leanmark trust scheme``): a maker can create a second key and a file that claims to be a scheme's.

leanmark ships neither schemes nor lists of withdrawn marks; readers choose their own.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.attest.certificate import Certificate, read_certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.signed import Signed, SignedFile, read_statement, sign_statement
from certify.attest.statements import MARKS_FOLDER, files_beside
from certify.attest.verification import VOUCHING
from certify.core.data_use.times import is_time, parse_time
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.core.validation import validated
from certify.core.yaml_document import parse_document
from certify.scorecard.levels import Score, lacking
from certify.scorecard.lines import agreeing
from certify.scorecard.validity import NamedList

WITHDRAWN = "withdrawn"
"""Stem of a scheme's list of withdrawn marks next to a model."""
SCHEMA, LIST_SCHEMA = "mark-1", "withdrawn-marks-1"
SCORECARD_FILE = "scorecard.json"


class LapsedError(CertificateError):
    """Mark of another model or of an earlier count, which does not apply to this one."""


@dataclass(frozen=True)
class Scheme:
    """Certification scheme as described in its file (``scheme.yaml``).

    Attributes:
        name: public name.
        owner: responsible organisation.
        terms_url: URL of the public terms, open to all applicants.
        body: deciding body, independent of owner and makers.
        accreditation: accreditation of that body, such as by ISO/IEC 17065, as it states itself.
        contact: contact for questions and complaints.
    """

    name: str
    owner: str
    terms_url: str
    body: str
    accreditation: str
    contact: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Mark(SignedFile):
    """Mark next to a model."""

    @property
    def key(self) -> PublicKey:
        """The scheme's key."""
        return self.signed.signer

    @property
    def scheme(self) -> Scheme:
        """The scheme, as described in the mark."""
        return Scheme(**self.signed.predicate["scheme"])

    @property
    def level(self) -> str:
        """Awarded level."""
        return str(self.signed.predicate["level"])

    @property
    def verifier(self) -> str | None:
        """Id of the verifier's key; None if nobody else checked the certificate."""
        verifier: str | None = self.signed.predicate["verifier"]
        return verifier

    @property
    def until(self) -> str:
        """UTC time at which the award ends."""
        return str(self.signed.predicate["until"])

    @property
    def done(self) -> str:
        """How the certificate was checked, in words."""
        fresh = self.signed.predicate["fresh_data"]
        data = f"with fresh data ({fresh})" if fresh else "without fresh data"
        if self.checked == "reproduced":
            return f"measured again by somebody else, {data}"
        return "derived again from the evidence by somebody else" if self.checked == "cross-checked" else "read"


def read_scheme(path: Path) -> Scheme:
    """Read a scheme file.

    Raises:
        UsageError: it cannot be read, or a key is missing or unknown.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"The scheme {path} cannot be read: {error.strerror}.") from error
    document = parse_document(content, str(path))
    return validated(Scheme, document.values, "the scheme", document.place)


def award(
    found: Score,
    scorecard: Certificate,
    level: str,
    scheme: Scheme,
    signer: SigningKey,
    out: Path,
    *,
    until: str,
    related: Iterable[PublicKey] = (),
) -> Path:
    """Award a level as a scheme.

    Args:
        found: score, counted again by the scheme.
        scorecard: the maker's signed statement of the same score.
        level: level to award.
        scheme: description of the scheme.
        signer: key of the scheme.
        out: folder of the model.
        until: UTC time at which the award ends.
        related: keys of the maker and of verifiers, including the successors of these keys.

    Returns:
        Path of the mark.

    Raises:
        UsageError: the score is too low, the end is not a time, or the key is the maker's or a verifier's.
        CertificateError: a field violates the schema.
    """
    if not is_time(until):
        raise UsageError(f"The end of an award must be UTC such as 2028-11-26T00:00:00Z, got {until[:40]!r}.")
    # Checked before anything is signed, because a mark of an unmet level would have to be withdrawn later.
    if (lacks := lacking(found, level)) != ():
        message = " ".join(lack.sentence for lack in lacks)
        raise UsageError(f"The level {level} cannot be awarded: {message}")
    keys = {row.key for row in found.records.rows}
    # For impartiality, nobody who assessed the model may award the level.
    if signer.public.key_id in keys or signer.public in set(related):
        raise UsageError(
            "The scheme's key must be neither the maker's nor a verifier's, because assessing and certifying are two "
            "roles. Sign with the scheme's own key."
        )
    predicate = {
        "scheme": scheme.to_json(),
        "level": level,
        "edition": {"name": found.edition.name, "digest": found.edition.digest},
        "until": until,
        **_done(found),
    }
    # The mark binds both digests, because with the model's alone it would survive a recount with fewer points.
    about = [scorecard.statement["subject"][0], {"name": SCORECARD_FILE, "digest": {"sha256": scorecard.digest}}]
    signed = sign_statement(SCHEMA, about, predicate, signer)
    path = out / MARKS_FOLDER / f"{signer.public.key_id}.json"
    write_bytes(path, signed.content)
    return path


def _done(found: Score) -> dict[str, Any]:
    """Return the most thorough check by a third party, and whose it is."""
    # The mark states only the most thorough check.
    for checked in reversed(VOUCHING[1:]):
        for statement in agreeing(found.records, checked):
            fresh = statement.fresh_data if statement.fresh_data not in ("", "no") else None
            return {"checked": checked, "verifier": statement.key, "fresh_data": fresh}
    return {"checked": "self-attested", "verifier": None, "fresh_data": None}


def mark_files(folders: Sequence[Path]) -> list[Path]:
    """Return the mark files next to a model, sorted by name.

    Raises:
        CertificateError: there are more than the limit.
    """
    # The list of withdrawals lives in the same folder, under a name that no key can have.
    return [path for path in files_beside(MARKS_FOLDER, folders) if path.stem != WITHDRAWN]


def read_mark(path: Path, scorecard: Certificate) -> Mark:
    """Read a mark and check that it is about a scorecard.

    Raises:
        LapsedError: it is about another model or an earlier count.
        CertificateError: it is malformed, or its signature is invalid.
    """
    if not path.is_file():
        raise CertificateError(f"{path.name} is not a regular file.")
    signed = read_statement(read_certificate(path), SCHEMA)
    about = [scorecard.statement["subject"][0], {"name": SCORECARD_FILE, "digest": {"sha256": scorecard.digest}}]
    # The file is not wrong: when a model is counted again, the mark of the earlier count lapses.
    if list(signed.subject) != about:
        raise LapsedError(f"{path.name} is a mark of another model or of an earlier count.")
    if path.stem != signed.signer.key_id:
        raise CertificateError(f"{path.name} is not named after the key that signed it.")
    # The schema accepts dates such as 31 February, which would otherwise fail much later.
    if not is_time(signed.predicate["until"]):
        raise CertificateError(f"{path.name} ends at {signed.predicate['until']}, which is not a time.")
    if signed.predicate["edition"] != dict(scorecard.predicate["edition"]):
        raise CertificateError(f"{path.name} names a different edition from the scorecard's.")
    return Mark(path, signed)


@dataclass(frozen=True)
class Withdrawals:
    """List of the marks that a scheme withdrew.

    Attributes:
        key: key of the scheme.
        marks: reason for each withdrawal, by hex SHA-256 of the mark's file.
        named: digest and date of the list.
    """

    key: PublicKey
    marks: Mapping[str, str]
    named: NamedList

    def reason(self, mark: Mark) -> str | None:
        """Return why the scheme withdrew a mark; None if it did not, or if the mark is another scheme's."""
        # A scheme can withdraw only its own marks; anybody can publish a list.
        return self.marks.get(mark.signed.digest) if mark.key == self.key else None


def withdraw(marks: Mapping[str, str], scheme: Scheme, signer: SigningKey) -> Signed:
    """Sign the list of all marks that a scheme withdrew; a new list replaces the previous one.

    Args:
        marks: reason for each withdrawal, by hex SHA-256 of the mark's file.
        scheme: description of the scheme.
        signer: key of the scheme.

    Raises:
        CertificateError: a field violates the schema.
    """
    about = [{"name": "key", "digest": {"sha256": signer.public.key_id}}]
    # Sorted, so that equal lists give equal bytes.
    rows = [{"sha256": digest, "reason": reason} for digest, reason in sorted(marks.items())]
    return sign_statement(LIST_SCHEMA, about, {"scheme": scheme.to_json(), "marks": rows}, signer)


def read_withdrawals(path: Path) -> Withdrawals:
    """Read a scheme's list of withdrawn marks.

    Raises:
        UsageError: the file cannot be read.
        CertificateError: it is malformed, or its signature is invalid.
    """
    # A list may end with the newline that a text editor appends.
    signed = read_statement(read_certificate(path).removesuffix(b"\n"), LIST_SCHEMA)
    # The signature alone shows only that some key signed it.
    if signed.subject[0]["digest"]["sha256"] != signed.signer.key_id:
        raise CertificateError(f"{path.name} names a scheme's key that did not sign it.")
    marks = {row["sha256"]: row["reason"] for row in signed.predicate["marks"]}
    return Withdrawals(signed.signer, marks, NamedList("withdrawn marks", signed.digest, signed.predicate["created"]))


def ends(until: str, now: datetime.datetime) -> bool:
    """Return whether an award has ended."""
    return now >= parse_time(until)
