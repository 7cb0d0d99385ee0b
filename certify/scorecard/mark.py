"""The mark: a level, awarded by the signature of a certification scheme and by nothing else.

A mark file lies in ``marks/`` beside a model, named after the key that signed it. It is about the model and the signed
scorecard, by their digests; it says which scheme awards which level, what was done for it, and by which verifier. Its
key is none of the maker's and none of the verifier's, and it counts for a reader who has named it as a scheme's
(``leanmark trust scheme``): a maker can make a second key and a file that calls itself a scheme's, so what a file says
of itself draws nothing.

The schemes that a reader knows, and the lists of marks that they took back, are theirs; leanmark ships none.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.attest.certificate import Certificate, read_certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.signed import Signed, read_statement, sign_statement
from certify.attest.statements import MARKS_FOLDER, files_beside
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.core.validation import validated
from certify.core.yaml_document import parse_document
from certify.scorecard.edition import SIGNERS, Signer
from certify.scorecard.levels import Score, lacking
from certify.scorecard.lines import agreeing
from certify.scorecard.validity import NamedList

WITHDRAWN = "withdrawn"
"""Stem of the scheme's list of marks that it took back, where it lies beside a model."""
SCHEMA, LIST_SCHEMA = "mark-1", "withdrawn-marks-1"
SCORECARD_FILE = "scorecard.json"


class LapsedError(CertificateError):
    """A mark of another model or of an earlier count, which means nothing for this one."""


@dataclass(frozen=True)
class Scheme:
    """A certification scheme, as its file describes it (``scheme.yaml``).

    Attributes:
        name: of the scheme.
        owner: who answers for it.
        terms_url: public terms on which everybody can apply.
        body: who decides, independent of owner and maker.
        accreditation: of that body, such as by ISO/IEC 17065; what it says is its own word.
        contact: whom to ask and to complain to.
    """

    name: str
    owner: str
    terms_url: str
    body: str
    accreditation: str
    contact: str

    def to_json(self) -> dict[str, str]:
        """A JSON object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Mark:
    """A mark that lies beside a model.

    Attributes:
        path: its file.
        signed: the statement.
    """

    path: Path
    signed: Signed

    @property
    def key(self) -> PublicKey:
        """The scheme's key."""
        return self.signed.signer

    @property
    def scheme(self) -> Scheme:
        """As the file describes it."""
        return Scheme(**self.signed.predicate["scheme"])

    @property
    def level(self) -> str:
        """That is awarded."""
        return str(self.signed.predicate["level"])

    @property
    def checked(self) -> Signer:
        """What was done."""
        checked: Signer = self.signed.predicate["checked"]
        return checked

    @property
    def verifier(self) -> str | None:
        """Id of the key of the one who did it; None where the scheme only read."""
        verifier: str | None = self.signed.predicate["verifier"]
        return verifier

    @property
    def until(self) -> str:
        """UTC time at which the award ends."""
        return str(self.signed.predicate["until"])

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file."""
        return hashlib.sha256(self.signed.content).hexdigest()

    @property
    def done(self) -> str:
        """What was done, in words."""
        fresh = self.signed.predicate["fresh_data"]
        data = f"with fresh data ({fresh})" if fresh else "without fresh data"
        if self.checked == "reproduced":
            return f"measured again by somebody else, {data}"
        return "derived again from the evidence by somebody else" if self.checked == "cross-checked" else "read"


def read_scheme(path: Path) -> Scheme:
    """Read the file of a scheme.

    Raises:
        UsageError: it cannot be read, or a line is missing or unknown.
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
    """Award a level, as the scheme whose key signs.

    Args:
        found: the score, counted again by the scheme.
        scorecard: the maker's signed statement of the same score.
        level: that is awarded.
        scheme: as its file describes it.
        signer: the scheme's key.
        out: folder of the model.
        until: UTC time at which the award ends.
        related: keys of the maker and of verifiers, with all that they handed over to.

    Returns:
        The file that was written.

    Raises:
        UsageError: the score is not enough, or the key is the maker's or a verifier's.
        CertificateError: something does not fit the schema.
    """
    if (lacks := lacking(found, level)) != ():
        told = " ".join(one.sentence for one in lacks)
        raise UsageError(f"The level {level} cannot be awarded: {told}")
    keys = {one.key for one in found.records.rows}
    if signer.public.key_id in keys or signer.public in set(related):
        raise UsageError(
            "The scheme's key should be none of the maker's and none of the verifier's: assessing and certifying are "
            "two roles. Sign with the scheme's own key."
        )
    predicate = {
        "scheme": scheme.to_json(),
        "level": level,
        "edition": {"name": found.edition.name, "digest": found.edition.digest},
        "until": until,
        **_done(found),
    }
    about = [scorecard.statement["subject"][0], {"name": SCORECARD_FILE, "digest": {"sha256": scorecard.digest}}]
    signed = sign_statement(SCHEMA, about, predicate, signer)
    path = out / MARKS_FOLDER / f"{signer.public.key_id}.json"
    write_bytes(path, signed.content)
    return path


def _done(found: Score) -> dict[str, Any]:
    """The strongest word of another, and whose it is."""
    for checked in reversed(SIGNERS[1:]):
        for one in agreeing(found.records, checked):
            fresh = one.fresh_data if one.fresh_data not in ("", "no") else None
            return {"checked": checked, "verifier": one.key, "fresh_data": fresh}
    return {"checked": "self-attested", "verifier": None, "fresh_data": None}


def mark_files(folders: Sequence[Path]) -> list[Path]:
    """Files beside a model that should hold marks, in the order of their names.

    Raises:
        CertificateError: there are more than anybody would look through.
    """
    return [path for path in files_beside(MARKS_FOLDER, folders) if path.stem != WITHDRAWN]


def read_mark(path: Path, scorecard: Certificate) -> Mark:
    """Read a mark and check that it is about a scorecard.

    Raises:
        LapsedError: it is about another model or an earlier count.
        CertificateError: it is malformed, or its signature is not good.
    """
    if not path.is_file():
        raise CertificateError(f"{path.name} is not a regular file.")
    signed = read_statement(read_certificate(path), SCHEMA)
    about = [scorecard.statement["subject"][0], {"name": SCORECARD_FILE, "digest": {"sha256": scorecard.digest}}]
    if list(signed.subject) != about:
        raise LapsedError(f"{path.name} is a mark of another model or of an earlier count.")
    if path.stem != signed.signer.key_id:
        raise CertificateError(f"{path.name} is not named after the key that signed it.")
    if signed.predicate["edition"] != dict(scorecard.predicate["edition"]):
        raise CertificateError(f"{path.name} is by another edition than the count.")
    return Mark(path, signed)


@dataclass(frozen=True)
class Withdrawals:
    """Marks that a scheme took back.

    Attributes:
        key: of the scheme.
        marks: hex SHA-256 of each mark's file, with the reason.
        named: the list, by digest and date.
    """

    key: PublicKey
    marks: Mapping[str, str]
    named: NamedList


def withdraw(marks: Mapping[str, str], scheme: Scheme, signer: SigningKey) -> Signed:
    """Sign the list of all marks that a scheme took back; a new list replaces an earlier one.

    Args:
        marks: hex SHA-256 of each mark's file, with the reason.
        scheme: as its file describes it.
        signer: the scheme's key.

    Raises:
        CertificateError: something does not fit the schema.
    """
    about = [{"name": "key", "digest": {"sha256": signer.public.key_id}}]
    rows = [{"sha256": digest, "reason": reason} for digest, reason in sorted(marks.items())]
    return sign_statement(LIST_SCHEMA, about, {"scheme": scheme.to_json(), "marks": rows}, signer)


def read_withdrawals(path: Path) -> Withdrawals:
    """Read a scheme's list of marks that it took back.

    Raises:
        UsageError: the file cannot be read.
        CertificateError: it is malformed, or its signature is not good.
    """
    content = read_certificate(path).removesuffix(b"\n")
    signed = read_statement(content, LIST_SCHEMA)
    if signed.subject[0]["digest"]["sha256"] != signed.signer.key_id:
        raise CertificateError(f"{path.name} is about another scheme's key than the one that signed it.")
    marks = {row["sha256"]: row["reason"] for row in signed.predicate["marks"]}
    digest = hashlib.sha256(content).hexdigest()
    return Withdrawals(signed.signer, marks, NamedList("withdrawn marks", digest, signed.predicate["created"]))


def ends(until: str, now: datetime.datetime) -> bool:
    """Whether an award has ended."""
    return now >= datetime.datetime.strptime(until, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
