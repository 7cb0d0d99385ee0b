"""Types and parts of the messages of a federated run.

Digests are hex SHA-256. A client's id is the digest of its public key. Unmetered energy is missing, never 0. Sizes of
clients' data are given as a band: ``band`` 7 means 128 to 255 samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Predicate

from certify.core.data_use.times import is_time
from certify.core.data_use.vocabulary import Action

MAX_CLIENTS = 100_000
MAX_GROUP = 100
"""Maximum number of clients whose masks cancel."""
MAX_BAND = 40

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def is_digest(text: str) -> bool:
    """Return whether a text is 32 bytes in lower-case hexadecimal, the format of digests, keys and nonces."""
    return _DIGEST.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether a text is a valid name of a rule or parameter, such as ``trimmed-mean``."""
    return _NAME.fullmatch(text) is not None


Digest = Annotated[str, Predicate(is_digest)]
Name = Annotated[str, Predicate(is_name)]
Time = Annotated[str, Predicate(is_time)]
Text = Annotated[str, Len(0, 200)]
Count = Annotated[int, Ge(0), Le(2**53 - 1)]
Number = Annotated[int, Ge(1), Le(1_000_000)]
Amount = Annotated[float, Ge(0), Le(1e15)]
Form = Literal["float32", "int8", "int8-masked", "top-k", "logits"]
Level = Literal["wall", "counter", "sampled", "modelled", "proxy"]
WHOLE: tuple[Form, ...] = ("float32", "int8", "int8-masked")
"""Forms of answers with one value per model parameter."""
DropReason = Literal["straggler", "lost", "busy", "budget", "policy", "failed"]
RefusalReason = Literal[
    "malformed", "oversized", "foreign", "signature", "duplicate", "late", "not-selected", "wrong-round", "norm"
]


@dataclass(frozen=True)
class Rule:
    """A rule with its name and parameters, such as FedProx's ``mu``."""

    name: Name
    parameters: Mapping[Name, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """Form and size of clients' answers.

    Attributes:
        form: ``float32``, ``int8`` (with error feedback), ``int8-masked``, ``top-k`` or ``logits``.
        values: number of values in an answer.
        bits: bits per transmitted value (64 for ``top-k``, which includes positions).
        overhead_bytes: maximum number of bytes besides the values: scales, shapes, framing.
        parameters: such as ``clip``, the largest norm of an update.
    """

    form: Form
    values: Annotated[int, Ge(1), Le(2**40)]
    bits: Annotated[int, Ge(1), Le(64)]
    overhead_bytes: Count
    parameters: Mapping[Name, float] = field(default_factory=dict)

    @property
    def least_bytes(self) -> int:
        """Minimum size of an answer: its values alone."""
        return -(-self.values * self.bits // 8)

    @property
    def most_bytes(self) -> int:
        """Maximum size of an answer: its values and the overhead."""
        return self.least_bytes + self.overhead_bytes


@dataclass(frozen=True)
class ClientPrivacy:
    """Client-level differential privacy: noise on the sum of clipped updates.

    Attributes:
        noise_multiplier: standard deviation of the noise divided by ``clip``.
        clip: largest norm of one client's update.
        delta: delta for which epsilon is stated.
    """

    noise_multiplier: Annotated[float, Gt(0), Le(1e6)]
    clip: Annotated[float, Gt(0), Le(1e9)]
    delta: Annotated[float, Gt(0), Le(0.5)]


@dataclass(frozen=True)
class Use:
    """Use of clients' data, which their use policies must permit."""

    action: Action
    purpose: Annotated[str, Len(1, 200)]
    recipient: Text = ""


@dataclass(frozen=True)
class Payload:
    """A transmitted payload: the digest and number of its bytes."""

    sha256: Digest
    bytes: Count


@dataclass(frozen=True)
class Spent:
    """Costs of computing.

    Attributes:
        cpu_s: CPU-seconds.
        energy_j: joules; None if not measured.
        level: evidence level of the joules; None if ``energy_j`` is None.
    """

    cpu_s: Amount
    energy_j: Amount | None = None
    level: Level | None = None

    def __post_init__(self) -> None:
        if (self.energy_j is None) != (self.level is None):
            raise ValueError("energy_j and level must be given together")


@dataclass(frozen=True)
class Mask:
    """Masking of an entry's update.

    Attributes:
        peers: digest over the sorted ids of its group, including itself (:func:`peers_digest`).
        bytes_up: bytes of keys and shares that the client sent for it.
        bytes_down: bytes of keys and shares that the client received for it.
    """

    peers: Digest
    bytes_up: Count
    bytes_down: Count


@dataclass(frozen=True)
class Drop:
    """A selected client whose answer is not in the sum."""

    client: Digest
    reason: DropReason


@dataclass(frozen=True)
class Refusal:
    """A message that the server rejected.

    Attributes:
        reason: reason of the rejection.
        sha256: digest of the received bytes; None if they were not read.
        client: client named in the message, or None.
    """

    reason: RefusalReason
    sha256: Digest | None = None
    client: Digest | None = None
