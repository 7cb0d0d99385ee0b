"""Server state of each round, so that a run killed at any time resumes after the last closed round.

A round's file is written before the log closes the round, and the previous file is removed afterwards, so the file of
the log's last round always exists.
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
    """Everything on which the next round depends.

    Attributes:
        number: number of the last round; 0 before the first.
        model: bytes of the global model.
        optimizer: state of the server's optimizer.
        bounds: grid of the next round's integers; empty for other forms.
        reference: largest client weight of the first round, by which all weights are divided; 0 before it is known.
    """

    number: int
    model: bytes
    optimizer: npt.NDArray[np.float64]
    bounds: tuple[float, ...]
    reference: float

    def referring(self, reference: float) -> ServerState:
        """Return the same state with another reference weight."""
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
            folder: folder of the run.
            number: number of the round.
            model: digest of the global model after the round, according to the log.

        Raises:
            DataError: the file is missing or damaged, or holds another model.
        """
        path = _path(folder, number)
        try:
            with np.load(path, allow_pickle=False) as saved:
                content = saved["model"].tobytes()
                bounds = tuple(saved["bounds"].tolist())
                found = cls(number, content, saved["optimizer"], bounds, float(saved["reference"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"The state of round {number} cannot be read ({path}); start the run again.") from error
        # The log is signed and the checkpoint is not.
        if digest(content) != model:
            raise DataError(f"{path} does not hold the model that the log names; start the run again.")
        return found


def keep_receipts(folder: Path, number: int, receipts: Mapping[str, bytes]) -> None:
    """Store the receipts of a round before it is closed, until clients have them.

    A client without its receipt would assume that its answer was lost, and the next rounds would differ.
    """
    lines = {name: line.decode() for name, line in receipts.items()}
    write_bytes(folder / RECEIPTS, rfc8785.dumps({"number": number, "receipts": lines}))


def kept_receipts(folder: Path, number: int) -> dict[str, bytes]:
    """Return receipts of the last closed round that clients may not have; none if a kill came before the close."""
    path = folder / RECEIPTS
    if not path.is_file():
        return {}
    stored = json.loads(path.read_bytes())
    return {name: line.encode() for name, line in stored["receipts"].items()} if stored["number"] == number else {}


def forget_receipts(folder: Path) -> None:
    """Remove the stored receipts once clients have them."""
    (folder / RECEIPTS).unlink(missing_ok=True)


def has_state(folder: Path, number: int) -> bool:
    """Return whether the file of a round exists."""
    return _path(folder, number).is_file()


def remove_before(folder: Path, number: int) -> None:
    """Remove the files of rounds before a number."""
    for path in folder.glob("round-*.npz"):
        if int(path.stem.removeprefix("round-")) < number:
            path.unlink()


def _path(folder: Path, number: int) -> Path:
    return folder / f"round-{number:06d}.npz"
