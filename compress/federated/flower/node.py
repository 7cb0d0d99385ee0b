"""``python -m compress.federated.flower.node DIGEST``: Flower's SuperNode, which runs one app and no other.

A SuperNode runs the program that its SuperLink sends. This one stops where the digest of that program is not the one
that was given, which is that of leanmark's own app, so that the operator of a SuperLink cannot run code on clients.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from compress.federated.flower.parent import end_with_parent

FOREIGN_APP = 3
"""Exit code where the SuperLink sent another program."""


def is_app(content: bytes, digest: str) -> bool:
    """Whether a bundle is the one with a digest.

    Example:
        >>> is_app(b"app", hashlib.sha256(b"app").hexdigest()), is_app(b"other", hashlib.sha256(b"app").hexdigest())
        (True, False)
    """
    return hashlib.sha256(content).hexdigest() == digest


def main() -> None:
    """Start the SuperNode with the arguments of ``flower-supernode`` behind the digest."""
    end_with_parent()
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    digest = sys.argv.pop(1)
    read = start_client_internal.get_fused_config_from_fab

    def checked(content: bytes, run: Any) -> Any:
        if not is_app(content, digest):
            sys.stderr.write("The SuperLink sent another program than leanmark's; this client stops.\n")
            sys.stderr.flush()
            os._exit(FOREIGN_APP)  # before the program is stored: other threads must not go on
        return read(content, run)

    start_client_internal.get_fused_config_from_fab = checked
    flower_supernode()


if __name__ == "__main__":
    main()
