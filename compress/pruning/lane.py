"""Running a program step by step on all samples, each operator once, in constant memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

from compress.pruning.program import Program, ancestors
from compress.pruning.value_store import ArrayShelf


class Shelf(ArrayShelf[Node]):
    """A shelf for the tensors of a program's nodes."""

    def _save(self, values: list[Any], file: Path) -> None:
        torch.save(values, file)

    def _load(self, file: Path) -> list[Any]:
        saved: list[Any] = torch.load(file, weights_only=True)
        return saved


class Lane:
    """One program on all samples, in batches: only values that later steps need are kept.

    Used as a context manager, it removes its temporary files.

    Args:
        program: program to run.
        batches: returns a batch by its number, as the program takes it.
        count: number of batches.
        later: nodes whose values will be requested, once per occurrence; others can be requested until something that
            depends on them is requested.
    """

    def __init__(
        self, program: Program, batches: Callable[[int], torch.Tensor], count: int, later: Iterable[Node] = ()
    ) -> None:
        self.program = program
        self._batches, self._count = batches, count
        self._later = Counter(later)
        self._known: set[Node] = {program.sample}
        self._stack = contextlib.ExitStack()
        self._shelf: Shelf | None = None

    def __enter__(self) -> Lane:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="leanmark-"))
        self._next = Shelf(Path(folder))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def values(self, *wanted: Node) -> Iterator[list[torch.Tensor]]:
        """Yield the requested values of one batch after the other; must be read to the end."""
        program = self.program
        needed = program.ordered(ancestors(wanted, self._known))
        self._later.subtract(wanted)
        known = self._known | (program.varying & set(needed))
        # A value waits for a later request or for an operator that has not run; everything else is freed.
        kept = [node for node in known if self._later[node] > 0 or any(user not in known for user in node.users)]
        for batch in range(self._count):
            # The samples are read once; from the second step on, a batch starts from what the previous step left.
            values = {program.sample: self._batches(batch)} if self._shelf is None else self._shelf.take(batch)
            with torch.inference_mode():
                program.evaluate(needed, values)
            yield [values[node] for node in wanted]
            self._next.put(batch, {node: values[node] for node in kept})
        self._shelf, self._known = self._next, known
