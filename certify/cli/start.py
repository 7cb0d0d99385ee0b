"""Entry point of the program ``leanmark``, which can be stopped quietly from its import to its exit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from certify.core.exit_codes import STOPPED


def main() -> None:
    """Import the program and run it; Ctrl-C and SIGTERM end it without a traceback at any moment."""
    _on_signal(_stop)
    from certify.cli.main import main as program

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        program()
    except KeyboardInterrupt:  # stopped again while the first stop was reported
        raise SystemExit(STOPPED) from None
    finally:
        _on_signal(_leave)  # Python takes seconds to unload torch, which invites a second Ctrl-C


def _on_signal(handler: Callable[[int, object], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _stop(number: int, frame: object) -> NoReturn:
    sys.stderr.write("Stopped.\n")
    raise SystemExit(STOPPED)


def _leave(number: int, frame: object) -> NoReturn:
    os._exit(STOPPED)
