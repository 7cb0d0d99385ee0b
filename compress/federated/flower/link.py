"""``python -m compress.federated.flower.link``: Flower's SuperLink, with a Control API for this machine only.

A SuperLink serves clients (Fleet API), its own programs (Runtime API) and those who start runs (Control API) on one
port. Without an account plugin the Control API requires no authentication, so anyone could start any program on every
client. Here other machines can reach only the Fleet API, which requires registered keys.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from compress.federated.flower.parent import end_with_parent

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]
OPEN = "/v1/fleet/"


def allowed(path: str, host: str) -> bool:
    """Return whether a machine may request a path.

    Example:
        >>> allowed("/v1/fleet/pull-messages", "10.0.0.7"), allowed("/v1/control/start-run", "10.0.0.7")
        (True, False)
        >>> allowed("/v1/control/start-run", "127.0.0.1"), allowed("/v1/fleet/../control/start-run", "10.0.0.7")
        (True, False)
    """
    # A router may normalise the path after this check.
    if path.startswith(OPEN) and ".." not in path and "//" not in path:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class LocalControl:
    """ASGI middleware in front of the SuperLink."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Forward allowed requests and refuse all others."""
        if scope["type"] in ("http", "websocket") and not allowed(scope["path"], (scope.get("client") or ("",))[0]):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b"This API answers only on the SuperLink's machine.\n"})
            return
        await self._app(scope, receive, send)


def main() -> None:
    """Start the SuperLink with the arguments of ``flower-superlink``."""
    end_with_parent()
    from flwr.superlink import main as superlink
    from flwr.superlink.cli.flower_superlink import flower_superlink

    create_app = superlink.create_app

    def guarded(*arguments: Any, **options: Any) -> Any:
        app = create_app(*arguments, **options)
        app.add_middleware(LocalControl)  # the outermost: added last
        return app

    superlink.create_app = guarded
    flower_superlink()


if __name__ == "__main__":
    main()
