"""Count the points of a certified model from all its statements, and sign the count."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.assessment.record_file import ModelDigests
from certify.attest.certificate import CERTIFICATE_NAME
from certify.attest.checks_across import is_refutation
from certify.attest.countersignature import countersignature_files, read_countersignature
from certify.attest.issue import Stated, issue
from certify.attest.statements import statement_path
from certify.attest.trust import TrustStore, trusted
from certify.attest.verify import verify
from certify.core.data_use.times import TIME
from certify.core.errors import CertificateError, LeanmarkError, NotDerivedError, UsageError
from certify.core.suggest import unknown_name
from certify.scorecard.assessment import Scorecard
from certify.scorecard.attestation import attest, attestation_files, read_attestation
from certify.scorecard.edition import NEWEST, load_edition
from certify.scorecard.levels import Score, format_points, lacking, next_level, score, steps
from certify.scorecard.records import Attested, Countersigned, Header, Records
from certify.scorecard.sidecars import attested, counted, countersigned, own_lineage
from certify.workflows.statements import redraw_label

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate
    from certify.attest.keys import PublicKey, SigningKey
    from certify.attest.verification import Verification

# Prefix of the checks of the scorecard itself, which is about to be replaced.
RESTING = "scorecard."
DRAWN = ("label", "label_picture")
"""Checks that do not prevent a new count: they concern the old count, or drawings of it."""


@dataclass(frozen=True)
class Scored:
    """Points of a model, with what they were counted from.

    Attributes:
        path: path of the model file.
        score: points, lines and prerequisites.
        verification: verification of everything counted.
        not_counted: third-party statements that earn nothing here, one sentence each.
    """

    path: Path
    score: Score
    verification: Verification
    not_counted: tuple[str, ...] = field(default=())

    @property
    def line(self) -> str:
        """Points in one line, with what is missing."""
        found = self.score
        message = f"Score: {format_points(found.points)} of {found.edition.most:g} points ({found.edition.name})"
        lost = ", ".join(credit.name for credit in found.missing)
        unmet = ", ".join(row.name for row in found.prerequisites if not row.holds)
        parts = [message, "no level, which only a scheme awards"]
        parts += [f"prerequisites missing: {unmet}"] if unmet else []
        parts += [f"not assessed: {lost}"] if lost else []
        return "; ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = self.score
        level = next_level(found)
        lacks = () if level is None else lacking(found, level)
        return {
            "path": str(self.path),
            "edition": {"name": found.edition.name, "digest": found.edition.digest},
            "points": found.points,
            "of": found.edition.most,
            "assessed": found.assessed,
            "pillars": found.pillars,
            "scoped_out": dict(found.scoped_out),
            "prerequisites": [
                {"name": row.name, "title": row.prerequisite.title, "state": row.state, "sentence": row.sentence}
                for row in found.prerequisites
            ],
            "lines": [
                {
                    "name": line.name, "title": line.credit.title, "pillar": line.credit.pillar, "points": line.points,
                    "of": line.credit.points, "state": line.state, "sentence": line.sentence, "why": line.credit.why,
                    "evidence": None if line.source is None else self.evidence_of(line.source),
                }
                for line in found.lines
            ],
            "next": None if level is None else {
                "level": level,
                "lacking": [{"kind": lack.kind, "sentence": lack.sentence, "points": lack.points} for lack in lacks],
                "steps": [
                    {"name": step.name, "points": step.points, "what": step.what} for step in steps(found, level)
                ],
            },
            "not_counted": list(self.not_counted),
        }  # fmt: skip

    def evidence_of(self, assessment: str) -> dict[str, str]:
        """Return path and digest of an assessment's statement."""
        statement = self.score.records.statement(assessment)
        sealed = any(c.assessment.sealed and c.assessment.name == assessment for c in self.verification.certificates)
        place = Path(CERTIFICATE_NAME) if sealed else statement_path(Path(), assessment)
        return {"path": place.as_posix(), "sha256": "" if statement is None else statement.sha256}


def score_model(
    path: str | Path,
    *,
    edition: str = NEWEST,
    not_applicable: Mapping[str, str] | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    now: datetime.datetime | None = None,
) -> Scored:
    """Count the points of a certified model according to the reader's trust.

    Args:
        path: path of the model file.
        edition: edition of the scorecard.
        not_applicable: pillars that do not apply, with the reason.
        trust: public keys to trust, in addition to the trust store.
        now: time of the count. Default: by this machine's clock.

    Raises:
        UsageError: the file, edition or pillar does not exist, or a pillar must not be scoped out.
        CertificateError: the certificate or a statement is not valid.
        NotDerivedError: evidence is missing.

    Example:
        >>> load_edition(NEWEST).valid_days
        730
        >>> found = score_model("graded/model.onnx", trust=["maker.pub"])
        >>> round(found.score.points, 1), found.score.edition.most
        (21.4, 100.0)
    """
    path, rules, keys = Path(path), load_edition(edition), tuple(trust)
    for pillar in not_applicable or {}:
        if pillar not in rules.pillars:
            raise unknown_name("pillar", pillar, list(rules.pillars))
        # A pillar without a rule for it is required of every model.
        if not rules.pillars[pillar].scope_out:
            raise UsageError(f"The pillar {pillar} applies to every model and cannot be scoped out.")
    verification = _verified(path, keys)
    # Statements that rest on others are counts themselves, so they are not counted.
    statements = [
        certificate for certificate in verification.certificates if not certificate.assessment.rests_on_others
    ]
    if not statements:
        raise CertificateError(f"{path} has no statement to count; create one with leanmark certify.")
    store, folders = trusted(keys), [path.parent]
    digests = ModelDigests(**{name: str(value) for name, value in statements[0].subject_digest.items()})
    words, ignored = _words(statements, digests, store, folders)
    moment = now or datetime.datetime.now(datetime.timezone.utc)
    header = Header(
        created=moment.strftime(TIME),
        leanmark=version("leanmark"),
        model=digests,
        edition=rules.name,
        edition_digest=rules.digest,
        scoped_out=dict(not_applicable or {}),
    )
    rows = tuple(counted(statement, edition, own_lineage(statement, folders), statements) for statement in statements)
    return Scored(path, score(Records(header, (*rows, *words)), rules), verification, ignored)


def sign_score(scored: Scored, signer: SigningKey, name: str | None = None) -> Certificate:
    """Sign a count and write it next to the model, as ``statements/scorecard.json``.

    Args:
        scored: result of :func:`score_model`.
        signer: signing key.
        name: display name of the model. Default: that of the certificate.

    Raises:
        CertificateError: a field violates the schema.

    Example:
        >>> from certify.attest.keys import signing_key
        >>> sign_score(score_model("graded/model.onnx", trust=["maker.pub"]), signing_key()).outcome_text
        '21.3 of 100 points'
    """
    main = scored.verification.certificate
    model_name = name or (None if main is None else str(main.predicate["model"]["name"]))
    edition = scored.score.edition.name
    records, folder = scored.score.records, scored.path.parent
    issued = issue(Scorecard(), scored.path, records, edition, signer, folder, Stated(model_name))
    redraw_label(scored.path)
    return issued


def _verified(path: Path, trust: Sequence[str | Path | PublicKey]) -> Verification:
    """Return a verification in which no check contradicts what is counted; a refuted claim earns nothing."""
    verification = verify(path, trust=trust)
    # A refuted claim is allowed: the count then gives it no points, which is the honest result.
    failed = [c for c in verification.failed if not (c.name.startswith(RESTING) or c.name in DRAWN or is_refutation(c))]
    if failed or verification.certificate is None:
        message = " ".join(check.sentence for check in failed)
        raise CertificateError(f"{path} is not valid, so nothing is counted: {message}")
    # Trust alone is not enough, because nothing can be counted without records.
    underived = [
        statement
        for statement in (verification, *verification.others)
        if statement.name != "scorecard" and statement.not_derived
    ]
    if underived and not verification.derived:
        raise NotDerivedError(f"{path}: {underived[0].not_derived} Put the evidence next to the model.")
    return verification


def _words(
    statements: Sequence[Certificate], model: ModelDigests, store: TrustStore, folders: Sequence[Path]
) -> tuple[tuple[Countersigned | Attested, ...], tuple[str, ...]]:
    """Return the third-party statements that count for this reader, and why others do not."""
    own = store.of_one_holder(statement.signer for statement in statements)
    found: list[Countersigned | Attested] = []
    ignored: list[str] = []
    energy = next((statement for statement in statements if statement.assessment.sealed), None)
    for path in [] if energy is None else countersignature_files(folders):
        word = read_countersignature(path, energy)  # type: ignore[arg-type]
        if _counts(word.signed.signer, own, store, "countersignature", ignored):
            found.append(countersigned(word))
    for path in attestation_files(folders):
        try:
            attestation = read_attestation(path, model)
        except LeanmarkError as error:
            ignored.append(f"An attestation is not counted: {error}")
            continue
        if _counts(attestation.signed.signer, own, store, f"attestation of {attestation.name}", ignored):
            found += attested(attestation)
    return tuple(found), tuple(ignored)


def _counts(key: PublicKey, own: set[PublicKey], store: TrustStore, what: str, ignored: list[str]) -> bool:
    short = key.key_id[:16]
    # The maker's own key cannot vouch for the maker, whatever it is called.
    if key in own:
        ignored.append(f"The {what} by key {short} is not counted: it is the maker's own.")
        return False
    standing = store.standing(key)
    if not standing.trusted:
        ignored.append(f"The {what} by key {short} is not counted. {standing.sentence}")
    return standing.trusted


def attest_credits(path: str | Path, credits: Sequence[str], name: str, text: str, signer: SigningKey) -> Path:
    """Attest, as a third party, requirements of credits that cannot be recomputed.

    Args:
        path: path of the model file.
        credits: credits of the newest edition, such as ``S7``.
        name: name of the third party.
        text: what the third party observed.
        signer: key of the third party.

    Returns:
        Path of the attestation, in ``attestations/`` next to the model.

    Raises:
        UsageError: a credit is unknown or cannot be attested, or the key signed a statement about the model.
        CertificateError: the certificate is not valid.

    Example:
        >>> from certify.attest.keys import new_key
        >>> made = attest_credits("graded/model.onnx", ["S7"], "Example Lab", "We read its log.", new_key())
        >>> made.parent.as_posix()
        'graded/attestations'
    """
    path, known = Path(path), load_edition().credits
    for credit in credits:
        if credit not in known:
            raise unknown_name("credit", credit, list(known))
        if not known[credit].attestable:
            can = ", ".join(name for name, found in known.items() if found.attestable)
            raise UsageError(f"{credit} is measured and cannot be attested; choose one of {can}.")
    statements = _verified(path, ()).certificates
    if signer.public in trusted().of_one_holder(statement.signer for statement in statements):
        raise UsageError(
            "This key, or one linked to it by a handover, signed as the maker; only a third party can attest, with a "
            "key of their own."
        )
    return attest(path, statements[0].subject_digest, statements[0].subject_name, credits, name, text, signer)
