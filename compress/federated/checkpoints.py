"""What the server keeps of each closed round, so that a run killed at any moment resumes after the last one.

A round's file is written before the log closes the round, and the file before it is removed after that: whichever round
the log ends with, its file is there.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rfc8785

from certify.core.errors import DataError
from certify.core.files import write_bytes
from compress.federated.weights import digest

RECEIPTS = "receipts.json"


@dataclass(frozen=True)
class ServerState:
    """Everything that the next round depends on.

    Attributes:
        number: of the round behind which it stands; 0 before the first.
        model: bytes of the global model.
        optimizer: state of the server's step.
        bounds: grid of the next round's integers; empty for other forms.
        reference: weight by which those of clients are divided; 0 before anybody enrolled.
    """

    number: int
    model: bytes
    optimizer: npt.NDArray[np.float64]
    bounds: tuple[float, ...]
    reference: float

    def referring(self, reference: float) -> ServerState:
        """The same state with another reference weight."""
        return replace(self, reference=reference)

    def write(self, folder: Path) -> None:
        """Write the round's file."""
        with io.BytesIO() as content:
            np.savez(
                content, model=np.frombuffer(self.model, np.uint8), optimizer=self.optimizer,
                bounds=np.array(self.bounds, dtype=np.float64), reference=np.array(self.reference),
            )  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(_path(folder, self.number), content.getvalue())

    @classmethod
    def read(cls, folder: Path, number: int, model: str) -> ServerState:
        """Read the file of a round.

        Args:
            folder: of the run.
            number: of the round.
            model: digest of the global model behind it, as the log states it.

        Raises:
            DataError: the file is missing or damaged, or holds another model.
        """
        path = _path(folder, number)
        try:
            with np.load(path, allow_pickle=False) as held:
                content = held["model"].tobytes()
                bounds = tuple(held["bounds"].tolist())
                found = cls(number, content, held["optimizer"], bounds, float(held["reference"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"The state of round {number} cannot be read ({path}); begin the run again.") from error
        if digest(content) != model:
            raise DataError(f"{path} does not hold the model that the log names; begin the run again.")
        return found


def keep_receipts(folder: Path, number: int, receipts: Mapping[str, bytes]) -> None:
    """Keep the receipts of a round that is about to be closed, until clients have them.

    A client whose receipt was lost would go on as if its answer had been, and the next rounds would not be the same.
    """
    lines = {name: line.decode() for name, line in receipts.items()}
    write_bytes(folder / RECEIPTS, rfc8785.dumps({"number": number, "receipts": lines}))


def kept_receipts(folder: Path, number: int) -> dict[str, bytes]:
    """Receipts of the last closed round that clients may not have; none where a kill came before its close."""
    path = folder / RECEIPTS
    if not path.is_file():
        return {}
    held = json.loads(path.read_bytes())
    return {name: line.encode() for name, line in held["receipts"].items()} if held["number"] == number else {}


def forget_receipts(folder: Path) -> None:
    """Note that clients have their receipts."""
    (folder / RECEIPTS).unlink(missing_ok=True)


def has_state(folder: Path, number: int) -> bool:
    """Whether the file of a round is there."""
    return _path(folder, number).is_file()


def remove_before(folder: Path, number: int) -> None:
    """Remove the files of rounds before a number."""
    for path in folder.glob("round-*.npz"):
        if int(path.stem.removeprefix("round-")) < number:
            path.unlink()


def _path(folder: Path, number: int) -> Path:
    return folder / f"round-{number:06d}.npz"
