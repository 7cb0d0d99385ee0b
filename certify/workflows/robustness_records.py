"""From two files, corruptions, witnesses and triggers to the records of the robustness assessment."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from certify.assessment.record_file import ModelDigests
from certify.assessments.robustness.edition import RobustnessEdition
from certify.assessments.robustness.findings import OTHER_SETTINGS
from certify.assessments.robustness.records import (
    ArmName,
    Clean,
    Corrupted,
    DataFacts,
    Detection,
    Header,
    Held,
    Record,
    Records,
    Source,
    Standing,
    Triggered,
    WitnessSet,
)
from certify.core.errors import UsageError
from certify.core.folders import published
from certify.core.progress import Progress
from certify.core.statistics.proportions import PairedTable
from certify.data.altered_images import in_memory
from certify.data.contract_slot import contract_of
from certify.data.corruptions import SEVERITIES, corrupted_split
from certify.data.dataset import Dataset, samples_digest
from certify.data.preprocess import Preprocess
from certify.data.triggers import Trigger
from certify.data.witnesses import Witness
from certify.measure.answers import Answers
from certify.model_file.subject import subject_digests
from certify.workflows.trigger_check import Before, triggered
from certify.workflows.witness_check import Base, Checked, check, common_count, fallen, turned, witnessed

ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
Pair = Mapping[ArmName, Answers]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StressOptions:
    """Stress to put on both models.

    Attributes:
        severities: severities of every corruption; empty for no corruptions.
        samples: number of corrupted samples, at most the edition's maximum.
        witnesses: witness files.
        triggers: given triggers.
        float_parent: the candidate's float parent, compared under the triggers; None leaves it out.
        adversarially_trained: whether the maker declares the baseline adversarially trained.
        runtime: runtime adapter.
    """

    severities: tuple[int, ...] = ()
    samples: int | None = None
    witnesses: tuple[Path, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    float_parent: Path | None = None
    adversarially_trained: bool = False
    runtime: str = "onnxruntime-cpu"

    def __post_init__(self) -> None:
        if wrong := [severity for severity in self.severities if severity not in SEVERITIES]:
            raise UsageError(f"The 'severities' must be integers in [1, 5], got {wrong[0]}.")
        if not (self.severities or self.witnesses or self.triggers):
            raise UsageError("No stress was chosen; give corruptions, witnesses or a trigger.")
        if self.float_parent is not None and not self.triggers:
            # Only triggers are compared with the original before quantisation.
            raise UsageError("The float parent is compared under triggers only; give a trigger.")
        if len({path.name for path in self.witnesses}) < len(self.witnesses):
            raise UsageError("Two witness files have the same name; rename one.")


@dataclass
class Stress:
    """Two model files under stress.

    Attributes:
        files: model files by arm.
        contracts: preprocessing contracts by arm.
        dataset: data set; its test split is used.
        edition: edition with the constants.
        progress: progress display.
    """

    files: Mapping[ArmName, Path]
    contracts: Mapping[ArmName, Preprocess]
    dataset: Dataset
    edition: RobustnessEdition
    progress: Progress
    base: Base = field(init=False)

    def __post_init__(self) -> None:
        self.base = Base.of(self.dataset)

    def records(self, options: StressOptions) -> Records:
        """Run both models under stress, and count.

        Raises:
            DataError: a witness file is invalid, or belongs to another model or other samples.
            UsageError: no stress was chosen, or a choice does not exist.
        """
        created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        digests = {arm: subject_digests(path) for arm, path in self.files.items()}
        contents: dict[str, str] = {arm: digest["leanmarkContent"] for arm, digest in digests.items()}
        checked = [check(path, self.base, contents) for path in options.witnesses]
        rows: list[Record] = []
        with self._open(options.runtime) as pair:
            if options.severities:
                rows += self._corrupted(pair, options)
            if checked:
                rows += self._attacked(pair, [(_arm(arm), file) for arm, file in checked], options.runtime)
            rows += self._triggered(pair, options)
        kinds = (Clean, Corrupted, WitnessSet, Standing, Held, Detection, Triggered)
        rows.sort(key=lambda row: kinds.index(type(row)))
        name, spec = self.dataset.name[:200], published(self.dataset.spec)[:4000]
        facts = DataFacts(name, spec, len(self.base.order), self.base.test_digest)
        model, baseline = (ModelDigests(**digests[arm]) for arm in ("candidate", "baseline"))
        version, hardened = importlib.metadata.version("leanmark"), options.adversarially_trained
        parent = None if options.float_parent is None else ModelDigests(**subject_digests(options.float_parent))
        head = Header(created, version, model, baseline, facts, options.runtime, hardened, parent)
        return Records(head, tuple(rows))

    def _triggered(self, pair: Pair, options: StressOptions) -> Iterator[Triggered]:
        with contextlib.ExitStack() as live:
            before: dict[Before, Answers] = {"baseline": pair["baseline"]}
            if options.float_parent is not None:
                contract = contract_of(options.float_parent, None, default=self.contracts["candidate"])
                classes = len(self.dataset.classes)
                answers = Answers(
                    options.float_parent, contract, classes, runtime=options.runtime, threads=1, arm="baseline"
                )
                before["float_parent"] = live.enter_context(answers)
            for trigger in options.triggers:
                yield from triggered(before, pair["candidate"], self.base, trigger)

    @contextlib.contextmanager
    def _open(self, runtime: str, threads: int = 1, level: str = "all") -> Iterator[Pair]:
        classes = len(self.dataset.classes)
        with contextlib.ExitStack() as live:
            yield {
                arm: live.enter_context(
                    Answers(
                        self.files[arm],
                        self.contracts[arm],
                        classes,
                        runtime=runtime,
                        threads=threads,
                        graph_optimization=level,
                        arm=arm,
                    )
                )
                for arm in ARMS
            }

    def _corrupted(self, pair: Pair, options: StressOptions) -> Iterator[Record]:
        most = self.edition.most_samples
        if options.samples is not None and not 1 <= options.samples <= most:
            raise UsageError(f"The 'samples' parameter must be in [1, {most}], got {options.samples}.")
        # The order is fixed, so that the maker cannot choose samples on which the model is strong.
        chosen = self.base.order[: options.samples or most]
        test = self.dataset.test
        yield Clean(**vars(_table(*self._right(pair, chosen))), of="corruptions")
        with self.progress.task("Corrupting", len(options.severities) * len(self.edition.corruptions)) as task:
            for severity in sorted(set(options.severities)):
                for name in self.edition.corruptions:
                    split = in_memory(corrupted_split(test, chosen, name, severity))
                    right = [pair[arm].scores(split).correct for arm in ARMS]
                    digest = samples_digest(split.digests(), split.labels.tolist())
                    yield Corrupted(**vars(_table(*right)), name=name, severity=severity, samples=digest)
                    task.advance(note=f"{name} {severity}")

    def _right(self, pair: Pair, places: Sequence[int]) -> list[Bools]:
        split = self.dataset.test.subset(places)
        return [pair[arm].scores(split).correct for arm in ARMS]

    def _attacked(self, pair: Pair, checked: Sequence[tuple[ArmName, Checked]], runtime: str) -> Iterator[Record]:
        """Yield the result of every witness on both models: one that fools one model may fool the other too."""
        counts: dict[str, list[int]] = {
            arm: [file.content.header.samples for other, file in checked if other == arm] for arm in ARMS
        }
        count = common_count(counts)
        order = self.base.order
        clean = self._right(pair, order[:count])
        yield Clean(**vars(_table(*clean)), of="witnesses")
        wrong = [{arm: turned(pair[arm], self.base, file.sound) for arm in ARMS} for _, file in checked]
        for (arm, file), found in zip(checked, wrong, strict=True):
            yield _set_row(arm, file, found[arm], [two for other, two in checked if other != arm])
        yield from self._standing(checked, wrong, clean, count)
        yield from self._elsewhere(checked, wrong, runtime)
        yield from self._detected(pair, checked, wrong, count)

    def _standing(
        self,
        checked: Sequence[tuple[ArmName, Checked]],
        wrong: Sequence[Mapping[ArmName, Bools]],
        clean: Sequence[Bools],
        count: int,
    ) -> Iterator[Standing]:
        sizes = sorted({eps for _, file in checked for eps in file.content.header.eps})
        sources: tuple[Source, ...] = ("union", *ARMS)
        for source in sources:
            chosen = [i for i, (arm, _) in enumerate(checked) if source in ("union", arm)]
            if not chosen:
                continue
            for eps in sizes:
                stands = []
                for right, arm in zip(clean, ARMS, strict=True):
                    down = np.zeros(count, dtype=np.bool_)
                    for i in chosen:
                        down |= fallen(count, self.base.order, checked[i][1].sound, wrong[i][arm], eps)
                    # A sample stands if it is correct when clean and no witness of that size fools the model.
                    stands.append(right & ~down)
                yield Standing(**vars(_table(*stands)), eps=eps, source=source)

    def _elsewhere(
        self, checked: Sequence[tuple[ArmName, Checked]], wrong: Sequence[Mapping[ArmName, Bools]], runtime: str
    ) -> Iterator[Held]:
        """Yield whether witnesses that hold for their own model also hold at other settings of the runtime."""
        effective: dict[ArmName, list[tuple[int, Witness]]] = {arm: [] for arm in ARMS}
        for (arm, file), found in zip(checked, wrong, strict=True):
            effective[arm] += [each for each, bad in zip(file.sound, found[arm], strict=True) if bad]
        for level, threads in OTHER_SETTINGS:
            with self._open(runtime, threads, level) as pair:
                for arm in ARMS:
                    count = int(turned(pair[arm], self.base, effective[arm]).sum())
                    yield Held(arm, level, threads, len(effective[arm]), count)

    def _detected(
        self,
        pair: Pair,
        checked: Sequence[tuple[ArmName, Checked]],
        wrong: Sequence[Mapping[ArmName, Bools]],
        count: int,
    ) -> Iterator[Detection]:
        for arm in ARMS:
            pairs = zip(checked, wrong, strict=True)
            hits = [each for (_, file), found in pairs for each, bad in zip(file.sound, found[arm], strict=True) if bad]
            if not hits:
                continue
            attacked = pair[arm].scores(witnessed(self.base, hits)).margin
            clean = pair[arm].scores(self.dataset.test.subset(self.base.order[:count])).margin
            yield detection(arm, clean, attacked)


def _arm(name: str) -> ArmName:
    return "baseline" if name == "baseline" else "candidate"


def _table(baseline: Bools, candidate: Bools) -> PairedTable:
    return PairedTable.from_correct(baseline, candidate)


def _set_row(arm: ArmName, checked: Checked, wrong: Bools, others: Sequence[Checked]) -> WitnessSet:
    """Return the result of a witness file; a witness equal to one of the other model, sign by sign, is a copy."""
    theirs = {(witness.sample, witness.packed) for two in others for _, witness in two.sound}
    effective = [witness for (_, witness), bad in zip(checked.sound, wrong, strict=True) if bad]
    copied = sum((witness.sample, witness.packed) in theirs for witness in effective)
    header = checked.content.header
    return WitnessSet(
        checked.file,
        checked.sha256,
        arm,
        header.method,
        header.gradients,
        header.straight_through,
        header.samples,
        len(checked.content.witnesses),
        len(effective),
        copied,
    )


def detection(arm: ArmName, clean: npt.NDArray[np.float64], attacked: npt.NDArray[np.float64]) -> Detection:
    """Count how often an attacked sample's margin is below an untouched sample's.

    Args:
        arm: arm whose margins these are.
        clean: margins of untouched samples, (m,).
        attacked: margins of attacked samples, (n,).
    """
    # Twice the wins plus the ties: an integer, from which the judge derives the area under the curve exactly.
    wins = 2 * (attacked[None, :] < clean[:, None]).astype(np.int64) + (attacked[None, :] == clean[:, None])
    by_clean, by_attacked = wins.sum(1), wins.sum(0)
    squares = (int((placed.astype(object) ** 2).sum()) for placed in (by_clean, by_attacked))
    return Detection(arm, len(clean), len(attacked), int(wins.sum()), *squares)
