"""One trial of a pass: the pass, its model and context, and what applying it changes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.files import sha256_file
from certify.testing.checks import require
from compress.core.context import PassContext
from compress.core.model_stats import state_digest
from compress.core.pass_protocol import Pass, PassRecord

# A pass that seeds the global generator itself must not arrive at the same state by chance.
UNLIKELY_SEED = 0x5EED
Model = nn.Module | Path


@dataclass(frozen=True)
class Application:
    """Result of an application, and its side effects.

    Attributes:
        changed: the result.
        record: record of the pass.
        digest: digest of the result.
        input_kept: whether the input model is unchanged.
        teacher_kept: whether the teacher is unchanged.
        generators_kept: whether the global random generators are unchanged.
        left: files that it left in the folder besides the result and the records in its tags.
    """

    changed: Any
    record: PassRecord
    digest: str
    input_kept: bool
    teacher_kept: bool
    generators_kept: bool
    left: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A pass and the model on which it is tested.

    Attributes:
        candidate: the configured pass.
        model: a module or an ONNX file, depending on the stage of the pass.
        context: context with the model's original as the teacher and its own folder.
    """

    candidate: Pass
    model: Model
    context: PassContext

    def apply(self) -> tuple[Any, PassRecord]:
        """Apply the pass.

        Raises:
            CheckFailed: the record is not a PassRecord.
        """
        changed, record = self.candidate.apply(self.model, self.context)
        require(isinstance(record, PassRecord), f"returned a {type(record).__name__} instead of a PassRecord")
        return changed, record

    @functools.cached_property
    def observed(self) -> Application:
        """One application, shared by the checks, since a pass may take seconds; its global seed is UNLIKELY_SEED."""
        folder = self.context.workspace or Path()
        files, before, teacher = set(folder.rglob("*")), digest_of(self.model), self._teacher()
        with global_seed(UNLIKELY_SEED):
            states = torch.get_rng_state(), _numpy_state()
            changed, record = self.apply()
            same = torch.equal(states[0], torch.get_rng_state()) and states[1] == _numpy_state()
        files |= {folder / f"{self.context.place}-{name}" for name in self.candidate.tags.leaves}
        left = set(folder.rglob("*")) - files - ({changed} if isinstance(changed, Path) else set())
        return Application(
            changed, record, digest_of(changed), digest_of(self.model) == before, self._teacher() == teacher, same,
            tuple(sorted(path.name for path in left)),
        )  # fmt: skip

    def _teacher(self) -> str | None:
        return None if self.context.teacher is None else state_digest(self.context.teacher)


def digest_of(model: Model) -> str:
    """Return the hex digest of a module's state or of a file."""
    return sha256_file(model) if isinstance(model, Path) else state_digest(model)


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed both global generators, and restore them afterwards."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


def _numpy_state() -> str:
    return str(sorted(np.random.get_state(legacy=False).items()))
