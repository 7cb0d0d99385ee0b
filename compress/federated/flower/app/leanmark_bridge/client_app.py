"""ClientApp: relays messages to the client on this machine, which holds the key and data, and returns its answers."""

from __future__ import annotations

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from leanmark_bridge import channel

app = ClientApp()


@app.train()  # type: ignore[untyped-decorator]
def train(message: Message, context: Context) -> Message:
    """Relay one message; if the client is not running, Flower reports the error."""
    with channel.connect(str(context.node_config["socket"])) as stream:
        channel.send(stream, message.content["leanmark"]["bytes"])
        answer = channel.receive(stream)
    return Message(RecordDict({"leanmark": ConfigRecord({"bytes": answer})}), reply_to=message)
