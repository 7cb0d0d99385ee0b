"""Account of a private pass, for the privacy statement of the model.

It is stored in the pass's record, under the key ``private``, which only the auditor's lineage contains, since it holds
batch sizes and identifiers. Public facts are stored next to it.
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
"""Key in a pass's record; the public lineage omits it."""
FROM_SYSTEM = Randomness("os")


@dataclass(frozen=True)
class Account:
    """Mechanism of one pass, with its sizes, sources, choices and identifiers.

    Attributes:
        sgd: a noisy training; None for votes.
        votes: noisy votes; None for a training.
        sizes: realised batch sizes of a noisy training that samples, one per step.
        sources: models and data used in addition to the private part.
        choices: how sizes, norms and thresholds were chosen.
        members: identifiers of parts other than the job's own: public data, and the teachers' parts.
    """

    sgd: DpSgd | None = None
    votes: GnMaxVotes | None = None
    sizes: tuple[int, ...] = ()
    sources: tuple[SourceOf, ...] = ()
    choices: tuple[Choice, ...] = ()
    members: tuple[Members, ...] = ()

    @property
    def batches(self) -> tuple[Batches, ...]:
        """Batch sizes as a record; empty if there are none."""
        return (Batches(self.sgd.id, 0, self.sizes),) if self.sgd is not None and self.sizes else ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the inverse of :meth:`from_json`."""
        values = asdict(self)
        lists = {name: list(values[name]) for name in ("sizes", "sources", "choices")}
        members = [{**each, "ids": list(each["ids"])} for each in values["members"]]
        sgd = values["sgd"]
        if sgd is not None:
            sgd = {**sgd, "cross_sample_layers": list(sgd["cross_sample_layers"])}
        return {**values, **lists, "members": members, "sgd": sgd}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Account:
        """Read the account of a pass."""
        sgd, votes = values["sgd"], values["votes"]
        return cls(
            None if sgd is None else _training(sgd),
            None if votes is None else GnMaxVotes(**{**votes, "randomness": Randomness(**votes["randomness"])}),
            tuple(values["sizes"]),
            tuple(SourceOf(**each) for each in values["sources"]),
            tuple(Choice(**each) for each in values["choices"]),
            tuple(Members(each["part"], tuple(each["ids"])) for each in values["members"]),
        )


def _training(values: Mapping[str, Any]) -> DpSgd:
    parts = {
        "sampling": Sampling(**values["sampling"]),
        "randomness": Randomness(**values["randomness"]),
        "cross_sample_layers": tuple(values["cross_sample_layers"]),
    }
    return DpSgd(**{**values, **parts})


def sampling(rate: float, records: int) -> Sampling:
    """Return Poisson sampling at a rate, or no sampling if every record takes part in each step.

    Example:
        >>> sampling(0.25, 400).expected_batch
        100.0
    """
    # Without coins there is no sampling to be tested, and no amplification to be accounted for.
    return Sampling("all") if rate == 1 else Sampling("poisson", rate, rate * records)


def account_of_votes(
    votes: GnMaxVotes, public: SourceOf, members: Members, ids: Sequence[str], parts: Sequence[npt.NDArray[np.int64]]
) -> Account:
    """Return the account of teachers' votes.

    Args:
        votes: the mechanism.
        public: the record of the public samples.
        members: identifiers of the public samples.
        ids: identifiers of all private samples.
        parts: indices in `ids` of each teacher's samples.
    """
    # All of these come from the recipe, before any private record is read. A choice made by looking at the records
    # would be a release of its own and would need a budget.
    fixed = tuple(Choice(what, "none") for what in ("threshold", "answers", "teachers", "last epoch kept"))
    # An auditor checks from the identifiers that no record has more than one teacher; the cost of a vote assumes that.
    of_teachers = (Members(f"teacher:{k}", tuple(ids[i] for i in part)) for k, part in enumerate(parts))
    return Account(votes=votes, sources=(public,), choices=fixed, members=(members, *of_teachers))
