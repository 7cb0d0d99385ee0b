"""Hostile scorecards, marks, lists, attestations, schemes and editions: what was tried, missed, and what crashed.

Run ``python tests/fuzz/scorecards.py --count 20000 --seed 0``; it leaves with 1 where anything was missed or crashed.
A change is missed where what was altered, and signed again by the maker wherever a signature is needed, is believed: a
count that no check contradicts, a mark that draws a level, or an altered file that is read as if nothing had happened.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mutations
import rfc8785
from graded import Graded, make, own_folders

from certify.assessment.assessment import NOT_DERIVABLE, profile_of
from certify.assessment.record_file import ModelDigests
from certify.attest.audit import audit
from certify.attest.certificate import Certificate
from certify.attest.checks_records import check_derivation, load_edition, read_records
from certify.attest.countersignature import countersign
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import generate
from certify.attest.signed import sign_statement
from certify.attest.statements import records_path, statement_path
from certify.attest.trust import TrustStore
from certify.attest.verify import verify
from certify.cli.mark import TEMPLATE
from certify.core.errors import LeanmarkError
from certify.core.validation import validated
from certify.core.yaml_document import parse_document
from certify.scorecard import edition as editions
from certify.scorecard import sidecars
from certify.scorecard.assessment import Scorecard
from certify.scorecard.attestation import attest, read_attestation
from certify.scorecard.findings import INTEGRITY
from certify.scorecard.mark import Scheme, read_scheme, read_withdrawals, withdraw
from certify.workflows.mark_trust import believed_marks
from certify.workflows.scoring import score_model, sign_score

NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)
SCHEME = Scheme("Example", "Foundation", "https://example.org/terms", "Body", "ISO/IEC 17065", "c@example.org")
Case = Callable[[random.Random], str]
"""Tries one change; gives ``found``, ``same`` where nothing was changed, or ``missed``."""


class Unwritable(Exception):
    """What canonical JSON cannot hold, so that nobody can sign it."""


def canonical(values: Any) -> bytes:
    """Canonical JSON of hostile values."""
    try:
        return rfc8785.dumps(values)
    except (ValueError, UnicodeEncodeError) as error:
        raise Unwritable from error


@contextmanager
def easy_levels() -> Iterator[None]:
    """Levels that the small model reaches, so that a mark which is believed would draw one."""
    real = editions.read_edition

    def read(package: str, name: str, constants: Any) -> Any:
        found, digest = real(package, name, constants)
        if package == editions.PACKAGE:
            levels = {
                level: replace(one, total=1.0 + place, floors={}, signer="self-attested", metered="", all_pillars=False)
                for place, (level, one) in enumerate(found.levels.items())
            }
            found = replace(found, levels=levels, prerequisites={})
        return found, digest

    editions.read_edition = read  # type: ignore[assignment]
    editions.load_edition.cache_clear()
    try:
        yield
    finally:
        editions.read_edition = real  # type: ignore[assignment]
        editions.load_edition.cache_clear()


class Cases:
    """A model with a count, a mark and the words of others, and everything that is done to them.

    Args:
        folder: where the model is made.
    """

    def __init__(self, folder: Path) -> None:
        self.home: Graded = make(folder)
        self.model, self.maker = self.home.model, self.home.key
        self.lab, self.body, self.second = (generate(folder / "keys" / f"{name}.key") for name in ("l", "b", "s"))
        countersign(audit(self.model), self.lab)
        read = Certificate.read(self.model)
        self.attested = attest(self.model, read.subject_digest, "model.onnx", ["S7"], "Institute", "Seen.", self.lab)
        self.scorecard = sign_score(score_model(self.model, trust=[self.lab.public], now=NOW), self.maker)
        self.statements = {one.assessment.name: one for one in verify(self.model).certificates}
        self.energy = next(one for one in self.statements.values() if one.assessment.sealed)
        self.records_file = records_path(statement_path(self.model.parent, "scorecard"))
        self.content = self.records_file.read_bytes()
        self.records = Scorecard().parse(self.content, "records")
        self.digests = ModelDigests(**read.subject_digest)
        self.mark = self._mark()
        self.good_mark = self.mark.read_bytes()
        self.good_attestation = self.attested.read_bytes()
        self.listed = folder / "withdrawn.json"
        digest = hashlib.sha256(self.good_mark).hexdigest()
        self.good_list = withdraw({"0" * 64: "no", digest[::-1]: "no"}, SCHEME, self.body).content
        self.scheme_file = folder / "scheme.yaml"
        self.store = TrustStore(keys={"maker": self.maker.public, "lab": self.lab.public}).with_scheme(
            "known", self.body.public
        )
        self.verification = verify(self.model, trust=[self.maker.public, self.lab.public])
        if not self.level():
            raise RuntimeError("the untouched mark should be believed")

    def _mark(self) -> Path:
        about = [
            self.scorecard.statement["subject"][0],
            {"name": "scorecard.json", "digest": {"sha256": self.scorecard.digest}},
        ]
        predicate = {
            "scheme": SCHEME.to_json(), "level": "silver", "edition": dict(self.scorecard.predicate["edition"]),
            "until": "2028-01-01T00:00:00Z", "checked": "cross-checked", "verifier": self.lab.public.key_id,
            "fresh_data": None,
        }  # fmt: skip
        path = self.model.parent / "marks" / f"{self.body.public.key_id}.json"
        path.parent.mkdir()
        path.write_bytes(sign_statement("mark-1", about, predicate, self.body).content)
        return path

    def level(self) -> str | None:
        """The level that the reader would draw."""
        found = believed_marks(self.model, self.verification, self.store, (), "", NOW)
        return next((one.level for one in found if one.level), None)

    def all(self) -> dict[str, Case]:
        """Everything that is tried, by name."""
        return {
            "records, signed again": self.altered_records,
            "statement, signed again": self.altered_statement,
            "mark": self.altered_mark,
            "mark, signed by another": self.forged_mark,
            "list of withdrawals": self.altered_list,
            "attestation": self.altered_attestation,
            "scheme": self.altered_scheme,
            "edition": self.altered_edition,
        }

    def altered_records(self, rng: random.Random) -> str:
        """Change a counted figure, key, digest or third-party statement."""
        lines = self.content.split(b"\n")[:-1]
        place = rng.randrange(1, len(lines))
        lines[place] = canonical(mutations.of_json(json.loads(lines[place]), rng))
        if rng.random() < 0.1:
            del lines[rng.randrange(1, len(lines))]
        content = b"".join(line + b"\n" for line in lines)
        try:
            records = Scorecard().parse(content, "records")
            profile = profile_of(Scorecard(), records, editions.load_edition())
        except NOT_DERIVABLE:
            return "found"  # verification turns these into a failed check
        if records.rows == self.records.rows:
            return "same"
        findings = [
            sidecars._statements_are_counted(records, self.statements),
            sidecars._figures_follow(records, self.statements, [self.model.parent]),
            sidecars._others_are_counted(records, self.energy, [self.model.parent]),
            *(one for one in profile.guards if one.name in INTEGRITY),
        ]
        outcomes = {one.name: one.outcome for one in findings}
        dropped = outcomes["counted_words"] == "note" or outcomes["counted_statements"] == "note"
        return "found" if "fail" in outcomes.values() or dropped else "missed"

    def altered_statement(self, rng: random.Random) -> str:
        """The maker signs a statement that does not follow from the records."""
        values = json.loads(self.scorecard.envelope.payload)
        predicate = mutations.of_json(values["predicate"], rng)
        if predicate == values["predicate"]:
            return "same"
        content = sign(canonical({**values, "predicate": predicate}), self.maker).to_bytes()
        certificate = Certificate(content)
        if certificate.signer != self.maker.public:
            return "found"  # verification says that the envelope's key is another
        edition, known = load_edition(certificate)
        records, of_records = read_records(certificate, self.records_file)
        derivation, _ = check_derivation(certificate, records, edition, self.records_file)
        named = sidecars._named_alike(certificate.predicate, self.energy)
        metadata = predicate["model"] != values["predicate"]["model"]
        bound = any(predicate[name] != values["predicate"][name] for name in ("lineage", "companions"))
        outcomes = {one.outcome for one in (known, named, *of_records, *derivation)}
        return "found" if outcomes & {"fail", "note"} or metadata or bound else "missed"

    def altered_mark(self, rng: random.Random) -> str:
        """Somebody alters the scheme's file."""
        return self._draws(rng.choice([_canonical, mutations.of_bytes])(self.good_mark, rng))

    def forged_mark(self, rng: random.Random) -> str:
        """The maker writes a file of their own, with their key or a second one, under any name."""
        key = rng.choice([self.maker, self.second, self.lab])
        values = json.loads(parse_envelope(self.good_mark).payload)
        values["predicate"] = mutations.of_json(values["predicate"], rng)
        if isinstance(values["predicate"], dict) and rng.random() < 0.5:
            values["predicate"]["signer"] = {"algorithm": "ed25519", "public_key": key.public.hex}
        return self._draws(sign(canonical(values), key).to_bytes())

    def _draws(self, content: bytes) -> str:
        if content == self.good_mark:
            return "same"
        try:
            self.mark.write_bytes(content)
            return "missed" if self.level() else "found"
        finally:
            self.mark.write_bytes(self.good_mark)

    def altered_list(self, rng: random.Random) -> str:
        """Somebody alters the scheme's list."""
        return self._read(self.listed, self.good_list, rng, read_withdrawals)

    def altered_attestation(self, rng: random.Random) -> str:
        """Somebody alters a third party's word."""
        return self._read(self.attested, self.good_attestation, rng, lambda path: read_attestation(path, self.digests))

    def _read(self, path: Path, good: bytes, rng: random.Random, read: Callable[[Path], object]) -> str:
        content = rng.choice([_canonical, mutations.of_bytes])(good, rng)
        if content.removesuffix(b"\n") == good.removesuffix(b"\n"):
            return "same"
        try:
            path.write_bytes(content)
            read(path)
            return "missed"
        finally:
            path.write_bytes(good)

    def altered_scheme(self, rng: random.Random) -> str:
        """A scheme describes itself in another way; only a crash would be a fault."""
        self.scheme_file.write_bytes(mutations.of_lines(TEMPLATE.encode(), rng))
        read_scheme(self.scheme_file)
        return "found"

    def altered_edition(self, rng: random.Random) -> str:
        """An edition of somebody's own; only a crash would be a fault."""
        content = mutations.of_lines(editions.edition_files(editions.PACKAGE)["secure-2026"], rng)
        document = parse_document(content, "edition")
        constants = validated(editions._Constants, document.values, "the edition", document.place)
        editions.check_edition(editions.ScorecardEdition(**vars(constants), digest="0" * 64))
        return "found"


def _canonical(content: bytes, rng: random.Random) -> bytes:
    values = json.loads(content)
    inner = rng.random() < 0.5
    if not inner:
        return canonical(mutations.of_json(values, rng))
    envelope = parse_envelope(content)
    payload = canonical(mutations.of_json(json.loads(envelope.payload), rng))
    return replace(envelope, payload=payload).to_bytes()


def attempt(case: Case, rng: random.Random) -> str:
    """One change: ``found``, ``same``, ``missed`` or ``crashed``."""
    try:
        return case(rng)
    except LeanmarkError:
        return "found"
    except Unwritable:
        return "same"
    except Exception as error:  # of whatever kind: that is what is looked for
        print(f"crash: {type(error).__name__}: {error}")
        return "crashed"


def fuzz(folder: Path, count: int, seed: int) -> Counter[tuple[str, str]]:
    """Try so many changes, in turn of every kind."""
    tally: Counter[tuple[str, str]] = Counter()
    with own_folders(folder), easy_levels():
        cases = Cases(folder / "home").all()
        for number in range(count):
            name = list(cases)[number % len(cases)]
            outcome = attempt(cases[name], random.Random(f"{seed} {number}"))
            tally[name, outcome] += 1
            if outcome in ("missed", "crashed"):
                print(f"{outcome}: {name}, number {number}, seed {seed}")
    return tally


def main() -> int:
    """Fuzz, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tally = fuzz(Path(name), arguments.count, arguments.seed)
    outcomes = ("found", "same", "missed", "crashed")
    for case in dict.fromkeys(name for name, _ in tally):
        print(f"{case:26} " + "  ".join(f"{outcome} {tally[case, outcome]:6}" for outcome in outcomes))
    total = {outcome: sum(n for (_, one), n in tally.items() if one == outcome) for outcome in outcomes}
    print(f"{'all':26} " + "  ".join(f"{outcome} {n:6}" for outcome, n in total.items()))
    return int(total["missed"] + total["crashed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
