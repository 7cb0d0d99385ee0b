"""The messages of a federated run, as fields; :mod:`certify.core.federation.signing` makes signed lines of them.

Digests are hex SHA-256. A client's id is the digest of its public key. Energy is missing where no meter read it, never
0. Sizes of clients' data are given as a band: ``band`` 7 stands for 128 to 255 samples.
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
"""Most clients whose masks cancel one another."""
MAX_BAND = 40

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def is_digest(text: str) -> bool:
    """Whether a text is 32 bytes in lower-case hexadecimal, as digests, keys and nonces are written."""
    return _DIGEST.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether a text is a name of a rule or parameter, such as ``trimmed-mean``."""
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
"""Forms in which an answer has one value for each of the model's."""
DropReason = Literal["straggler", "lost", "busy", "budget", "policy", "failed"]
RefusalReason = Literal[
    "malformed", "oversized", "foreign", "signature", "duplicate", "late", "not-selected", "wrong-round", "norm"
]


@dataclass(frozen=True)
class Rule:
    """A rule by its name and parameters, such as FedProx's ``mu``."""

    name: Name
    parameters: Mapping[Name, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """The form in which clients answer, and how large an answer may be.

    Attributes:
        form: ``float32``, ``int8`` (with error feedback), ``int8-masked``, ``top-k`` or ``logits``.
        values: in one answer.
        bits: of each value as it travels (64 for ``top-k``, which sends positions too).
        overhead_bytes: most bytes of an answer beside its values: scales, shapes, framing.
        parameters: such as ``clip``, the largest norm of an update.
    """

    form: Form
    values: Annotated[int, Ge(1), Le(2**40)]
    bits: Annotated[int, Ge(1), Le(64)]
    overhead_bytes: Count
    parameters: Mapping[Name, float] = field(default_factory=dict)

    @property
    def least_bytes(self) -> int:
        """Of an answer: its values alone."""
        return -(-self.values * self.bits // 8)

    @property
    def most_bytes(self) -> int:
        """Of an answer: its values and everything beside them."""
        return self.least_bytes + self.overhead_bytes


@dataclass(frozen=True)
class ClientPrivacy:
    """Differential privacy of whole clients: noise on the sum of clipped updates.

    Attributes:
        noise_multiplier: standard deviation of the noise over ``clip``.
        clip: largest norm of one client's update.
        delta: for which epsilon is stated.
    """

    noise_multiplier: Annotated[float, Gt(0), Le(1e6)]
    clip: Annotated[float, Gt(0), Le(1e9)]
    delta: Annotated[float, Gt(0), Le(0.5)]


@dataclass(frozen=True)
class Use:
    """What clients' data are used for, as their use policies are asked."""

    action: Action
    purpose: Annotated[str, Len(1, 200)]
    recipient: Text = ""


@dataclass(frozen=True)
class Payload:
    """Something that travelled: the digest of its bytes and their number."""

    sha256: Digest
    bytes: Count


@dataclass(frozen=True)
class Spent:
    """What computing cost.

    Attributes:
        cpu_s: CPU-seconds.
        energy_j: joules; None where nothing measured them.
        level: how directly the joules were observed; None with ``energy_j``.
    """

    cpu_s: Amount
    energy_j: Amount | None = None
    level: Level | None = None

    def __post_init__(self) -> None:
        if (self.energy_j is None) != (self.level is None):
            raise ValueError("energy_j and level are stated together or not at all")


@dataclass(frozen=True)
class Run:
    """The opening, signed by the server: everything that is fixed before the first round.

    Attributes:
        run: nonce that names the run.
        server: public key of the server.
        leanmark: version of the maker.
        started: UTC time.
        model: digest of the model that goes in, as the lineage states it.
        parameters: values of the global model, against whose float32 form bytes are compared.
        transport: ``memory`` where all clients are simulated in one process, or the name of what carries messages.
        method: ``fedavg`` or ``feddf``.
        population: clients that might be asked.
        rounds: that are planned.
        selection: how the clients of a round are chosen.
        aggregation: how answers become one.
        update: form of an answer.
        use: what clients' data are used for.
        mask_threshold: least clients of a group that must answer for its masks to be recovered; 0 without masks.
        privacy: of whole clients; None where no noise is added.
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
    """A client joins a run, signed by the client.

    Attributes:
        run: that it joins.
        key: its public key.
        policy: digest of the use policy of its data; None where they have none.
    """

    run: Digest
    key: Digest
    policy: Digest | None = None


@dataclass(frozen=True)
class Begin:
    """An attempt at a round, signed by the server before it hears from anybody.

    Attributes:
        run: of which it is a round.
        number: of the round, from 1.
        attempt: from 1; more where the server stopped before it closed the round.
        nonce: that entries repeat, so that none serves twice.
        previous: digest of the server's line before.
        started: UTC time.
        model: digest of the global model that goes in.
        payload: what every selected client receives.
        selected: ids of clients, sorted.
        groups: of clients whose masks cancel one another, each sorted; empty without masks.
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
    """How an entry's update was masked.

    Attributes:
        peers: digest over the sorted ids of its group, itself among them (:func:`peers_digest`).
        bytes_up: of keys and shares that the client sent for it.
        bytes_down: likewise that it received.
    """

    peers: Digest
    bytes_up: Count
    bytes_down: Count


@dataclass(frozen=True)
class Entry:
    """What a client did in a round, signed by the client.

    Attributes:
        run: of which it is a round.
        number: of the round.
        nonce: of the attempt.
        client: its id.
        received: the global model as it came.
        sent: its answer.
        band: of the number of its samples: 2**band to 2**(band + 1) - 1.
        spent: what its share of the round cost.
        policy: digest of the use policy that permitted it; None where its data have none.
        mask: of a masked update; None otherwise.
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
    """The server has an entry, signed by the server and kept by the client.

    Attributes:
        run: of the entry.
        number: of the round.
        nonce: of the attempt.
        client: its id.
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
    """A message that the server did not take.

    Attributes:
        reason: why.
        sha256: digest of the bytes that came; None where they were not read.
        client: that it names; None where it names none.
    """

    reason: RefusalReason
    sha256: Digest | None = None
    client: Digest | None = None


@dataclass(frozen=True)
class Round:
    """The close of a round, signed by the server.

    Attributes:
        run: of which it is a round.
        number: of the round.
        nonce: of the attempt.
        previous: digest of the line that began the attempt.
        closed: UTC time.
        joined: digests of the enrolments since the round before.
        entries: digests of the entries whose answers are in the sum, in the order of their clients' ids.
        dropped: selected clients whose answers are not.
        refused: messages that were not taken.
        recovered: dropped clients whose masks were taken out of the sum by the shares of others.
        aggregate: digest of what the answers became.
        model: digest of the global model that comes out.
        bytes_up: that clients sent, as the server counted; answers, keys and shares.
        bytes_down: that clients received.
        spent: what the server's share of the round cost.
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
        run: that ends.
        previous: digest of the server's line before.
        ended: UTC time.
        rounds: that were closed.
        model: digest of the model that comes out, as the lineage states it.
        spent: by the server outside of rounds, such as distilling from clients' logits.
    """

    run: Digest
    previous: Digest
    ended: Time
    rounds: Count
    model: Digest
    spent: Spent


Message = Run | Enrolment | Begin | Entry | Receipt | Round | End
