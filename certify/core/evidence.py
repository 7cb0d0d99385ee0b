"""Evidence: the records from which every interval, guard and letter is derived.

With them anybody can recompute the profile and the grade, without the model, the data or the machine;
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

from certify.core.observation import Kind, Observed, mapping
from certify.core.windows import Run, Window

ARMS = ("baseline", "candidate")
"""The two compared models; a single model is the candidate, so that its figures have the same names. Windows may have
further arms: ``baseline_again`` (null run), ``baseline_default`` (at the default runtime), ``yardstick``."""

DEFAULT_RUNTIME = "onnxruntime-cpu"
"""Default runtime of a measurement."""
PER_ARM = ("runtime", "runtime_version", "provider", "precision")
"""Fields of a workload that may differ between the models if each has its own runtime."""


@dataclass(frozen=True)
class Workload:
    """How the models are run: everything that affects the figures besides the model and the machine.

    Attributes:
        runtime: name of the baseline's runtime adapter, such as ``onnxruntime-cpu``.
        runtime_version: version of its library.
        provider: requested execution provider or device.
        batch: number of samples per inference.
        threads: intra-op threads of the baseline, each pinned to its own core if the system allows it.
        candidate_threads: intra-op threads of the candidate; each model runs with the number that is cheapest for it.
        graph_optimization: level of the runtime's graph optimiser (``all`` for a graded measurement).
        spinning: whether pool threads spin while waiting for work.
        precision: numeric precision enforced by the runtime, or ``as in the model``.
        library_versions: versions of all computing libraries, by name.
        candidate_runtime: the candidate's fields of :data:`PER_ARM`, if ``--runtime auto`` chose another runtime for
            it; empty if both used the same.
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
        """Return the workload of one model."""
        own = self.candidate_runtime if arm == "candidate" else {}
        known = {name: own[name] for name in PER_ARM if name in own}
        return Workload(**{**vars(self), "candidate_runtime": {}, **known})

    def digest(self) -> str:
        """Return the hex SHA-256 of the canonical JSON of all fields."""
        return hashlib.sha256(rfc8785.dumps(asdict(self))).hexdigest()


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model that its file gives without running it.

    Attributes:
        file_digest: hex SHA-256 of the executed file.
        content_digest: hex digest over every known field (see certify.model_file.onnx_file.content).
        bytes: size of that file.
        parameters: number of elements of all weights (initializers and constants that feed operators).
        macs: multiply-adds of one sample's inference, counted from the graph.
        counted_share: fraction (0 to 1) of compute operators whose MACs could be counted.
        not_counted: types of compute operators that could not be counted.
        bytes_moved: bytes that compute operators read and write for one sample, null if not all are known.
        varying_share: fraction (0 to 1) of the work that depends on the input; 1 if it is unbounded.
        varying: types of the operators with input-dependent work.
        published: the known published network whose weights it has, or null.
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
    """Facts of the meter.

    Attributes:
        name: name as listed by ``leanmark meters``.
        level: value of an EvidenceLevel.
        scope: scope of the joules (board, package, module, vcpu, wall).
        method: how joules are obtained, in a few words; a ratio needs the same method on the same device.
        relative_error: the meter's own accuracy as a factor (2.0 means x or / 2), null if its maker states none.
        refused: better meters that could not be used, with the reasons.
        parameters: constants used for the joules (watts per vCPU, source, date).
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
    """Circumstances of a measurement, one per file.

    Attributes:
        created: UTC time at which the measurement began, ISO 8601 with ``Z``.
        leanmark: version of leanmark that measured.
        edition: name of the edition whose rules were followed.
        seed: seed of all random choices (order of arms, samples); null in public if the data are private.
        attempt: number of this measurement in the maker's log for this pair of models, counted from 1; a lower bound.
        baseline_origin: origin of the baseline, in one sentence (``trained here on mnist5k, seed 0``).
        device: processor, cores, memory, operating system and virtualisation: text or numbers by name.
        data: ``name``, ``spec``, ``test_samples``, ``test_digest``, ``classes`` (their number), ``metric`` (the graded
            metric; top-1 if absent), ``metric_code`` (hex SHA-256 of the source of a third-party metric), ``private``
            (id of the data key, if digests are keyed identifiers), ``trials`` (number of candidates from which the
            maker chose this one on validation data; absent without a search).
        workload: see Workload.
        meter: see MeterFacts; null if no energy figure is available at any level.
        models: facts by arm (``baseline``, ``candidate``), of the candidate only if nothing was compared.
        time_limit_s: time limit of the main run in seconds.
        wanted_half_width: requested half-width of the ratio's interval (0.05 is 5 %).
        libraries: hex SHA-256 of the shared libraries loaded by the workers, except the system's, by name (see
            certify.core.surroundings).
        auditor: binding of the auditor file of private data; null in that file itself, and if nothing is withheld.
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
    """Wall times of single inferences of the fixed pass (500 calls or 20 s, whichever comes first), in seconds."""

    arm: str
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Prediction:
    """One test sample, scored by both models.

    Attributes:
        digest: hex SHA-256 of the sample.
        label: index of the true class.
        baseline_top1: top-1 class of the baseline.
        baseline_margin: its largest output minus its second largest.
        candidate_top1: top-1 class of the candidate.
        candidate_margin: its largest output minus its second largest.
        baseline_score: score of the baseline by the declared metric (``data.metric``), null if that is top-1.
        candidate_score: score of the candidate, likewise.
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
    """An observation for the guards, recorded once: a name and JSON values."""

    name: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, observed: Observed) -> Observation:
        """Make a record of a typed observation."""
        return cls(observed.NAME, observed.values())

    @classmethod
    def by_arm(cls, kind: type[Observed], observed: Mapping[str, Observed]) -> Observation:
        """Make a record of typed observations, one per arm."""
        return cls(kind.NAME, {arm: observation.values() for arm, observation in observed.items()})


@dataclass(frozen=True)
class Evidence:
    """All records of one measurement of a pair of models, or of a single model."""

    header: Header
    windows: tuple[Window, ...]
    latencies: tuple[Latencies, ...]
    predictions: tuple[Prediction, ...]
    observations: tuple[Observation, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The measured models, the baseline first."""
        return tuple(arm for arm in ARMS if arm in self.header.models)

    @property
    def withheld(self) -> bool:
        """Whether rows are in an auditor file instead."""
        return self.header.auditor is not None and not self.predictions

    @property
    def compares(self) -> bool:
        """Whether two models were compared, rather than one measured alone."""
        return len(self.arms) > 1

    def run(self, name: str) -> Run:
        """Return all windows of a run; empty if the run was not made."""
        return self._runs.get(name, Run(()))

    @functools.cached_property
    def _runs(self) -> dict[str, Run]:
        by_name: dict[str, list[Window]] = {}
        for window in self.windows:
            by_name.setdefault(window.run, []).append(window)
        return {name: Run(tuple(windows), len(self.arms)) for name, windows in by_name.items()}

    def observation(self, name: str) -> Mapping[str, Any] | None:
        """Return the values recorded under a name, or None."""
        return next((o.values for o in self.observations if o.name == name), None)

    def observed(self, kind: type[Kind]) -> Kind | None:
        """Return the observation of a kind; None if it is missing or incomplete.

        Raises:
            CertificateError: a recorded value has the wrong type.
        """
        return kind.read(self.observation(kind.NAME) or {})

    def observed_of(self, kind: type[Kind], arm: str) -> Kind | None:
        """Return one model's observation of a kind; None if it is missing or incomplete."""
        return kind.read(mapping(self.observation(kind.NAME), arm) or {})

    def observed_by_arm(self, kind: type[Kind]) -> tuple[Kind | None, ...] | None:
        """Return both models' observations of a kind, None for an incomplete one; None if one is absent."""
        recorded = [mapping(self.observation(kind.NAME), arm) for arm in ARMS]
        known = [values for values in recorded if values is not None]
        return tuple(map(kind.read, known)) if len(known) == len(ARMS) else None

    @functools.cached_property
    def samples(self) -> tuple[Prediction, ...]:
        """The distinct test samples; of samples with equal digests only the first counts."""
        first: dict[str, Prediction] = {}
        for prediction in self.predictions:
            first.setdefault(prediction.digest, prediction)
        return tuple(first.values())

    @property
    def duplicates(self) -> int:
        """Number of scored test samples whose digest had occurred before."""
        return len(self.predictions) - len(self.samples)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the true classes of the distinct test samples, int64 (n,)."""
        return np.array([p.label for p in self.samples], dtype=np.int64)
