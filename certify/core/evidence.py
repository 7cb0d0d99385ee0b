"""What was observed: the records from which every interval, guard and letter is derived.

Whoever holds them can compute the profile and the grade again without the model, the data or the machine;
:mod:`certify.core.evidence_file` writes and reads them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import rfc8785

from certify.core.observed import Kind, Observed, mapping
from certify.core.windows import Run, Window

ARMS = ("baseline", "candidate")
"""The two models that are compared; a model that is measured alone is the candidate, so that its figures have the same
names. Further arms of single windows: ``baseline_again`` (null run), ``baseline_default`` (at the default runtime),
``yardstick``."""

DEFAULT_RUNTIME = "onnxruntime-cpu"
"""The runtime of a measurement that names none."""
PER_ARM = ("runtime", "runtime_version", "provider", "precision")
"""Fields of a workload that differ where each model runs on a runtime of its own."""


@dataclass(frozen=True)
class Workload:
    """How the models are run; everything that changes the figures and is not the model or the machine.

    Attributes:
        runtime: name of the baseline's runtime adapter, such as ``onnxruntime-cpu``.
        runtime_version: version of the library behind it.
        provider: execution provider or device that was asked for.
        batch: samples in one inference.
        threads: intra-op threads of the baseline, each pinned to a core of its own where the system allows it.
        candidate_threads: likewise of the candidate; each model runs at the number at which it is cheapest.
        graph_optimization: level of the runtime's graph optimiser (``all`` for a measurement that grades).
        spinning: whether pool threads spin while they wait for work.
        precision: numeric precision forced by the runtime, or ``as in the model``.
        library_versions: versions of all libraries that compute, by name.
        candidate_runtime: those of :data:`PER_ARM` of the candidate, where ``--runtime auto`` chose another runtime for
            it; empty where both ran on one.
    """

    runtime: str
    runtime_version: str
    provider: str
    batch: int
    threads: int
    candidate_threads: int
    graph_optimization: str = "all"
    spinning: bool = True
    precision: str = "as in the model"
    library_versions: Mapping[str, str] = field(default_factory=dict)
    candidate_runtime: Mapping[str, str] = field(default_factory=dict)

    def of(self, arm: str) -> Workload:
        """The workload as one model ran it."""
        own = self.candidate_runtime if arm == "candidate" else {}
        known = {name: own[name] for name in PER_ARM if name in own}
        return Workload(**{**vars(self), "candidate_runtime": {}, **known})

    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON of all fields."""
        return hashlib.sha256(rfc8785.dumps(asdict(self))).hexdigest()


@dataclass(frozen=True)
class ModelFacts:
    """What the file of one model says about it without being run.

    Attributes:
        file_digest: hex SHA-256 of the bytes that ran.
        content_digest: hex digest over every known field (see certify.model_file.onnx_file.content).
        bytes: size of that file.
        parameters: number of elements of all weights (initializers and constants that feed operators).
        macs: multiply-adds of one sample's inference, counted from the graph.
        counted_share: share (0 to 1) of compute operators whose MACs could be counted.
        not_counted: compute operator types that could not be counted.
        bytes_moved: bytes that compute operators read and write for one sample, null where not all are known.
        varying_share: share (0 to 1) of the work that depends on what the model is fed; 1 where nothing bounds it.
        varying: types of the operators that make it so.
        published: the published network whose weights it has; null where it has none that is known.
    """

    file_digest: str
    content_digest: str
    bytes: int
    parameters: int
    macs: int
    counted_share: float
    not_counted: tuple[str, ...] = ()
    bytes_moved: int | None = None
    varying_share: float = 0.0
    varying: tuple[str, ...] = ()
    published: str | None = None


@dataclass(frozen=True)
class MeterFacts:
    """The meter that was used.

    Attributes:
        name: as ``leanmark meters`` lists it.
        level: value of an EvidenceLevel.
        scope: what the joules cover (board, package, module, vcpu, wall).
        method: how joules come about, in a few words; a ratio needs the same method on the same device.
        relative_error: the meter's own accuracy as a factor (2.0 means x or / 2), null if its maker states none.
        refused: the better meters that could not be used, with the reason for each.
        parameters: constants that entered the joules (watts per vCPU, source, date).
        code: hex SHA-256 of the source of a plug-in meter; null for the meters of this package.
    """

    name: str
    level: str
    scope: str
    method: str
    relative_error: float | None
    refused: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None


@dataclass(frozen=True)
class Header:
    """Circumstances of the measurement, one a file.

    Attributes:
        created: UTC time at which measuring began, ISO 8601 with ``Z``.
        leanmark: version that measured.
        edition: name of the edition whose plan was followed.
        seed: of every random choice (order of arms, samples); null in public where the data are private.
        attempt: 1 for the first measurement of this pair of models in the maker's log; at least so many were made.
        baseline_origin: where the baseline comes from, in one sentence (``trained here on mnist5k, seed 0``).
        device: model of processor, cores, memory, operating system, virtualisation: text or numbers by name.
        data: ``name``, ``spec``, ``test_samples``, ``test_digest``, ``classes`` (the number of them), ``metric`` (what
            is graded, top-1 where it is absent), ``metric_code`` (hex SHA-256 of the source of a metric that is not of
            this package), ``private`` (id of the data key, where digests are keyed identifiers), ``trials`` (candidates
            among which the maker chose this one on validation data; absent where nobody searched).
        workload: see Workload.
        meter: see MeterFacts; null where no energy figure could be had at any level.
        models: facts by arm (``baseline``, ``candidate``), of the candidate alone where nothing was compared.
        time_limit_s: limit that was set on the main run.
        wanted_half_width: half-width of the ratio's interval that was asked for (0.05 is 5 %).
        libraries: hex SHA-256 of the shared libraries that the workers had loaded, those of the system left out, by
            name (see certify.core.surroundings).
        auditor: what binds the auditor file of private data; null in that file itself, and where nothing is withheld.
    """

    created: str
    leanmark: str
    edition: str
    seed: int | None
    attempt: int
    baseline_origin: str
    device: Mapping[str, Any]
    data: Mapping[str, Any]
    workload: Workload
    meter: MeterFacts | None
    models: Mapping[str, ModelFacts]
    time_limit_s: float
    wanted_half_width: float
    libraries: Mapping[str, str]
    auditor: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Latencies:
    """Wall times of single inferences of the fixed pass (500 calls or 20 s, whichever is first), in seconds."""

    arm: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Prediction:
    """One test sample, scored by both models.

    Attributes:
        digest: hex SHA-256 of the sample.
        label: index of the true class.
        baseline_top1: class that the baseline put first.
        baseline_margin: its first output minus its second.
        candidate_top1: class that the candidate put first.
        candidate_margin: its first output minus its second.
        baseline_score: the declared metric's score of the baseline (``data.metric``), null where that is top-1.
        candidate_score: likewise of the candidate.
    """

    digest: str
    label: int
    baseline_top1: int
    baseline_margin: float
    candidate_top1: int
    candidate_margin: float
    baseline_score: float | None = None
    candidate_score: float | None = None


@dataclass(frozen=True)
class Observation:
    """Something recorded once for a guard to judge: a name and plain JSON values."""

    name: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, observed: Observed) -> Observation:
        """Record an observation of a kind."""
        return cls(observed.NAME, observed.values())

    @classmethod
    def by_arm(cls, kind: type[Observed], observed: Mapping[str, Observed]) -> Observation:
        """Record observations of one kind, of each arm its own."""
        return cls(kind.NAME, {arm: one.values() for arm, one in observed.items()})


@dataclass(frozen=True)
class Evidence:
    """Everything that was observed in one measurement of a pair of models, or of one alone."""

    header: Header
    windows: tuple[Window, ...]
    latencies: tuple[Latencies, ...]
    predictions: tuple[Prediction, ...]
    observations: tuple[Observation, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The models that were measured, the baseline first."""
        return tuple(arm for arm in ARMS if arm in self.header.models)

    @property
    def withheld(self) -> bool:
        """Whether rows stand in an auditor file and not here."""
        return self.header.auditor is not None and not self.predictions

    @property
    def compares(self) -> bool:
        """Whether a model was compared with another, and not measured alone."""
        return len(self.arms) > 1

    def run(self, name: str) -> Run:
        """All windows of the run of a name; without any where it was not made."""
        return self._runs.get(name, Run(()))

    @functools.cached_property
    def _runs(self) -> dict[str, Run]:
        by_name: dict[str, list[Window]] = {}
        for window in self.windows:
            by_name.setdefault(window.run, []).append(window)
        return {name: Run(tuple(windows), len(self.arms)) for name, windows in by_name.items()}

    def observation(self, name: str) -> Mapping[str, Any] | None:
        """Values recorded under a name, or None where nothing was."""
        return next((o.values for o in self.observations if o.name == name), None)

    def observed(self, kind: type[Kind]) -> Kind | None:
        """The observation of a kind; None where nothing, or too little, was recorded.

        Raises:
            CertificateError: a recorded value is of the wrong type.
        """
        return kind.read(self.observation(kind.NAME) or {})

    def observed_of(self, kind: type[Kind], arm: str) -> Kind | None:
        """The observation of a kind of one model; None where nothing, or too little, was recorded."""
        return kind.read(mapping(self.observation(kind.NAME), arm) or {})

    def observed_by_arm(self, kind: type[Kind]) -> tuple[Kind | None, ...] | None:
        """The observations of a kind of both models, None for one that tells too little; None where one is absent."""
        recorded = [mapping(self.observation(kind.NAME), arm) for arm in ARMS]
        known = [values for values in recorded if values is not None]
        return tuple(map(kind.read, known)) if len(known) == len(ARMS) else None

    @functools.cached_property
    def samples(self) -> tuple[Prediction, ...]:
        """The different test samples: of those with one digest the first, so that a repeated one counts once."""
        first: dict[str, Prediction] = {}
        for prediction in self.predictions:
            first.setdefault(prediction.digest, prediction)
        return tuple(first.values())

    @property
    def duplicates(self) -> int:
        """Test samples that were scored before under the same digest."""
        return len(self.predictions) - len(self.samples)

    def labels(self) -> npt.NDArray[np.int64]:
        """True classes of the different test samples, int64 (n,)."""
        return np.array([p.label for p in self.samples], dtype=np.int64)
