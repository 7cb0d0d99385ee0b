"""Consistency checks of the lines of a run, without private keys, clocks or files.

Each check yields one sentence without its full stop per problem, and nothing if it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from certify.core.errors import CertificateError
from certify.core.federation.messages import Begin, Message, Round
from certify.core.federation.run import ClosedRound, FederatedRun
from certify.core.federation.signing import Signed, client_id, peers_digest
from certify.core.federation.sums import bytes_down, bytes_up
from certify.core.signing_keys import PublicKey

Check = Callable[[FederatedRun], Iterator[str]]


def signatures(run: FederatedRun) -> Iterator[str]:
    """Check that every line is signed by the right key."""
    server = PublicKey(bytes.fromhex(run.opening.message.server))
    if not run.opening.signed_by(server):
        yield "The opening is not signed by the server that it names"
    for begun in run.attempts:
        if not begun.signed_by(server):
            yield f"The start of round {begun.message.number} is not signed by the server"
    for each in run.rounds:
        number = each.begin.number
        if not each.close.signed_by(server):
            yield f"The close of round {number} is not signed by the server"
        for joined in each.joined:
            if not joined.signed_by(PublicKey(bytes.fromhex(joined.message.key))):
                yield f"The enrolment of client {client_id(joined.message.key)[:16]} is not signed by it"
        for entry in each.entries:
            client = run.clients.get(entry.message.client)
            if client is None:
                yield f"An entry of round {number} is of client {entry.message.client[:16]}, which never enrolled"
            elif not entry.signed_by(PublicKey(bytes.fromhex(client.key))):
                yield f"The entry of client {entry.message.client[:16]} in round {number} is not signed by it"
    if run.end is not None and not run.end.signed_by(server):
        yield "The end is not signed by the server"


def chain_unbroken(run: FederatedRun) -> Iterator[str]:
    """Check that each line of the server follows its previous line, and each model that of the previous round."""
    head, model, time = run.opening.digest, run.opening.message.model, run.opening.message.started
    nonces = set()
    for number, (attempts, each) in enumerate(
        [*((closed.attempts, closed) for closed in run.rounds), (run.open, None)], 1
    ):
        for attempt, begun in enumerate(attempts, 1):
            message = begun.message
            if (message.previous, message.model, message.number, message.attempt) != (head, model, number, attempt):
                yield f"The start of round {message.number} does not follow the line before it"
            if message.nonce in nonces:
                yield f"Round {message.number} repeats the nonce of another attempt"
            if message.started < time:
                yield f"Round {message.number} is dated before the line that precedes it"
            nonces.add(message.nonce)
            head, time = begun.digest, message.started
        if each is None:
            break
        close = each.close.message
        if (close.previous, close.number, close.nonce) != (head, number, each.begin.nonce) or close.closed < time:
            yield f"The close of round {number} does not follow its start"
        if close.joined != tuple(member.digest for member in each.joined):
            yield f"The close of round {number} does not list exactly the enrolments before it"
        head, model, time = each.close.digest, close.model, close.closed
    if run.end is not None and (run.end.message.previous != head or run.end.message.ended < time):
        yield "The end does not follow the line before it"
    yield from _one_run(run)


def _one_run(run: FederatedRun) -> Iterator[str]:
    name = run.opening.message.run
    messages: list[Signed[Message]] = [
        *run.attempts, *run.entries, *(member for each in run.rounds for member in each.joined),
        *(each.close for each in run.rounds), *([] if run.end is None else [run.end]),
    ]  # fmt: skip
    if any(signed.message.run != name for signed in messages):
        yield "A line is of another run"
    # Clients are stored by id, so after a repeated enrolment there are fewer clients than enrolments.
    if len(run.clients) < sum(len(each.joined) for each in run.rounds):
        yield "A client enrolled twice"


def entries_once(run: FederatedRun) -> Iterator[str]:
    """Check that each selected client has one entry in a round or was dropped with a reason, and no others have."""
    known: set[str] = set()
    for each in run.rounds:
        known |= {client_id(member.message.key) for member in each.joined}
        begin, close = each.begin, each.close.message
        answered = [entry.message.client for entry in each.entries]
        dropped = [drop.client for drop in close.dropped]
        if close.entries != tuple(entry.digest for entry in each.entries):
            yield f"The close of round {begin.number} does not list exactly the entries before it"
        if answered != sorted(set(answered)) or dropped != sorted(set(dropped)):
            yield f"A client has two entries in round {begin.number}, or its entries are out of order"
        if sorted([*answered, *dropped]) != list(begin.selected):
            yield f"The entries and dropped clients of round {begin.number} are not exactly its selected clients"
        if not set(begin.selected) <= known:
            yield f"A client was selected for round {begin.number} before it enrolled"
        for entry in each.entries:
            if (entry.message.number, entry.message.nonce) != (begin.number, begin.nonce):
                yield f"Client {entry.message.client[:16]} has an entry of another attempt in round {begin.number}"


def sizes_add_up(run: FederatedRun) -> Iterator[str]:
    """Check that all selected clients received the same, that answers have the right size, and the sums of bytes."""
    update = run.opening.message.update
    for each in run.rounds:
        begin, close = each.begin, each.close.message
        for entry in (signed.message for signed in each.entries):
            who = f"Client {entry.client[:16]} in round {begin.number}"
            if entry.received != begin.payload:
                yield f"{who} received another payload than the server states"
            if not update.least_bytes <= entry.sent.bytes <= update.most_bytes:
                yield (
                    f"{who} sent {entry.sent.bytes} bytes, and {update.values} values of {update.bits} bits have "
                    f"{update.least_bytes} to {update.most_bytes}"
                )
        entries = [entry.message for entry in each.entries]
        sums = bytes_up(entries), bytes_down(begin, entries, close.dropped)
        if (close.bytes_up, close.bytes_down) != sums:
            yield (
                f"Round {begin.number} states {close.bytes_up} bytes up and {close.bytes_down} down, and its entries "
                f"add up to {sums[0]} and {sums[1]}"
            )


def as_announced(run: FederatedRun) -> Iterator[str]:
    """Check that there are no more clients and rounds than announced."""
    opening = run.opening.message
    if len(run.clients) > opening.population:
        yield f"{len(run.clients)} clients enrolled, and the opening announces {opening.population}"
    if len(run.rounds) > opening.rounds:
        yield f"{len(run.rounds)} rounds were closed, and the opening announces {opening.rounds}"
    for entry in run.entries:
        client = run.clients.get(entry.message.client)
        if client is not None and client.policy != entry.message.policy:
            yield f"Client {entry.message.client[:16]} names another policy than it enrolled with"


def masks_complete(run: FederatedRun) -> Iterator[str]:
    """Check that the masks of every group cancel: all its clients answered, or enough others recovered them."""
    masked = run.opening.message.update.form == "int8-masked"
    for each in run.rounds:
        begin, close = each.begin, each.close.message
        members = [client for group in begin.groups for client in group]
        if masked != bool(members) or any((entry.message.mask is not None) != masked for entry in each.entries):
            yield f"Round {begin.number} has masks that its form does not use, or lacks masks that it needs"
        elif masked:
            if sorted(members) != list(begin.selected):
                yield f"The groups of round {begin.number} do not contain each selected client exactly once"
            yield from _recovered(each, begin, close, run.opening.message.mask_threshold)
        elif close.recovered:
            yield f"Masks were recovered in round {begin.number}, which has none"


def _recovered(each: ClosedRound, begin: Begin, close: Round, threshold: int) -> Iterator[str]:
    entries = {entry.message.client: entry.message for entry in each.entries}
    recovered = set(close.recovered)
    # If the mask of an answer in the sum is opened, the answer can be computed from what the client sent.
    if len(recovered) < len(close.recovered) or recovered & set(entries):
        yield f"The masks of a client whose answer is in the sum of round {begin.number} were opened"
    for group in begin.groups:
        peers, answered = peers_digest(group), [client for client in group if client in entries]
        if any((mask := entries[client].mask) is None or mask.peers != peers for client in answered):
            yield f"A client of round {begin.number} masked its update for other peers than its group"
        if answered and len(answered) < threshold:
            yield f"{len(answered)} clients of a group answered in round {begin.number}; recovery needs {threshold}"
        if answered and not set(group) - set(answered) <= recovered:
            yield f"The masks of a client that dropped out of round {begin.number} were not recovered"
    if not recovered <= set(begin.selected):
        yield f"Masks of a client that was not selected were recovered in round {begin.number}"


def final_model(run: FederatedRun) -> Iterator[str]:
    """Check that the run ended with the model of its last round."""
    if run.end is None:
        yield "The run has not ended"
    elif run.end.message.rounds != len(run.rounds) or not run.rounds:
        yield f"The end states {run.end.message.rounds} rounds, and {len(run.rounds)} were closed"
    elif run.end.message.model != run.rounds[-1].close.message.model:
        yield "The end states another model than the last round"


CHECKS: Mapping[str, tuple[Check, str]] = {
    "signatures": (signatures, "Every line is signed by the server or by the client that it comes from."),
    "chain_unbroken": (chain_unbroken, "The rounds follow one another, from the opening to the end."),
    "entries_once": (entries_once, "Each selected client has one entry in a round, or was dropped with a reason."),
    "as_announced": (as_announced, "There are no more clients and rounds than were announced, under one policy each."),
    "sizes_add_up": (sizes_add_up, "Clients received what the server sent; answers have their form's size and add up."),
    "masks_complete": (masks_complete, "Where updates are masked, the masks of every group cancel."),
    "final_model": (final_model, "The run ended with the model of its last round."),
}
"""All checks, with the sentence for a pass."""


def problems(run: FederatedRun, name: str) -> list[str]:
    """Return the problems found by a check, one sentence each without its full stop."""
    return list(CHECKS[name][0](run))


def require_unaltered(run: FederatedRun, name: str) -> None:
    """Refuse an altered log before anything is appended to it.

    Raises:
        CertificateError: a check fails that also applies to unfinished runs.
    """
    for check in CHECKS:
        if check != "final_model" and (found := problems(run, check)):
            raise CertificateError(f"{name} was altered: {found[0]}.")
