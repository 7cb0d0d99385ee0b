"""One target under atheris (https://github.com/google/atheris), which keeps the inputs that reach new code.

Run by hostile.py as ``python guided.py TARGET FOLDER -runs=N``. Every second input is mutated by the target's own
mutation, which knows its format, and the others by libFuzzer's, which does not.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["certify", "compress"]):
    from graded import own_folders
    from hostile import HANGING_S, LARGEST_BYTES, LONGEST_S, Watch, peak_bytes, resident_bytes
    from markup import Unsafe
    from targets import Target, targets

    from certify.core.errors import LeanmarkError

LARGEST_INPUT = 1 << 20
NEVER_S = 1_000_000
"""libFuzzer's own limit goes by a clock that does not stop while somebody has halted the run."""


def mutator(target: Target):  # type: ignore[no-untyped-def]
    """A mutation that atheris may call."""

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if not data or rng.random() < 0.5:
            return atheris.Mutate(data or b"x", largest)
        return target.mutate(data, rng)[:largest]

    return mutate


def main() -> None:
    """Run until the count is reached, or something is wrong."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    faulthandler.register(signal.SIGPROF, chain=True)
    with own_folders(folder):
        with atheris.instrument_imports(include=["certify", "compress"]):
            target = targets(folder)[name]
            with suppress(LeanmarkError):
                target.run(target.seed)  # imports what is imported late
        watch = Watch(folder)
        corpus = folder / "corpus"
        corpus.mkdir()
        (corpus / "seed").write_bytes(target.seed)

        def test(data: bytes) -> None:
            watch.seen.clear()
            before, began = resident_bytes(), time.process_time()
            highest = peak_bytes()
            watch.on = True
            signal.setitimer(signal.ITIMER_PROF, HANGING_S)
            try:
                target.run(data)
            except LeanmarkError:
                pass
            finally:
                watch.on = False
                signal.setitimer(signal.ITIMER_PROF, 0)
            if watch.seen:
                raise Unsafe(watch.seen[0])
            if time.process_time() - began > 2 * LONGEST_S:  # instrumented code takes about twice as long
                raise Unsafe(f"took {time.process_time() - began:.1f} s")
            if peak_bytes() > max(highest, before + LARGEST_BYTES):
                raise Unsafe(f"took {(peak_bytes() - before) / 1e6:.0f} MB")

        options = [sys.argv[0], *sys.argv[3:], f"-max_len={LARGEST_INPUT}", f"-timeout={NEVER_S}", "-rss_limit_mb=4000"]
        artifacts = f"-artifact_prefix={folder}/"
        atheris.Setup([*options, artifacts, str(corpus)], test, custom_mutator=mutator(target))
        try:
            atheris.Fuzz()
        except Exception:  # of a mutation; atheris never comes back from a usual end of the interpreter
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


if __name__ == "__main__":
    main()
