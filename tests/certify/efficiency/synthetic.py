"""A complete, honest evidence file made of seeded noise, with a knob for everything that a test may want otherwise."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.facts import read_facts
from certify.core.evidence import (
    Evidence,
    Header,
    Latencies,
    MeterFacts,
    ModelFacts,
    Observation,
    Prediction,
    Workload,
)
from certify.core.sample_order import AGAIN, ENERGY, order_seed, ranked
from certify.core.vcpu_model import coefficients, modelled_energy_j
from certify.core.windows import Window
from certify.model_file.model_file import open_model

HOST: dict[str, float | None] = {
    "steal_share": 0.002,
    "throttled_s": 0.0,
    "foreign_cpu_share": 0.01,
    "idle_workers_cpu_s": 0.001,
    "temperature_c": 55.0,
    "thermal_throttles": 0.0,
}
SESSION = {"graph_optimization": "all", "threads": 2, "providers": ["CPUExecutionProvider"], "spinning": True}
INTERFACE = {"input": [1, 3, 224, 224], "outputs": 10, "scored": 10, "graph_outputs": 1}
LIBRARIES = {"onnxruntime/capi/onnxruntime_pybind11_state.so": "0a" * 32, "numpy/_core/_multiarray_umath.so": "0b" * 32}
SURROUNDINGS = {
    "isolated": True, "variables": ["HOME", "LC_ALL", "PATH"], "customized": [],
    "libraries": {**LIBRARIES, "system/libc.so.6": "0c" * 32},
}  # fmt: skip
CONTRACT = {
    "input_name": "image", "output_name": "scores", "height": 8, "width": 8, "layout": "NCHW", "colour": "RGB",
    "scale": 255.0, "mean": [0.5] * 3, "std": [0.25] * 3, "resize": "exact", "crop": "none",
    "interpolation": "bilinear", "reading": "logits", "dtype": "float32", "class_map": None,
}  # fmt: skip
"""As the models of the other tests carry it."""
OBSERVATIONS: dict[str, dict[str, Any]] = {
    "power_check": {"counter_j": 1000.0, "integrated_j": 1020.0},
    "workers": {"pids": {"baseline": 101, "candidate": 102, "baseline_again": 103, "yardstick": 104}},
    "sessions": {"baseline": SESSION, "candidate": SESSION},
    "surroundings": {"baseline": SURROUNDINGS, "candidate": SURROUNDINGS},
    "quantization": {
        "baseline": {"intended": 0, "fused": 0, "unfused": []},
        "candidate": {"intended": 54, "fused": 54, "unfused": []},
    },
    "zero_channels": {
        "baseline": {"channels": 26560, "zero": 12, "share": 12 / 26560},
        "candidate": {"channels": 13280, "zero": 0, "share": 0.0},
    },
    "simplified": {"given_digest": "aa" * 32, "given_bytes": 1000, "bytes": 1000, "given_cost": 1000, "cost": 1000},
    "overlap": {"train/test": 0, "calibration/test": 0, "validation/test": 0, "train/validation": 0},
    "near_duplicates": {
        f"{part}/test": {"near": 2, "samples": 2000, "among": 10000, "of": 50000}
        for part in ("train", "calibration", "validation", "test")
    },
    "interfaces": {"baseline": INTERFACE, "candidate": INTERFACE},
    "inputs": {"std": 0.9, "distinct": 64, "constant_share": 0.0, "neighbour_correlation": 0.9},
    "contracts": {"baseline": CONTRACT, "candidate": CONTRACT, "declared": None},
    "outputs": {"baseline": {"finite": True}, "candidate": {"finite": True}},
    "fresh_data": {
        "name": "photos",
        "test_digest": "ff",
        "samples": 1000,
        "shared": 0,
        "both": 960,
        "only_baseline": 6,
        "only_candidate": 3,
    },
    "peak_memory": {"baseline": 4.0e8, "candidate": 2.5e8},
}
TURN = 2.0**38
"""Microjoules after which the counter starts again from 0."""
BUSY = 0.98
"""Share of the windows' time that each thread computes."""
WATTS = {"idle_w": 0.7433, "full_w": 3.84, "vcpus": 2}
"""Of the provider that is not known."""


def make_evidence(
    *,
    ratio: float = 0.3,
    noise: float = 0.01,
    blocks: int = 10,
    null_bias: float = 0.0,
    null_noise: float | None = None,
    null_attempts: int = 1,
    level: str | None = "counter",
    baseline_j: float = 2.0,
    yardstick_j: float = 4.0,
    samples: int = 1500,
    both: int = 1450,
    only_baseline: int = 4,
    only_candidate: int = 3,
    threads_cost: Mapping[int, float] | None = None,
    host: Mapping[str, float | None] | None = None,
    observations: Mapping[str, Mapping[str, Any] | None] | None = None,
    header: Mapping[str, Any] | None = None,
    latencies: int = 500,
    seed: int = 0,
) -> Evidence:
    """Build evidence.

    Args:
        ratio: true energy (and time) of the candidate over the baseline's.
        noise: standard deviation of the logarithm of one window.
        blocks: of the main run.
        null_bias: by how much the null run's second arm costs more, relative.
        null_noise: as ``noise``, for the null run.
        null_attempts: how often the null run was made.
        level: of the meter, which is another for each; None for no meter.
        baseline_j: true joules of one inference of the baseline; it takes a tenth as many seconds.
        yardstick_j: of the yardstick.
        samples: in the test set.
        both: samples that both models get right.
        only_baseline: samples that the baseline alone gets right.
        only_candidate: samples that the candidate alone gets right.
        threads_cost: relative cost of the baseline by thread number, on the settings windows.
        host: values that replace those of HOST.
        observations: values that replace those of OBSERVATIONS; None leaves one out.
        header: fields of the header that are replaced.
        latencies: number of calls timed for each arm.
        seed: of the noise.
    """
    clock = _Clock(seed, level, {**HOST, **(host or {})})
    for block, (threads, cost) in enumerate((threads_cost or {1: 1.2, 2: 1.0}).items()):
        for repeat in range(3):
            clock.window("settings", 0, block, repeat, "baseline", baseline_j * cost, 0.002, threads)
    null_noise = noise if null_noise is None else null_noise
    for attempt in range(null_attempts):
        costs = {"baseline": baseline_j, "baseline_again": baseline_j * (1 + null_bias)}
        clock.run("null", attempt, 10, costs, null_noise)
    clock.run("main", 0, blocks, {"baseline": baseline_j, "candidate": baseline_j * ratio}, noise)
    for repeat in range(6):
        clock.window("yardstick", 0, repeat, 0, "yardstick", yardstick_j, noise)
    rng = np.random.default_rng(seed)
    latency_s = {arm: clock.seconds_of(arm) for arm in ("baseline", "candidate")}
    calls = {arm: rng.gamma(50, seconds / 50, latencies) for arm, seconds in latency_s.items()}
    head, predictions = (
        _header(level, samples, {**(header or {})}),
        _predictions(samples, both, only_baseline, only_candidate),
    )
    told = {**OBSERVATIONS, **answers_of(head, predictions), **(observations or {})}
    return Evidence(
        header=head,
        windows=tuple(clock.windows),
        latencies=tuple(Latencies(arm, tuple(map(float, seconds))) for arm, seconds in calls.items()),
        predictions=predictions,
        observations=tuple(Observation(name, values) for name, values in told.items() if values is not None),
    )


def observed_in(baseline: Path, candidate: Path) -> dict[str, dict[str, Any]]:
    """What an honest measurement observes in the files of two models."""
    found = {}
    for arm, path in (("baseline", baseline), ("candidate", candidate)):
        with open_model(path) as model:
            found[arm] = read_facts(model)
    return {
        "zero_channels": {arm: {**asdict(facts.zeros), "share": facts.zeros.share} for arm, facts in found.items()},
        "quantization": {
            arm: {"intended": facts.intended, "fused": facts.intended, "unfused": []} for arm, facts in found.items()
        },
    }


def answers_of(header: Header, predictions: Sequence[Prediction], salt: str = "") -> dict[str, dict[str, Any]]:
    """What models that look at nothing but the sample answer to samples that are scored again, or changed."""
    plan, cost = load_edition().plan, [0.001] * load_edition().plan.changed_windows
    digests = [header.models[arm].file_digest for arm in header.models]
    seed = order_seed(digests, str(header.data.get("test_digest")), salt)
    samples = [p.digest for p in predictions]
    again = ranked(samples, seed, AGAIN)[: plan.repeated_count(len(samples))]
    chosen = ranked(samples, seed, ENERGY)[: plan.changed_samples]
    times = {"unchanged_s": cost, "changed_s": cost, "unchanged_cpu_s": cost, "changed_cpu_s": cost}
    found: dict[str, dict[str, Any]] = {"sample_order": {"salt": salt}, "changed_cost": {}}
    found |= {"repeated_answers": {}, "changed_answers": {}}
    for arm in header.models:
        top1 = [getattr(p, f"{arm}_top1") for p in predictions]
        margin = [getattr(p, f"{arm}_margin") for p in predictions]
        found["repeated_answers"][arm] = {
            "samples": again, "top1": [top1[i] for i in again], "margin": [margin[i] for i in again]
        }  # fmt: skip
        found["changed_answers"][arm] = {"samples": chosen, "top1": [top1[i] for i in chosen]}
        found["changed_cost"][arm] = times
    return found


def with_predictions(evidence: Evidence, predictions: Sequence[Prediction]) -> Evidence:
    """The same evidence over other answers, to samples that are scored again or changed too."""
    told = {**{o.name: o.values for o in evidence.observations}, **answers_of(evidence.header, predictions)}
    observations = tuple(Observation(name, values) for name, values in told.items())
    return replace(evidence, predictions=tuple(predictions), observations=observations)


def _meter(level: str) -> MeterFacts:
    """What the meter of a level says of itself."""
    if level == "modelled":
        watts, source = coefficients()["providers"]["unknown"], "vcpu_watts.yaml"
        row = {"idle_w_per_vcpu": watts["idle_w"], "full_w_per_vcpu": watts["full_w"], "idle_w": 2 * watts["idle_w"]}
        parameters = {**row, "vcpus": 2, "provider": "unknown", "source": source}
        method = "CPU time times published watts per vCPU, idle power of all vCPUs included"
        return MeterFacts("vcpu-watts", level, "vcpu", method, 2.0, {}, parameters)
    if level == "counter":
        return MeterFacts(
            "rapl-powercap", level, "package", "sum of the counters package-0, modulo their ranges", None, {},
            {"package-0_range_uj": TURN},
        )  # fmt: skip
    if level == "sampled":
        return MeterFacts("nvml", level, "board", "instant power every 0.05 s, trapezoid rule", None)
    return MeterFacts("somebody's", level, "wall", "an analyser at the wall", None, code="ab" * 32)


class _Clock:
    """Lets windows follow each other in time."""

    def __init__(self, seed: int, level: str | None, host: Mapping[str, float | None]) -> None:
        self.windows: list[Window] = []
        self._rng = np.random.default_rng(seed)
        self._power = np.random.default_rng((seed, 1))
        self._level = level
        self._host = host
        self._now = 0.0
        self._counted_uj = 0.0

    def run(self, run: str, attempt: int, blocks: int, costs: Mapping[str, float], noise: float) -> None:
        first, second = costs
        for block in range(blocks):
            outer, inner = (first, second) if self._rng.integers(2) else (second, first)
            for position, arm in enumerate((outer, inner, inner, outer)):
                self.window(run, attempt, block, position, arm, costs[arm], noise)

    def window(
        self, run: str, attempt: int, block: int, position: int, arm: str, joules: float, noise: float, threads: int = 2
    ) -> None:
        cost = joules * math.exp(noise * float(self._rng.standard_normal()))
        inferences = max(1, round(10 / joules))
        energy_j, power_w = cost * inferences, 3.0 if self._level == "sampled" else 10.0  # sampling takes long windows
        if self._level == "modelled":
            power_w = modelled_energy_j(**WATTS, duration_s=1.0, cpu_s=BUSY * threads)
        elif self._level is not None:  # what real hardware draws is never a constant
            power_w *= math.exp(0.003 * float(self._power.standard_normal()))
        duration_s = energy_j / power_w
        self.windows.append(
            Window(
                run=run,
                attempt=attempt,
                block=block,
                position=position,
                arm=arm,
                threads=threads,
                inferences=inferences,
                start_s=self._now,
                duration_s=duration_s,
                cpu_s=BUSY * threads * duration_s,
                energy_j=None if self._level is None else energy_j,
                reading=self._reading(energy_j),
                host=dict(self._host),
            )
        )
        self._now += duration_s + 0.01

    def seconds_of(self, arm: str) -> float:
        """Seconds of one inference of an arm in the main run."""
        return float(np.median([w.duration_s / w.inferences for w in self.windows if (w.run, w.arm) == ("main", arm)]))

    def _reading(self, energy_j: float) -> dict[str, float]:
        if self._level in (None, "modelled"):
            return {}
        if self._level == "sampled":
            return {"integrated_j": energy_j, "power_samples": 100.0}
        before = self._counted_uj
        self._counted_uj = (before + 1e6 * energy_j) % TURN
        return {"package-0_before_uj": before, "package-0_after_uj": self._counted_uj}


def _header(level: str | None, samples: int, replaced: dict[str, Any]) -> Header:
    meter = None if level is None else _meter(level)
    facts = ModelFacts("aa", "bb", 100_000_000, 25_000_000, 4_000_000_000, 1.0, (), 120_000_000)
    fields: dict[str, Any] = {
        "created": "2026-01-01T00:00:00Z",
        "leanmark": "0.1.0",
        "edition": "2026",
        "seed": 0,
        "attempt": 1,
        "baseline_origin": "trained here on mnist5k, seed 0",
        "device": {"processor": "made up", "processors_allowed": 2},
        "data": {"name": "mnist5k", "spec": "mnist5k", "test_samples": samples, "test_digest": "cc", "classes": 10},
        "workload": Workload("onnxruntime-cpu", "1.0", "CPUExecutionProvider", 1, 2, 2),
        "meter": meter,
        "models": {
            "baseline": facts,
            "candidate": ModelFacts("dd", "ee", 13_000_000, 12_000_000, 2_000_000_000, 1.0, (), 20_000_000),
        },
        "time_limit_s": 120.0,
        "wanted_half_width": 0.05,
        "libraries": LIBRARIES,
    }
    return Header(**{**fields, **replaced})


@functools.lru_cache(maxsize=16)
def _predictions(samples: int, both: int, only_baseline: int, only_candidate: int) -> tuple[Prediction, ...]:
    predictions = []
    for i in range(samples):
        label = i % 10
        baseline_right = i < both + only_baseline
        candidate_right = i < both or both + only_baseline <= i < both + only_baseline + only_candidate
        digest = hashlib.sha256(str(i).encode()).hexdigest()
        tops = [label if right else (label + 1) % 10 for right in (baseline_right, candidate_right)]
        predictions.append(Prediction(digest, label, tops[0], 3.5, tops[1], 3.0))
    return tuple(predictions)
