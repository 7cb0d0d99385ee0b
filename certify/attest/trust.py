"""Trust store: keys by name, successors named by trusted keys, and revoked keys.

Revocation is total. The time in a certificate is written by its maker, and anyone with a stolen key can write any time.
So without a trusted timestamp, no date separates signatures made before the theft from those made after it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certify.attest.certificate import read_certificate
from certify.attest.keys import PUBLIC_NAME, PublicKey, environment_key, load_public
from certify.attest.signed import Signed
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_text
from certify.core.folders import config_folder
from certify.core.schema import validate
from certify.core.suggest import unknown_name

STORE_NAME = "trust.json"
OWN = "your own"
GIVEN = "given with --trust"

_SCHEMA = "trust-store-1"


@dataclass(frozen=True)
class Standing:
    """Status of a key for a user.

    Attributes:
        trusted: whether its signatures count.
        revoked: whether it was revoked.
        name: the user's name for it, or the name of the key that named it as its successor; None for an unknown key.
        sentence: the same in words.
    """

    trusted: bool
    revoked: bool
    name: str | None
    sentence: str


@dataclass(frozen=True)
class TrustStore:
    """Keys, handovers and revocations of one user.

    Attributes:
        keys: trusted keys by name.
        handovers: pairs of a key and the successor that it named.
        revoked: revoked keys, with the reason.
        meters: hex SHA-256 of the code of trusted plug-in meters, by name.
        schemes: keys of certification schemes whose marks the user trusts, by name; other signatures by these keys do
        not count.
    """

    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    handovers: tuple[tuple[PublicKey, PublicKey], ...] = ()
    revoked: Mapping[PublicKey, str] = field(default_factory=dict)
    meters: Mapping[str, str] = field(default_factory=dict)
    schemes: Mapping[str, PublicKey] = field(default_factory=dict)

    def standing(self, key: PublicKey) -> Standing:
        """Return whether a key's signatures count, and why."""
        short = key.key_id[:16]
        # Revocation is checked first, because no handover revives a key.
        if key in self.revoked:
            why = self.revoked[key]
            return Standing(False, True, None, f"Key {short} is REVOKED ({why}): all its signatures are void.")
        known = {trusted_key: name for name, trusted_key in self.keys.items() if trusted_key not in self.revoked}
        if key in known:
            return Standing(True, False, known[key], f"You trust this key ({known[key]}).")
        chain = self._chain(known, key)
        # The id of a key is easily mistaken for the key, so the mistake is named.
        if chain is None and any(trusted_key.hex == key.key_id for trusted_key in known):
            return Standing(False, False, None, "--trust needs the key itself, but you gave its id.")
        if chain is None:
            return Standing(
                False, False, None, "You do not trust this key (to trust it, use --trust or leanmark trust add)."
            )
        path = " to ".join(link.key_id[:16] for link in chain)
        name = known[chain[0]]
        return Standing(True, False, name, f"You trust {name}, which handed over to this key: {path}.")

    def trusts(self, key_id: str) -> bool:
        """Return whether the signatures of a key count, by the id of the key."""
        # A certificate names only the id, a hash; so the key must be among those that this store has seen.
        known = [*self.keys.values(), *(new for _, new in self.handovers)]
        return any(self.standing(key).trusted for key in known if key.key_id == key_id)

    def of_one_holder(self, keys: Iterable[PublicKey]) -> set[PublicKey]:
        """Return these keys and all keys linked to them by handovers, in either direction: they have one holder."""
        found, grown = set(keys), True
        while grown:
            # Handovers are followed in both directions, because a chain of them has one holder.
            more = {linked for pair in self.handovers for linked in pair if found & set(pair)} - found
            found, grown = found | more, bool(more)
        return found

    def _chain(self, known: Mapping[PublicKey, str], key: PublicKey) -> list[PublicKey] | None:
        """Return the shortest path from a trusted key to this one, along handovers by keys that are not revoked."""
        paths = [[start] for start in known]
        reached = set(known)
        while paths:
            longer = []
            for path in paths:
                # Sorted, so that the same one of several shortest chains is always named.
                for successor in sorted({new for old, new in self.handovers if old == path[-1]}, key=lambda k: k.raw):
                    if successor in reached or successor in self.revoked:
                        continue
                    if successor == key:
                        return [*path, successor]
                    reached.add(successor)
                    longer.append([*path, successor])
            paths = longer
        return None

    def with_key(self, name: str, key: PublicKey) -> TrustStore:
        """Return the store with one more trusted key.

        Raises:
            UsageError: the name belongs to another key, or the key is revoked.
        """
        if key in self.revoked:
            raise UsageError(f"Key {key.key_id[:16]} is revoked ({self.revoked[key]}); it cannot be trusted again.")
        if self.keys.get(name, key) != key:
            raise UsageError(f"'{name}' is the name of another key; remove that one first, or choose another name.")
        return replace(self, keys={**self.keys, name: key})

    def without(self, name: str) -> TrustStore:
        """Return the store without a trusted key or plug-in meter.

        Raises:
            UsageError: the name is unknown.
        """
        if name in self.schemes and name not in {*self.keys, *self.meters}:
            return replace(self, schemes={known: key for known, key in self.schemes.items() if known != name})
        if name in self.meters and name not in self.keys:
            return replace(self, meters={known: code for known, code in self.meters.items() if known != name})
        if name not in self.keys:
            raise unknown_name(
                "trusted key", name, [*self.keys, *self.meters, *self.schemes], "See leanmark trust list."
            )
        return replace(self, keys={known: key for known, key in self.keys.items() if known != name})

    def with_statement(self, statement: Signed) -> TrustStore:
        """Return the store with a key's revocation, or with its successor, which counts while the key is trusted."""
        if statement.schema == "revocation-1":
            return self.with_revoked(statement.signer, statement.predicate["reason"])
        # Kept for unknown keys too: the chain may become complete when another key is trusted later.
        pair = statement.signer, _key(statement.predicate["successor"])
        return replace(self, handovers=tuple(dict.fromkeys([*self.handovers, pair])))

    def with_revoked(self, key: PublicKey, reason: str) -> TrustStore:
        """Return the store with a key revoked for good."""
        return replace(self, revoked={**self.revoked, key: reason})

    def with_meter(self, name: str, code: str) -> TrustStore:
        """Return the store with one more trusted plug-in meter."""
        return replace(self, meters={**self.meters, name: code})

    def with_scheme(self, name: str, key: PublicKey) -> TrustStore:
        """Return the store with one more scheme whose marks the user trusts.

        Raises:
            UsageError: the name is that of another scheme, or the key is revoked.
        """
        if key in self.revoked:
            raise UsageError(f"Key {key.key_id[:16]} is revoked ({self.revoked[key]}); its marks cannot be trusted.")
        if self.schemes.get(name, key) != key:
            raise UsageError(f"'{name}' is the name of another scheme; remove that one first, or choose another name.")
        return replace(self, schemes={**self.schemes, name: key})

    def scheme_of(self, key: PublicKey) -> str | None:
        """Return the user's name for the scheme that owns a key; None if the key is revoked or of no known scheme."""
        if key in self.revoked:
            return None
        return next((name for name, known in self.schemes.items() if known == key), None)

    def find(self, wanted: str) -> PublicKey:
        """Return a key by the user's name for it, by its file, or by its hexadecimal digits."""
        return self.keys[wanted] if wanted in self.keys else load_public(wanted)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "version": 1,
            "keys": {name: key.hex for name, key in sorted(self.keys.items())},
            "handovers": [{"from": old.hex, "to": new.hex} for old, new in self.handovers],
            "revoked": {key.hex: reason for key, reason in self.revoked.items()},
            "meters": dict(sorted(self.meters.items())),
            "schemes": {name: key.hex for name, key in sorted(self.schemes.items())},
        }

    def save(self) -> Path:
        """Write the store to the user's configuration folder.

        Raises:
            UsageError: a name or a reason is too long or contains a forbidden character.
        """
        values = self.to_json()
        try:
            validate(values, _SCHEMA)
        except CertificateError as error:
            raise UsageError(f"The trust store would violate its schema: {error}") from error
        folder = config_folder()
        # The configuration folder also holds the private key.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / STORE_NAME
        write_text(path, json.dumps(values, indent=2) + "\n")
        # Readable by the owner alone, because it is private whom a user trusts.
        path.chmod(0o600)
        return path


def load_store() -> TrustStore:
    """Return the user's trust store; an empty one if there is no file.

    Raises:
        CertificateError: the file is malformed, or writable by others.
    """
    path = config_folder() / STORE_NAME
    if not path.is_file():
        return TrustStore()
    mode = path.stat().st_mode
    # Only write access matters, because anyone who can add a key can forge trust.
    if os.name == "posix" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CertificateError(
            f"The trust store {path} has mode {stat.S_IMODE(mode):04o}, so others may have added keys to it. Check "
            f"it, then run chmod 600 {path}."
        )
    try:
        values = json.loads(read_certificate(path))
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"The trust store {path} is not valid JSON: {error}.") from error
    try:
        validate(values, _SCHEMA)
    except CertificateError as error:
        raise CertificateError(f"The trust store {path}: {error}") from error
    return TrustStore(
        keys={name: _key(text) for name, text in values["keys"].items()},
        handovers=tuple((_key(pair["from"]), _key(pair["to"])) for pair in values["handovers"]),
        revoked={_key(text): reason for text, reason in values["revoked"].items()},
        meters=values["meters"],
        schemes={name: _key(text) for name, text in values.get("schemes", {}).items()},
    )


def trusted(named: Iterable[str | Path | PublicKey] = (), statements: Iterable[Signed] = ()) -> TrustStore:
    """Return the trust for one verification: the store, the user's own key, given keys, and what keys state.

    Raises:
        CertificateError: a key or the store is malformed.
        UsageError: a given key does not exist.
    """
    store = load_store()
    keys = {}
    for number, source in enumerate(named, start=1):
        # Numbered, since a dictionary has one key per name.
        keys[GIVEN if number == 1 else f"{GIVEN} ({number})"] = load_public(source)
    own = config_folder() / PUBLIC_NAME
    # The variable replaces the user's own key for signing, so it does for trust as well.
    if (given_signer := environment_key()) is not None:
        keys[OWN] = given_signer.public
    elif own.is_file():
        keys[OWN] = load_public(own)
    # Names in the store take precedence over those of one call.
    store = replace(store, keys={**keys, **store.keys})
    for statement in statements:
        store = store.with_statement(statement)
    return store


def _key(text: str) -> PublicKey:
    return PublicKey(bytes.fromhex(text))
