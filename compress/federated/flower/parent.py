"""Termination with the parent process: a killed client leaves no SuperNode running."""

from __future__ import annotations

import os
import threading
import time

LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Watch the parent process from a thread, and exit when it ends."""
    parent = os.getppid()

    def watch() -> None:
        # An orphan gets another parent. This check works on every POSIX system, PR_SET_PDEATHSIG only on Linux.
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
