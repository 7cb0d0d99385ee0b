"""Ending with the process that started this one, however it ended: a killed client leaves no SuperNode behind."""

from __future__ import annotations

import os
import threading
import time

LOOK_EVERY_S = 0.5


def end_with_parent() -> None:
    """Watch the parent from a thread, and end this process once it has gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
