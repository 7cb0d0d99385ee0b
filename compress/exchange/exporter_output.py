"""Output of torch's exporters: kept off the screen, and searched for the reason of a failure."""

from __future__ import annotations

import contextlib
import io
import linecache
import logging
import os
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from torch.jit._trace import TracerWarning

NOISY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch._dynamo", "torch.fx")
LONGEST = 300
BY_VALUES = re.compile(r"data.dependent|numpy\(\)|tolist\(\)", re.IGNORECASE)
"""Phrases by which torch.export reports Python code that reads the values of a tensor."""


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Silence all that exporters print and log, native code included, and record warnings; errors still raise."""
    levels = {name: logging.getLogger(name).level for name in NOISY_LOGGERS}
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    unseen = io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as caught, _descriptors_closed():
            warnings.simplefilter("always")
            with contextlib.redirect_stdout(unseen), contextlib.redirect_stderr(unseen):
                yield caught
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _descriptors_closed() -> Iterator[None]:
    """Redirect the process's standard output and error to nowhere; TorchScript prints graphs there past Python."""
    with Path(os.devnull).open("w") as nowhere, contextlib.ExitStack() as back:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # already closed
                duplicate = os.dup(descriptor)
                back.callback(os.close, duplicate)
                back.callback(os.dup2, duplicate, descriptor)
                os.dup2(nowhere.fileno(), descriptor)
        yield


def reason(error: BaseException) -> str:
    """Return type and first line of the innermost error; the outer ones of exporters give general advice."""
    inner = _causes(error)[-1]
    lines = [line.strip() for line in click.unstyle(str(inner)).splitlines() if line.strip()]  # torch colours errors
    return f"{type(inner).__name__}: {textwrap.shorten(lines[0], LONGEST)}" if lines else type(inner).__name__


def reads_values(error: BaseException) -> bool:
    """Return whether the exporter failed on Python code that reads the values of a tensor, such as a branch."""
    return any(BY_VALUES.search(f"{type(each).__name__} {each}") for each in _causes(error))


def frozen_choice(caught: Sequence[warnings.WarningMessage]) -> str | None:
    """Return file and line where a tracer froze a tensor's value as a constant; assertions do not count."""
    for each in caught:
        line = linecache.getline(each.filename, each.lineno).strip()
        if issubclass(each.category, TracerWarning) and not line.startswith("assert"):
            return f"{Path(each.filename).name}:{each.lineno}"
    return None


def _causes(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (below := chain[-1].__cause__) is not None:
        chain.append(below)
    return chain
