"""ServerApp: sends messages to nodes and receives their answers for the coordinator, as only a Flower process can."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from leanmark_bridge import channel

app = ServerApp()
PAUSE_S = 0.2
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
                channel.send_json(stream, {"clients": sorted(str(one) for one in grid.get_node_ids())})
            elif request["do"] == "ask":
                contents = {name: channel.receive(stream) for name in request["names"]}
                _ask(grid, stream, contents, request["deadline_s"])
            else:
                return


def _ask(grid: Grid, stream: socket.socket, contents: dict[str, bytes], deadline_s: float | None) -> None:
    for name, content in _answers(grid, contents, deadline_s):
        channel.send_json(stream, {"from": name})
        channel.send(stream, content)
    channel.send_json(stream, {"from": None})


def _answers(grid: Grid, contents: dict[str, bytes], deadline_s: float | None) -> Iterator[tuple[str, bytes]]:
    names = list(contents)
    ends = None if deadline_s is None else time.monotonic() + deadline_s
    messages = [
        Message(
            RecordDict({"leanmark": ConfigRecord({"bytes": contents[name]})}), dst_node_id=int(name),
            message_type="train", ttl=24 * 3600.0 if deadline_s is None else deadline_s + 60,
        )
        for name in names
    ]  # fmt: skip
    asked = dict(zip(grid.push_messages(messages), names, strict=True))
    seen = dict.fromkeys(names, time.monotonic())
    while asked and (ends is None or time.monotonic() < ends):
        for reply in grid.pull_messages(list(asked)):
            name = asked.pop(reply.metadata.reply_to_message_id, None)
            if name is not None and not reply.has_error():
                content = reply.content["leanmark"]["bytes"]
                if isinstance(content, bytes):
                    yield name, content
        now = time.monotonic()
        seen.update(dict.fromkeys((str(one) for one in grid.get_node_ids()), now))
        asked = {message: name for message, name in asked.items() if now - seen[name] < GONE_S}
        if asked:
            time.sleep(PAUSE_S)
