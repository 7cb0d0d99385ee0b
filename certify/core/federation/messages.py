"""Messages of a federated run, as fields; :mod:`certify.core.federation.signing` turns them into signed lines.

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

VERSION = 1
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
            raise ValueError("energy_j and level are stated together or not at all")


@dataclass(frozen=True)
class Run:
    """The opening, signed by the server: all settings fixed before the first round.

    Attributes:
        run: nonce that identifies the run.
        server: public key of the server.
        leanmark: version of the maker.
        started: UTC time.
        model: digest of the initial model, as in the lineage.
        parameters: number of parameters of the global model; bytes are compared with its float32 size.
        transport: ``memory`` if all clients are simulated in one process, otherwise the name of the transport.
        method: ``fedavg`` or ``feddf``.
        population: number of clients that may take part.
        rounds: number of planned rounds.
        selection: rule that selects the clients of a round.
        aggregation: rule that aggregates answers.
        update: form of answers.
        use: use of clients' data.
        mask_threshold: least number of clients of a group that must answer so that its masks can be recovered; 0
            without masks.
        privacy: client-level privacy; None without noise.
    """

    run: Digest
    server: Digest
    leanmark: Annotated[str, Len(1, 64)]
    started: Time
    model: Digest
    parameters: Annotated[int, Ge(1), Le(2**40)]
    transport: Name
    method: Name
    population: Annotated[int, Ge(1), Le(MAX_CLIENTS)]
    rounds: Number
    selection: Rule
    aggregation: Rule
    update: Update
    use: Use
    mask_threshold: Annotated[int, Ge(0), Le(MAX_GROUP)] = 0
    privacy: ClientPrivacy | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if (self.update.form == "int8-masked") != (self.mask_threshold > 0):
            raise ValueError("mask_threshold is above 0 for masked updates and 0 for all others")
        if self.update.form in WHOLE and self.update.values != self.parameters:
            raise ValueError(f"{self.update.form} sends every one of {self.parameters} parameters")


@dataclass(frozen=True)
class Enrolment:
    """A client's enrolment, signed by the client.

    Attributes:
        run: run that it joins.
        key: public key of the client.
        policy: digest of the use policy of its data, or None.
    """

    run: Digest
    key: Digest
    policy: Digest | None = None


@dataclass(frozen=True)
class Begin:
    """Start of an attempt at a round, signed by the server before any answers.

    Attributes:
        run: run of the round.
        number: number of the round, from 1.
        attempt: number of the attempt, from 1; higher if the server stopped before closing the round.
        nonce: nonce that entries repeat, so that none can be reused.
        previous: digest of the server's previous line.
        started: UTC time.
        model: digest of the global model before the round.
        payload: payload that every selected client receives.
        selected: ids of the selected clients, sorted.
        groups: groups of clients whose masks cancel, each sorted; empty without masks.
    """

    run: Digest
    number: Number
    attempt: Number
    nonce: Digest
    previous: Digest
    started: Time
    model: Digest
    payload: Payload
    selected: Annotated[tuple[Digest, ...], Len(1, MAX_CLIENTS)]
    groups: tuple[Annotated[tuple[Digest, ...], Len(2, MAX_GROUP)], ...] = ()


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
class Entry:
    """A client's entry of a round, signed by the client.

    Attributes:
        run: run of the round.
        number: number of the round.
        nonce: nonce of the attempt.
        client: id of the client.
        received: the received global model.
        sent: the answer.
        band: band of its number of samples: 2**band to 2**(band + 1) - 1.
        spent: costs of its part of the round.
        policy: digest of the use policy that permitted it, or None.
        mask: masking of the update, or None.
    """

    run: Digest
    number: Number
    nonce: Digest
    client: Digest
    received: Payload
    sent: Payload
    band: Annotated[int, Ge(0), Le(MAX_BAND)]
    spent: Spent
    policy: Digest | None = None
    mask: Mask | None = None


@dataclass(frozen=True)
class Receipt:
    """Receipt for an entry, signed by the server and kept by the client.

    Attributes:
        run: run of the entry.
        number: number of the round.
        nonce: nonce of the attempt.
        client: id of the client.
        entry: digest of the entry's line.
    """

    run: Digest
    number: Number
    nonce: Digest
    client: Digest
    entry: Digest


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


@dataclass(frozen=True)
class Round:
    """The close of a round, signed by the server.

    Attributes:
        run: run of the round.
        number: number of the round.
        nonce: nonce of the attempt.
        previous: digest of the line that started the attempt.
        closed: UTC time.
        joined: digests of the enrolments since the previous round.
        entries: digests of the entries whose answers are in the sum, in the order of client ids.
        dropped: selected clients whose answers are not in the sum.
        refused: rejected messages.
        recovered: dropped clients whose masks were removed from the sum with the shares of others.
        aggregate: digest of the aggregated answers.
        model: digest of the global model after the round.
        bytes_up: bytes sent by clients, as counted by the server: answers, keys and shares.
        bytes_down: bytes received by clients.
        spent: costs of the server's part of the round.
    """

    run: Digest
    number: Number
    nonce: Digest
    previous: Digest
    closed: Time
    joined: Annotated[tuple[Digest, ...], Len(0, MAX_CLIENTS)]
    entries: Annotated[tuple[Digest, ...], Len(0, MAX_CLIENTS)]
    dropped: Annotated[tuple[Drop, ...], Len(0, MAX_CLIENTS)]
    refused: Annotated[tuple[Refusal, ...], Len(0, MAX_CLIENTS)]
    recovered: Annotated[tuple[Digest, ...], Len(0, MAX_CLIENTS)]
    aggregate: Digest
    model: Digest
    bytes_up: Count
    bytes_down: Count
    spent: Spent


@dataclass(frozen=True)
class End:
    """The end of a run, signed by the server.

    Attributes:
        run: run that ends.
        previous: digest of the server's previous line.
        ended: UTC time.
        rounds: number of closed rounds.
        model: digest of the resulting model, as in the lineage.
        spent: costs of the server outside rounds, such as distillation from clients' logits.
    """

    run: Digest
    previous: Digest
    ended: Time
    rounds: Count
    model: Digest
    spent: Spent


Message = Run | Enrolment | Begin | Entry | Receipt | Round | End
