"""Merkle tree over sorted identifiers, with proofs of membership and absence.

Leaves and nodes are hashed as in RFC 6962, section 2.1 (prefix 0x00 for a leaf, 0x01 for a node), and the root includes
the number of leaves. Since the leaves are sorted, two adjacent leaves with the identifier between them prove its
absence. The proof is about the list; that training read nothing else rests on the journal.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certify.core.errors import CertificateError


@dataclass(frozen=True)
class Place:
    """A leaf with its path to the root.

    Attributes:
        leaf: the identifier.
        index: index of the leaf, from 0.
        path: hex digests of the siblings, bottom up.
    """

    leaf: str
    index: int
    path: tuple[str, ...]


@dataclass(frozen=True)
class Absence:
    """Proof that an identifier is not in a list.

    Attributes:
        size: number of leaves.
        before: next smaller leaf, or None.
        after: next larger leaf, or None.
    """

    size: int
    before: Place | None
    after: Place | None

    def holds(self, identifier: str, root: str) -> bool:
        """Return whether it proves that the list with this root does not contain the identifier."""
        if self.size == 0:
            return self.before is None and self.after is None and root == root_of([])
        for place in (self.before, self.after):
            if place is not None and not _leads(place, self.size, root):
                return False
        first = -1 if self.before is None else self.before.index
        last = self.size if self.after is None else self.after.index
        low = self.before is None or self.before.leaf < identifier
        return low and (self.after is None or identifier < self.after.leaf) and last == first + 1

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        places = {"before": self.before, "after": self.after}
        return {"size": self.size, **{name: _place_json(place) for name, place in places.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Absence:
        """Inverse of :meth:`to_json`.

        Raises:
            CertificateError: the values are not a valid proof.
        """
        try:
            places = [
                None
                if place is None
                else Place(str(place["leaf"]), int(place["index"]), tuple(map(str, place["path"])))
                for place in (values["before"], values["after"])
            ]
            return cls(int(values["size"]), *places)
        except (KeyError, TypeError, ValueError) as error:
            raise CertificateError(f"A proof of absence is malformed ({error!r}).") from error


def root_of(identifiers: Iterable[str]) -> str:
    """Return the root over identifiers; order and repetition do not matter.

    Example:
        >>> root_of(["b", "a"]) == root_of(["a", "b", "b"])
        True
    """
    leaves = sorted(set(identifiers))
    level = [_leaf(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _above(level)
    return _sealed(len(leaves), level[0] if level else b"")


def prove_absence(identifier: str, identifiers: Iterable[str]) -> Absence | None:
    """Prove that an identifier is not in a list; None if it is.

    Example:
        >>> proof = prove_absence("b", ["a", "c"])
        >>> proof.holds("b", root_of(["a", "c"])), proof.holds("c", root_of(["a", "c"]))
        (True, False)
    """
    leaves = sorted(set(identifiers))
    at = bisect.bisect_left(leaves, identifier)
    if at < len(leaves) and leaves[at] == identifier:
        return None
    before = _place(leaves, at - 1) if at > 0 else None
    return Absence(len(leaves), before, _place(leaves, at) if at < len(leaves) else None)


def _place(leaves: Sequence[str], index: int) -> Place:
    level, at, path = [_leaf(leaf) for leaf in leaves], index, []
    while len(level) > 1:
        # at ^ 1 is the sibling. A node without a sibling moves up unchanged, so it adds nothing to the path.
        if at ^ 1 < len(level):
            path.append(level[at ^ 1].hex())
        level, at = _above(level), at // 2
    return Place(leaves[index], index, tuple(path))


def _leads(place: Place, size: int, root: str) -> bool:
    """Return whether the path of a leaf ends in the root."""
    if not 0 <= place.index < size:
        return False
    found, at, width, path = _leaf(place.leaf), place.index, size, list(place.path)
    while width > 1:
        if at ^ 1 < width:
            if not path:
                return False
            try:
                sibling = bytes.fromhex(path.pop(0))
            except ValueError:
                return False
            found = _node(sibling, found) if at % 2 else _node(found, sibling)
        at, width = at // 2, (width + 1) // 2
    # Leftover hashes are refused, so that a proof has only one form.
    return not path and _sealed(size, found) == root


def _above(level: Sequence[bytes]) -> list[bytes]:
    """Return the next level up; a node without a sibling is carried over unchanged."""
    pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _leaf(identifier: str) -> bytes:
    return hashlib.sha256(b"\x00" + identifier.encode()).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _sealed(size: int, top: bytes) -> str:
    return hashlib.sha256(b"\x02" + size.to_bytes(8, "big") + top).hexdigest()


def _place_json(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else {"leaf": place.leaf, "index": place.index, "path": list(place.path)}
