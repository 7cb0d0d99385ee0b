"""``python -m compress.federated.flower.node DIGEST``: Flower's SuperNode, restricted to one app.

A SuperNode runs the program that its SuperLink sends. This one stops if the digest of the program differs from that of
leanmark's app, so the operator of a SuperLink cannot run code on clients.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from compress.federated.flower.parent import end_with_parent

FOREIGN_APP = 3
"""Exit code if the SuperLink sent another program."""


def is_app(content: bytes, digest: str) -> bool:
    """Return whether a bundle has a digest.

    Example:
        >>> is_app(b"app", hashlib.sha256(b"app").hexdigest()), is_app(b"other", hashlib.sha256(b"app").hexdigest())
        (True, False)
    """
    return hashlib.sha256(content).hexdigest() == digest


def main() -> None:
    """Start the SuperNode with the digest, followed by the arguments of ``flower-supernode``."""
    end_with_parent()
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    digest = sys.argv.pop(1)
    read = start_client_internal.get_fused_config_from_fab

    def checked(content: bytes, run: Any) -> Any:
        if not is_app(content, digest):
            sys.stderr.write("The SuperLink sent a program that is not leanmark's; this client stops.\n")
            sys.stderr.flush()
            os._exit(FOREIGN_APP)  # before the program is stored: other threads must not go on
        return read(content, run)

    start_client_internal.get_fused_config_from_fab = checked
    flower_supernode()


if __name__ == "__main__":
    main()
