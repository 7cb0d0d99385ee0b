"""The folder beside data that holds their use policy, consent register, journal, and the models made from them.

For data at ``PATH`` it is ``PATH.use``. It is the data holder's own and holds keyed identifiers: it is not published.

    policy.json      the use policy, canonical JSON
    records.txt      keyed identifiers of all records that it is bound to, sorted, one a line
    consent.jsonl    receipts and withdrawals, hash-chained
    journal.jsonl    decisions and what became of them, hash-chained
    models/          for each model that was made, the identifiers of the records that it saw
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
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.core.private_data import DataKey

SUFFIX = ".use"
MAX_POLICY_BYTES = 1 << 20


@dataclass(frozen=True)
class MadeModel:
    """A model that saw records under a policy.

    Attributes:
        sha256: of its file.
        content: its ``leanmarkContent``.
        role: ``model``, or the ``original`` or ``teacher`` of one.
        path: where its file was written.
        made: when.
        policy: digest of the policy.
        purpose: that it was made for.
        actions: by which it saw records.
        root: of the Merkle tree over the records.
        records: their keyed identifiers, sorted.
        parents: SHA-256 of models or weights that it was made from.
        files: SHA-256 of what else holds its weights, such as checkpoints.
        job: how to make it again; None where that is not known.
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
        """What the journal calls the path by, so that a copy of a model is told from another."""
        return hashlib.sha256(self.path.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What its list is called."""
        return f"{self.sha256}-{self.at}"


@dataclass(frozen=True)
class UseFolder:
    """What lies beside data about their use.

    Attributes:
        path: of the folder.
    """

    path: Path

    @classmethod
    def beside(cls, data: Path) -> UseFolder:
        """The folder for the data at a path, whether or not it is there."""
        return cls(data.parent / f"{data.name}{SUFFIX}")

    @property
    def governs(self) -> bool:
        """Whether there is anything; what is there but broken governs too."""
        return self.path.exists()

    @property
    def policy_path(self) -> Path:
        """The file of the policy."""
        return self.path / "policy.json"

    @property
    def consent_path(self) -> Path:
        """The file of the consent register."""
        return self.path / "consent.jsonl"

    @property
    def journal_path(self) -> Path:
        """The file of the journal."""
        return self.path / "journal.jsonl"

    def policy(self) -> UsePolicy:
        """Read the policy.

        Raises:
            CertificateError: it is missing or malformed.
        """
        return UsePolicy.parse(self._read(self.policy_path), str(self.policy_path))

    def records(self, policy: UsePolicy) -> tuple[str, ...]:
        """Identifiers of the records that a policy is bound to.

        Raises:
            CertificateError: the list is missing, or is not the one that the policy is bound to.
        """
        path = self.path / "records.txt"
        found = tuple(self._read(path, MAX_POLICY_BYTES << 10).decode("ascii", "replace").split())
        if root_of(found) != policy.data.root:
            raise CertificateError(f"{path} is not the list that the policy {policy.name} is bound to; restore it.")
        return found

    def register(self) -> Register:
        """Read the consent register; raises as :func:`certify.core.data_use.chain.read_chain` does."""
        return Register.of(read_chain(self.consent_path), str(self.consent_path))

    def journal(self) -> Chain:
        """Read the journal; raises likewise."""
        return read_chain(self.journal_path)

    def untouched(self) -> tuple[UsePolicy, Register]:
        """The policy that was bound last, and a register that goes on from what decisions were made by.

        Raises:
            CertificateError: one of them, or the journal that tells, was altered, cut short or written again.
        """
        policy, chain, journal = self.policy(), read_chain(self.consent_path), self.journal()
        bound = [str(one["policy"]) for one in journal.entries if one.get("kind") == "policy"]
        if not bound or bound[-1] != policy.digest:
            raise CertificateError(
                f"{self.policy_path} is not the policy that was bound, as the journal tells; use leanmark policy bind."
            )
        known = {START, *chain.heads}
        if any(str(one.get("consent", START)) not in known for one in journal.entries):
            raise CertificateError(
                f"{self.consent_path} lacks receipts that decisions in the journal were made by; restore it."
            )
        return policy, Register.of(chain, str(self.consent_path))

    def bind(self, policy: UsePolicy, identifiers: Iterable[str], time: str) -> None:
        """Write a policy and the list that it is bound to, in the place of an earlier one, and enter it in the journal.

        Raises:
            UsageError: the policy is bound to other records.
        """
        found = sorted(set(identifiers))
        if root_of(found) != policy.data.root:
            raise UsageError(f"The policy {policy.name} is bound to other records than these; bind it to them first.")
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(self.path / "records.txt", "".join(f"{one}\n" for one in found).encode())
        write_bytes(self.policy_path, policy.content() + b"\n")
        self.enter({"kind": "policy", "time": time, "policy": policy.digest})

    def add(self, receipts: Sequence[Receipt]) -> Register:
        """Enter receipts in the consent register."""
        self.register()  # what is broken is not added to
        chain = append(self.consent_path, *(one.to_json() for one in receipts))
        return Register.of(chain, str(self.consent_path))

    def enter(self, *entries: Mapping[str, Any]) -> Chain:
        """Enter lines in the journal."""
        return append(self.journal_path, *entries)

    def add_model(self, model: MadeModel) -> None:
        """Keep which records a model saw, and enter it in the journal."""
        content = rfc8785.dumps(json.loads(json.dumps(asdict(model))))
        (self.path / "models").mkdir(exist_ok=True, mode=0o700)
        write_bytes(self.path / "models" / f"{model.name}.json", content + b"\n")
        entry = {"kind": "model", "at": model.at, "time": model.made, "policy": model.policy, "model": model.sha256,
                 "content": model.content, "root": model.root, "role": model.role}  # fmt: skip
        self.enter(entry)

    def models(self) -> Iterator[MadeModel]:
        """All models that saw records, as the journal names them.

        Raises:
            CertificateError: a list is missing, malformed, or not the one that the journal names.
        """
        entries = [one for one in self.journal().entries if one["kind"] == "model"]
        named = {f"{one['model']}-{one['at']}": str(one["root"]) for one in entries}
        for name, root in named.items():
            path = self.path / "models" / f"{name}.json"
            values = parse_canonical(self._read(path, MAX_POLICY_BYTES << 10).removesuffix(b"\n"), str(path))
            try:
                lists = {name: tuple(values[name]) for name in ("actions", "records", "parents", "files")}
                model = MadeModel(**{**values, **lists})
            except (KeyError, TypeError) as error:
                raise CertificateError(f"{path} is malformed ({error!r}); restore it.") from error
            if model.name != name or root_of(model.records) != root or model.root != root:
                raise CertificateError(f"{path} is not the list that the journal names; restore it.")
            yield model

    def _read(self, path: Path, most: int = MAX_POLICY_BYTES) -> bytes:
        try:
            with path.open("rb") as stream:
                content = stream.read(most + 1)
        except OSError as error:
            raise CertificateError(f"{path} cannot be read ({error.strerror}), so nothing is permitted.") from error
        if len(content) > most:
            raise CertificateError(f"{path} has over {most} bytes.")
        return content


def principal_identifier(key: DataKey, name: str) -> str:
    """The keyed identifier of a person, from the name that the data holder knows them by; one that is keyed stays."""
    return name if is_identifier(name) else key.keyed(f"of the person {name}")
