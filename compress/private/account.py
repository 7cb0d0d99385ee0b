"""What a private pass leaves for the privacy statement, beside the model.

It goes through the pass's record, under the key ``private``: batch sizes and identifiers among it stand in the
auditor's lineage alone. What people see of it stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.assessments.privacy.records import (
    Batches,
    Choice,
    DpSgd,
    GnMaxVotes,
    Members,
    Randomness,
    Sampling,
    SourceOf,
)

PRIVATE = "private"
"""Key in a pass's record; the public lineage leaves it out."""
FROM_SYSTEM = Randomness("os")


@dataclass(frozen=True)
class Account:
    """The mechanism of one pass with what belongs to it.

    Attributes:
        sgd: a noisy training; None for votes.
        votes: noisy votes; None for a training.
        sizes: realised batch sizes of a noisy training that samples, one a step.
        sources: models and data that entered beside the private part.
        choices: how sizes, norms and thresholds were chosen.
        members: identifiers of parts beside the job's own: public data, and those of teachers.
    """

    sgd: DpSgd | None = None
    votes: GnMaxVotes | None = None
    sizes: tuple[int, ...] = ()
    sources: tuple[SourceOf, ...] = ()
    choices: tuple[Choice, ...] = ()
    members: tuple[Members, ...] = ()

    @property
    def batches(self) -> tuple[Batches, ...]:
        """The sizes as a record."""
        return (Batches(self.sgd.id, 0, self.sizes),) if self.sgd is not None and self.sizes else ()

    def to_json(self) -> dict[str, Any]:
        """JSON values, the inverse of :meth:`from_json`."""
        values = asdict(self)
        lists = {name: list(values[name]) for name in ("sizes", "sources", "choices")}
        members = [{**one, "ids": list(one["ids"])} for one in values["members"]]
        sgd = values["sgd"]
        if sgd is not None:
            sgd = {**sgd, "cross_sample_layers": list(sgd["cross_sample_layers"])}
        return {**values, **lists, "members": members, "sgd": sgd}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Account:
        """Read what a pass left."""
        sgd, votes = values["sgd"], values["votes"]
        return cls(
            None if sgd is None else _training(sgd),
            None if votes is None else GnMaxVotes(**{**votes, "randomness": Randomness(**votes["randomness"])}),
            tuple(values["sizes"]),
            tuple(SourceOf(**one) for one in values["sources"]),
            tuple(Choice(**one) for one in values["choices"]),
            tuple(Members(one["part"], tuple(one["ids"])) for one in values["members"]),
        )


def _training(values: Mapping[str, Any]) -> DpSgd:
    parts = {
        "sampling": Sampling(**values["sampling"]),
        "randomness": Randomness(**values["randomness"]),
        "cross_sample_layers": tuple(values["cross_sample_layers"]),
    }
    return DpSgd(**{**values, **parts})


def sampling(rate: float, records: int) -> Sampling:
    """Poisson sampling at a rate, or none where every record takes part in each step.

    Example:
        >>> sampling(0.25, 400).expected_batch
        100.0
    """
    return Sampling("all") if rate == 1 else Sampling("poisson", rate, rate * records)


def account_of_votes(
    votes: GnMaxVotes, public: SourceOf, members: Members, ids: Sequence[str], parts: Sequence[npt.NDArray[np.int64]]
) -> Account:
    """What is left by votes of teachers.

    Args:
        votes: the mechanism.
        public: the record of the public samples.
        members: their identifiers.
        ids: identifiers of all private samples.
        parts: places in `ids` of each teacher's samples.
    """
    fixed = tuple(Choice(what, "none") for what in ("threshold", "answers", "teachers", "last epoch kept"))
    of_teachers = (Members(f"teacher:{k}", tuple(ids[i] for i in part)) for k, part in enumerate(parts))
    return Account(votes=votes, sources=(public,), choices=fixed, members=(members, *of_teachers))
