"""Entry point of the program ``leanmark``, which can be stopped quietly even while it is being imported."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from certify.core.exit_codes import STOPPED


def main() -> None:
    """Import the program and run it; Ctrl-C and SIGTERM end it without a traceback from the first moment."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    from certify.cli.main import main as program

    signal.signal(signal.SIGINT, signal.default_int_handler)
    program()


def _stop(number: int, frame: object) -> NoReturn:
    sys.stderr.write("Stopped.\n")
    raise SystemExit(STOPPED)
