"""ServerApp: sends messages to nodes and receives their answers for the coordinator, as only a Flower process can.

Messages and answers pass through one after another; the coordinator sums the answers in the order of names, whatever
the order of their arrival.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from leanmark_bridge import channel

app = ServerApp()
PAUSE_S = 0.2
PULLED = 16
"""Maximum number of answers that are in memory at once; the coordinator writes each to disk as it arrives."""
GONE_S = 10.0
"""Seconds offline after which the answer of a node is no longer awaited."""


@app.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Serve the coordinator until it closes its socket."""
    with channel.connect(str(context.run_config["socket"])) as stream:
        while True:
            try:
                request = channel.receive_json(stream)
            except ConnectionError:
                return
            if request["do"] == "clients":
                channel.send_json(stream, {"clients": sorted(str(node) for node in grid.get_node_ids())})
            elif request["do"] == "ask":
                _ask(grid, stream, request["names"], request["deadline_s"])
            else:
                return


def _ask(grid: Grid, stream: socket.socket, names: list[str], deadline_s: float | None) -> None:
    pending: dict[str, str] = {}
    for name in names:  # each message leaves before the next one is read, so only one model is in memory
        pending |= dict.fromkeys(_pushed(grid, name, channel.receive(stream), deadline_s), name)
    for name, content in _answers(grid, pending, deadline_s):
        channel.send_json(stream, {"from": name})
        channel.send(stream, content)
    channel.send_json(stream, {"from": None})


def _pushed(grid: Grid, name: str, content: bytes, deadline_s: float | None) -> list[str]:
    """Send a message to a node and return its id; nothing if Flower does not accept it."""
    message = Message(
        RecordDict({"leanmark": ConfigRecord({"bytes": content})}), dst_node_id=int(name), message_type="train",
        # Flower discards older messages, so allow a minute more than our own deadline, which then decides.
        ttl=24 * 3600.0 if deadline_s is None else deadline_s + 60,
    )  # fmt: skip
    return [message_id for message_id in grid.push_messages([message]) if message_id]


def _answers(grid: Grid, pending: dict[str, str], deadline_s: float | None) -> Iterator[tuple[str, bytes]]:
    ends = None if deadline_s is None else time.monotonic() + deadline_s
    seen = dict.fromkeys(pending.values(), time.monotonic())
    while pending and (ends is None or time.monotonic() < ends):
        waiting = list(pending)
        # Ask in parts, because one request returns all answers that have arrived.
        for start in range(0, len(waiting), PULLED):
            for reply in grid.pull_messages(waiting[start : start + PULLED]):
                name = pending.pop(reply.metadata.reply_to_message_id, None)
                if name is not None and not reply.has_error():
                    content = reply.content["leanmark"]["bytes"]
                    if isinstance(content, bytes):
                        yield name, content
        now = time.monotonic()
        seen.update(dict.fromkeys((str(node) for node in grid.get_node_ids()), now))
        pending = {message: name for message, name in pending.items() if now - seen[name] < GONE_S}
        if pending:
            time.sleep(PAUSE_S)
