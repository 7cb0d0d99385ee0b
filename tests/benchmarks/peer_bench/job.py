"""A model on disk, as every maker finds it: the float file, the same arrays for all, and how to feed them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.input_mapping import by_input

Array = npt.NDArray[Any]
JOB, RESULT = "job.json", "result.json"


@dataclass(frozen=True)
class Job:
    """One model.

    Attributes:
        model: its name.
        folder: where its files lie; ``calibration.npy`` and ``test.npy`` hold samples in the layout of the inputs,
            (n, ...), and files of the same name with ``_y`` their labels.
        inputs: names of the inputs.
        output: name of the scored output.
        classes: number of classes.
        recipe: own recipe for such models.
        transformer: whether it is one, which makers want to know.
        trained: whether its weights are trained; with random ones only times mean anything.
        macs: multiply-adds of one sample in the float file.
    """

    model: str
    folder: Path
    inputs: tuple[str, ...]
    output: str
    classes: int
    recipe: str
    transformer: bool
    trained: bool
    macs: int = field(default=0)

    @property
    def float_file(self) -> Path:
        """The file that all makers start from."""
        return self.folder / "float.onnx"

    def samples(self, part: str) -> Array:
        """Return the samples of a part, (n, ...), mapped from the disk."""
        return np.load(self.folder / f"{part}.npy", mmap_mode="r")

    def labels(self, part: str) -> Array:
        """Return the labels of a part, (n,)."""
        return np.load(self.folder / f"{part}_y.npy")

    def feeds(self, part: str) -> list[dict[str, Array]]:
        """Return a part as single feeds by input name."""
        return [by_input(self.inputs, np.asarray(sample[None])) for sample in self.samples(part)]

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of one input for a batch."""
        whole = self.samples("test").shape
        return (batch, *(whole[1:] if len(self.inputs) == 1 else whole[2:]))

    def write(self) -> None:
        """Keep everything except the folder in the folder."""
        kept = {name: value for name, value in asdict(self).items() if name != "folder"}
        (self.folder / JOB).write_text(json.dumps(kept))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Return what :meth:`write` kept."""
        kept = json.loads((folder / JOB).read_text())
        return cls(folder=folder, **{**kept, "inputs": tuple(kept["inputs"])})
