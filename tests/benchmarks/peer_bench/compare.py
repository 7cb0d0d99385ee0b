"""Everything about one model: its files, what they answer, what they cost, and our place beside each peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from peer_bench.job import Job
from peer_bench.making import Artifact
from peer_bench.scores import ORT, Score
from peer_bench.times import Group
from peer_bench.verdicts import BEHIND, CHEAP, CLOSE, Verdict, cost_verdict, exactly, share_verdict

OWN = {
    ORT: ("leanmark-amx", "leanmark"),
    "openvino": ("leanmark-openvino", "leanmark"),
    "openvino-bf16": ("leanmark-openvino", "leanmark"),
}
"""Our file for each runtime: the first that was made."""
MAKING = "making time (CPU)"


@dataclass(frozen=True)
class Comparison:
    """One model.

    Attributes:
        job: the model.
        artifacts: the float file, then the makers'.
        scores: by runtime and artifact; a sentence where there is none.
        groups: times.
        limits: highest rates by number of threads and precision, in 10^9 operations per second.
    """

    job: Job
    artifacts: tuple[Artifact, ...]
    scores: Mapping[tuple[str, str], Score | str]
    groups: Sequence[Group] = ()
    limits: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def artifact(self, name: str) -> Artifact | None:
        """Return a file by name."""
        return next((one for one in self.artifacts if one.name == name), None)

    def own(self, runtime: str) -> str | None:
        """Return the name of our file for a runtime, or None if none was made."""
        made = [name for name in OWN[runtime] if (found := self.artifact(name)) is not None and found.file is not None]
        return made[0] if made else None


@dataclass(frozen=True)
class Row:
    """Our place beside one peer in one figure."""

    figure: str
    runtime: str
    peer: str
    verdict: Verdict | None
    refused: str = ""


def rows(found: Comparison) -> Iterator[Row]:
    """Yield our place in every figure against every peer; a refused time is a row too."""
    peers = [one.name for one in found.artifacts if not one.own and one.name != "float" and one.file is not None]
    yield from _scores(found, peers)
    for group in found.groups:
        yield from _times(found, group, peers)
    yield from _costs(found, peers)


def behind(found: Comparison) -> list[Row]:
    """Return the rows in which a peer is ahead."""
    return [row for row in rows(found) if row.verdict is not None and row.verdict.word == BEHIND]


def _scores(found: Comparison, peers: Sequence[str]) -> Iterator[Row]:
    for runtime in dict.fromkeys(runtime for runtime, _ in found.scores):
        own = found.scores.get((runtime, found.own(runtime) or ""))
        if not isinstance(own, Score):
            continue
        for peer in peers:
            if isinstance(other := found.scores.get((runtime, peer)), Score):
                yield Row("accuracy", runtime, peer, share_verdict(own.right, other.right))
                yield Row("agreement", runtime, peer, share_verdict(own.same, other.same))


def _times(found: Comparison, group: Group, peers: Sequence[str]) -> Iterator[Row]:
    figure = f"time, {group.threads} thread{'s' if group.threads > 1 else ''}, batch {group.batch}"
    if group.refused is not None:
        yield Row(figure, group.runtime, "every peer", None, group.refused)
        return
    own = group.times.get(found.own(group.runtime) or "")
    for peer in [*peers, "float"]:
        if own is not None and peer in group.times:
            yield Row(figure, group.runtime, peer, cost_verdict(own.wall_ms, group.times[peer].wall_ms))


def _costs(found: Comparison, peers: Sequence[str]) -> Iterator[Row]:
    own = found.artifact("leanmark")
    others = [one for name in peers if (one := found.artifact(name)) is not None]
    if own is None or own.file is None or not others:
        return
    figures: dict[str, Callable[[Artifact], float]] = {
        "bytes": lambda one: float(one.bytes or 0),
        MAKING: lambda one: one.cpu_s or 0.0,
        "peak memory of making": lambda one: float(one.peak_bytes or 0),
    }
    for figure, of in figures.items():
        best = min(others, key=of)
        close = CLOSE if figure == "bytes" else CHEAP
        yield Row(figure, "", best.name, cost_verdict(exactly(of(own)), exactly(of(best)), close))
