"""Data that a pass brings in addition to the job's own, and which samples they must not contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from certify.core.errors import DataError, UsageError
from certify.data import Dataset, Split


@dataclass(frozen=True)
class FurtherData:
    """Data of a pass, by specification.

    Attributes:
        spec: data specification, as for :func:`certify.data.load`.
        kind: word for the samples in messages, such as ``public``.
        apart_from: parts of the job's data of which they must contain no sample.
    """

    spec: str
    kind: str
    apart_from: tuple[str, ...] = ("test",)

    def train_part(self, dataset: Dataset) -> Split:
        """Return the part that passes learn from.

        Raises:
            UsageError: the data have no train part.
        """
        if dataset.train is None:
            raise UsageError(f"The {self.kind} data '{self.spec}' have no train part; give data with one.")
        return dataset.train

    def require_apart(self, split: Split, parts: Mapping[str, Iterable[str]]) -> None:
        """Reject data that contain samples of another part, in which they would be used without its protection.

        Args:
            split: samples of these data, keyed like the parts.
            parts: identifiers of the job's samples, by a word for the part.

        Raises:
            DataError: they contain a sample of a part; the message says how many.
        """
        ids = split.digests()
        for name, others in parts.items():
            if seen := set(others).intersection(ids):
                raise DataError(
                    f"{len(seen)} of the {self.kind} samples of '{self.spec}' are {name} samples; take them out."
                )
