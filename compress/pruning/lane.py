"""Running a program step by step on all samples, each operator once, in constant memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Start:
    """Values from which a program is run, in batches.

    Attributes:
        nodes: nodes whose values are known.
        values: returns their values for a batch, by its number.
        count: number of batches.
    """

    nodes: frozenset[Node]
    values: Callable[[int], Mapping[Node, Any]]
    count: int

    @classmethod
    def samples(cls, program: Program, batch: Callable[[int], torch.Tensor], count: int) -> Start:
        """Return the start of a whole program.

        Args:
            program: program to run.
            batch: returns a batch of samples by its number, as the program takes it.
            count: number of batches.
        """
        return cls(frozenset({program.sample}), lambda number: {program.sample: batch(number)}, count)


class Lane:
    """One program on all samples, in batches: only values that later steps need are kept.

    Used as a context manager, it removes its temporary files.

    Args:
        program: program to run.
        start: values from which it runs.
        later: nodes whose values will be requested, once per occurrence; others can be requested until something that
            depends on them is requested.
    """

    def __init__(self, program: Program, start: Start, later: Iterable[Node] = ()) -> None:
        self.program = program
        self._start = start
        self._later = Counter(later)
        self._known: set[Node] = set(start.nodes)
        self._stack = contextlib.ExitStack()
        self._shelf: Shelf | None = None

    @property
    def batches(self) -> int:
        """Number of batches."""
        return self._start.count

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
        for batch in range(self._start.count):
            # The samples are read once; from the second step on, a batch starts from what the previous step left.
            values = dict(self._start.values(batch)) if self._shelf is None else self._shelf.take(batch)
            with torch.inference_mode():
                program.evaluate(needed, values)
            yield [values[node] for node in wanted]
            self._next.put(batch, {node: values[node] for node in kept})
        self._shelf, self._known = self._next, known

    def here(self) -> Start:
        """Return the values that the last step left, from which another program with the same nodes can run.

        They are valid until the next step.
        """
        assert self._shelf is not None
        return Start(frozenset(self._known), self._shelf.take, self._start.count)
