"""The folder next to data with their use policy, consent register, journal, and list of models made from them.

For data at ``PATH`` it is ``PATH.use``. It belongs to the data holder and contains keyed identifiers, so it is not
published.

    policy.json      the use policy, canonical JSON
    records.txt      keyed identifiers of all records bound to it, sorted, one per line
    consent.jsonl    receipts and withdrawals, hash-chained
    journal.jsonl    decisions and their outcomes, hash-chained
    models/          identifiers of the records that each model saw
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.data_use.chain import START, Chain, append, read_chain
from certify.core.data_use.consent import Receipt, Register, is_identifier
from certify.core.data_use.merkle import root_of
from certify.core.data_use.policy import UsePolicy
from certify.core.errors import CertificateError, NotPermittedError, UsageError
from certify.core.files import write_bytes
from certify.core.private_data import DataKey

SUFFIX = ".use"
MAX_POLICY_BYTES = 1 << 20


@dataclass(frozen=True)
class MadeModel:
    """A model that saw records under a policy.

    Attributes:
        sha256: SHA-256 of its file.
        content: its ``leanmarkContent``.
        role: ``model``, or the ``original`` or ``teacher`` of a model.
        path: path of its file.
        made: time at which it was made.
        policy: digest of the policy.
        purpose: purpose for which it was made.
        actions: actions by which it saw records.
        root: root of the Merkle tree over the records.
        records: keyed identifiers of the records, sorted.
        parents: SHA-256 of models or weights that it was made from.
        files: SHA-256 of other files with its weights, such as checkpoints.
        job: how to make it again; None if unknown.
    """

    sha256: str
    content: str
    role: str
    path: str
    made: str
    policy: str
    purpose: str
    actions: tuple[str, ...]
    root: str
    records: tuple[str, ...]
    parents: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    job: Mapping[str, Any] | None = None

    @property
    def at(self) -> str:
        """Reference to the path in the journal, which distinguishes copies of a model."""
        return hashlib.sha256(self.path.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Name of its list of records."""
        return f"{self.sha256}-{self.at}"


@dataclass(frozen=True)
class UseFolder:
    """The folder with the use policy of data.

    Attributes:
        path: path of the folder.
    """

    path: Path

    @classmethod
    def beside(cls, data: Path) -> UseFolder:
        """Return the folder for the data at a path, whether or not it exists."""
        return cls(data.parent / f"{data.name}{SUFFIX}")

    @property
    def governs(self) -> bool:
        """Whether the folder has any content; a broken policy also governs the data."""
        return self.path.exists()

    @property
    def policy_path(self) -> Path:
        """Path of the policy."""
        return self.path / "policy.json"

    @property
    def consent_path(self) -> Path:
        """Path of the consent register."""
        return self.path / "consent.jsonl"

    @property
    def journal_path(self) -> Path:
        """Path of the journal."""
        return self.path / "journal.jsonl"

    def policy(self) -> UsePolicy:
        """Read the policy.

        Raises:
            CertificateError: it is missing or malformed.
        """
        return UsePolicy.parse(self._read(self.policy_path), str(self.policy_path))

    def records(self, policy: UsePolicy) -> tuple[str, ...]:
        """Return the identifiers of the records that a policy is bound to.

        Raises:
            CertificateError: the list is missing, or does not match the policy.
        """
        path = self.path / "records.txt"
        # Invalid characters are replaced, so the comparison with the root fails.
        found = tuple(self._read(path, MAX_POLICY_BYTES << 10).decode("ascii", "replace").split())
        if root_of(found) != policy.data.root:
            raise CertificateError(f"{path} does not match the list bound to the policy {policy.name}; restore it.")
        return found

    def register(self) -> Register:
        """Read the consent register; raises like :func:`certify.core.data_use.chain.read_chain`."""
        return Register.of(read_chain(self.consent_path), str(self.consent_path))

    def journal(self) -> Chain:
        """Read the journal; raises like :func:`certify.core.data_use.chain.read_chain`."""
        return read_chain(self.journal_path)

    def untouched(self) -> tuple[UsePolicy, Register]:
        """Return the policy bound last, and the register, which must extend the one used for earlier decisions.

        Raises:
            CertificateError: one of them, or the journal, was altered, truncated or rewritten.
        """
        policy, chain, journal = self.policy(), read_chain(self.consent_path), self.journal()
        if not journal.entries:
            raise CertificateError(
                f"{self.journal_path} is missing or empty; restore it, or, if the data were never used, run: leanmark "
                "policy bind."
            )
        if _last_bound(journal) != policy.digest:
            raise CertificateError(
                f"{self.policy_path} is not the policy that was bound according to the journal; run: leanmark policy "
                "bind."
            )
        known = {START, *chain.heads}
        if any(str(entry.get("consent", START)) not in known for entry in journal.entries):
            raise CertificateError(
                f"{self.consent_path} lacks receipts on which decisions in the journal were based; restore it."
            )
        return policy, Register.of(chain, str(self.consent_path))

    def bind(self, policy: UsePolicy, identifiers: Iterable[str], time: str) -> None:
        """Write a policy and its list of records, replacing an earlier one, and enter it in the journal.

        Raises:
            UsageError: the policy is bound to different records.
            CertificateError: the journal is missing although the data were used before; nothing is written.
        """
        found = sorted(set(identifiers))
        if root_of(found) != policy.data.root:
            raise UsageError(f"The policy {policy.name} is bound to different records; bind it to these first.")
        # Not if only the policy is left, which a crash before the first entry leaves.
        if not self.journal().entries and (self.register().receipts or any((self.path / "models").glob("*.json"))):
            raise CertificateError(
                f"{self.journal_path} is missing or empty, but {self.path} has receipts or models of earlier uses; "
                "restore the journal."
            )
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(self.path / "records.txt", "".join(f"{record}\n" for record in found).encode())
        write_bytes(self.policy_path, policy.content() + b"\n")
        # Entered last: after a crash before this, untouched() refuses the data, as the journal names another policy.
        self.enter({"kind": "policy", "time": time, "policy": policy.digest})

    def add(self, receipts: Sequence[Receipt]) -> Register:
        """Enter receipts in the consent register."""
        self.register()  # do not add to a broken register
        chain = append(self.consent_path, *(receipt.to_json() for receipt in receipts))
        return Register.of(chain, str(self.consent_path))

    def enter(self, *entries: Mapping[str, Any], under: str | None = None) -> Chain:
        """Enter entries in the journal.

        Args:
            entries: entries without their number.
            under: digest of the policy that must still be bound; None for any.

        Raises:
            NotPermittedError: another policy was bound meanwhile; nothing is entered.
        """

        def check(journal: Chain) -> None:
            if under is not None and _last_bound(journal) != under:
                raise NotPermittedError(f"The policy of {self.path} was replaced while it was read; run this again.")

        return append(self.journal_path, *entries, check=check)

    def add_model(self, model: MadeModel) -> None:
        """Store the list of records that a model saw, and enter it in the journal."""
        content = rfc8785.dumps(json.loads(json.dumps(asdict(model))))
        (self.path / "models").mkdir(exist_ok=True, mode=0o700)
        write_bytes(self.path / "models" / f"{model.name}.json", content + b"\n")
        entry = {"kind": "model", "at": model.at, "time": model.made, "policy": model.policy, "model": model.sha256,
                 "content": model.content, "root": model.root, "role": model.role}  # fmt: skip
        self.enter(entry)

    def models(self) -> Iterator[MadeModel]:
        """Yield all models that saw records, according to the journal or, if that was cut, to their lists.

        Raises:
            CertificateError: a list is missing, malformed, or differs from the one in the journal.
        """
        entries = [entry for entry in self.journal().entries if entry["kind"] == "model"]
        # If a model was made again at the same path, its last entry counts.
        named: dict[str, str | None] = {f"{entry['model']}-{entry['at']}": str(entry["root"]) for entry in entries}
        # A list without an entry is of a job that was killed in between, or the journal's end was cut off.
        unnamed = sorted(path.stem for path in (self.path / "models").glob("*.json") if path.stem not in named)
        for name, root in (named | dict.fromkeys(unnamed)).items():
            path = self.path / "models" / f"{name}.json"
            values = parse_canonical(self._read(path, MAX_POLICY_BYTES << 10).removesuffix(b"\n"), str(path))
            try:
                lists = {name: tuple(values[name]) for name in ("actions", "records", "parents", "files")}
                model = MadeModel(**{**values, **lists})
            except (KeyError, TypeError) as error:
                raise CertificateError(f"{path} is malformed ({error!r}); restore it.") from error
            if model.name != name or root_of(model.records) != model.root or root not in (None, model.root):
                raise CertificateError(f"{path} differs from the list in the journal; restore it.")
            yield model

    def _read(self, path: Path, most: int = MAX_POLICY_BYTES) -> bytes:
        try:
            with path.open("rb") as stream:
                content = stream.read(most + 1)
        except OSError as error:
            raise CertificateError(f"{path} cannot be read ({error.strerror}), so nothing is permitted.") from error
        if len(content) > most:
            raise CertificateError(f"{path} is larger than {most} bytes, the limit for such files.")
        return content


def _last_bound(journal: Chain) -> str | None:
    """Return the digest of the policy that a journal binds last."""
    bound = [str(entry["policy"]) for entry in journal.entries if entry.get("kind") == "policy"]
    return bound[-1] if bound else None


def principal_identifier(key: DataKey, name: str) -> str:
    """Return the keyed identifier of a person from their name with the data holder; a keyed identifier is unchanged."""
    return name if is_identifier(name) else key.keyed(f"of the person {name}")
