"""Messages of a federated run, as fields; :mod:`certify.core.federation.signing` turns them into signed lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Len

from certify.core.federation.fields import (
    MAX_BAND,
    MAX_CLIENTS,
    MAX_GROUP,
    WHOLE,
    ClientPrivacy,
    Count,
    Digest,
    Drop,
    Mask,
    Name,
    Number,
    Payload,
    Refusal,
    Rule,
    Spent,
    Time,
    Update,
    Use,
)


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
