"""Evidence that nobody can have recorded: each forgery trips one finding, and no other.

Used by the tests, and by tests/benchmarks/disabled_findings.py, which disables the findings one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from certify.core.evidence import Evidence, MeterFacts
from certify.core.vcpu_model import coefficients, modelled_energy_j
from certify.core.windows import Window


class Forgery(NamedTuple):
    """One way to invent evidence.

    Attributes:
        finding: that it must trip, alone.
        what: in a few words.
        level: of the meter of the honest evidence that is forged.
        forge: makes the evidence.
        words: that the finding's sentence must hold.
    """

    finding: str
    what: str
    level: str
    forge: Callable[[Evidence], Evidence]
    words: str


def each_window(change: Callable[[int, Window], dict[str, Any]]) -> Callable[[Evidence], Evidence]:
    """Changes fields of windows."""

    def forge(evidence: Evidence) -> Evidence:
        windows = tuple(replace(window, **change(i, window)) for i, window in enumerate(evidence.windows))
        return replace(evidence, windows=windows)

    return forge


def is_main(window: Window, arm: str = "candidate") -> bool:
    return (window.run, window.arm) == ("main", arm)


def meter(**fields: Any) -> Callable[[Evidence], Evidence]:
    """Changes what the meter says of itself."""

    def forge(evidence: Evidence) -> Evidence:
        assert evidence.header.meter is not None
        return replace(evidence, header=replace(evidence.header, meter=replace(evidence.header.meter, **fields)))

    return forge


def parameters(**values: Any) -> Callable[[Evidence], Evidence]:
    def forge(evidence: Evidence) -> Evidence:
        assert evidence.header.meter is not None
        return meter(parameters={**evidence.header.meter.parameters, **values})(evidence)

    return forge


def _more_processors(evidence: Evidence) -> Evidence:
    """Modelled joules of 64 processors, where the machine allowed 2."""
    idle_w, full_w = (coefficients()["providers"]["unknown"][name] for name in ("idle_w", "full_w"))

    def joules(_: int, window: Window) -> dict[str, Any]:
        return {"energy_j": modelled_energy_j(idle_w, full_w, 64, window.duration_s, window.cpu_s)}

    return each_window(joules)(parameters(vcpus=64, idle_w=64 * idle_w)(evidence))


def _surroundings(arm: str, **fields: Any) -> Callable[[Evidence], Evidence]:
    """Changes what the workers of an arm were started with."""

    def forge(evidence: Evidence) -> Evidence:
        observed = [
            replace(one, values={**one.values, arm: {**one.values[arm], **fields}})
            if one.name == "surroundings"
            else one
            for one in evidence.observations
        ]
        return replace(evidence, observations=tuple(observed))

    return forge


def _many_threads(evidence: Evidence) -> Evidence:
    """A workload of eight threads, which two processors could not run at once."""
    workload = replace(evidence.header.workload, threads=8, candidate_threads=8)
    session = {"graph_optimization": "all", "threads": 8, "providers": ["CPUExecutionProvider"], "spinning": True}
    observed = [
        replace(one, values={"baseline": session, "candidate": session}) if one.name == "sessions" else one
        for one in evidence.observations
    ]
    header = replace(evidence.header, workload=workload)
    busy = each_window(lambda _, w: {"threads": 8 if w.threads == 2 else w.threads, "cpu_s": 4 * w.cpu_s})(evidence)
    return replace(busy, header=header, observations=tuple(observed))


def _own_precision(evidence: Evidence) -> Evidence:
    """A candidate in another precision than the baseline, which was given no choice."""
    workload = replace(evidence.header.workload, candidate_runtime={"precision": "bfloat16"})
    return replace(evidence, header=replace(evidence.header, workload=workload))


def _no_processors(evidence: Evidence) -> Evidence:
    """The machine's facts without the number of processors, so that any number of vCPUs would do."""
    device = {name: value for name, value in evidence.header.device.items() if name != "processors_allowed"}
    return replace(evidence, header=replace(evidence.header, device=device))


def _best_blocks(evidence: Evidence) -> Evidence:
    """The blocks of the main run in another order, numbered as if they had run in it."""
    last = max(window.block for window in evidence.windows if window.run == "main")
    return each_window(lambda _, w: {"block": last - w.block} if w.run == "main" else {})(evidence)


def _latencies(factor: float) -> Callable[[Evidence], Evidence]:
    def forge(evidence: Evidence) -> Evidence:
        changed = [
            replace(one, seconds=tuple(factor * s for s in one.seconds)) if one.arm == "candidate" else one
            for one in evidence.latencies
        ]
        return replace(evidence, latencies=tuple(changed))

    return forge


def _many_inferences(evidence: Evidence) -> Evidence:
    return each_window(lambda _, w: {"inferences": 10**9} if is_main(w) else {})(evidence)


def _renamed_to_a_counter(evidence: Evidence) -> Evidence:
    """Modelled joules under the name of a counter, with readings that fit them."""
    counted, windows = 0.0, []
    for window in evidence.windows:
        before, counted = counted, counted + 1e6 * (window.energy_j or 0.0)
        reading = {"package-0_before_uj": before, "package-0_after_uj": counted}
        windows.append(replace(window, reading=reading))
    method = "sum of the counters package-0, modulo their ranges"
    facts = MeterFacts("rapl-powercap", "counter", "package", method, None)
    return replace(evidence, windows=tuple(windows), header=replace(evidence.header, meter=facts))


def _plug_in_below_idle(evidence: Evidence) -> Evidence:
    """A plug-in whose windows draw less than the idle power that it states itself."""
    facts = MeterFacts("bench", "sampled", "wall", "an analyser", None, {}, {"idle_w": 20.0}, "cd" * 32)
    return replace(evidence, header=replace(evidence.header, meter=facts))


FORGERIES = (
    Forgery("windows_in_order", "all windows start in the same second", "counter",
            each_window(lambda _, w: {"start_s": 5.0}), "before the previous one ends"),
    Forgery("windows_in_order", "windows in reverse", "counter",
            each_window(lambda _, w: {"start_s": -w.start_s}), "first:"),
    Forgery("windows_in_order", "windows before the measurement began", "counter",
            each_window(lambda i, w: {"start_s": -3.0} if i == 0 else {}), "before the previous one ends"),
    Forgery("windows_in_order", "durations of more time than passed", "modelled",
            each_window(lambda _, w: {"duration_s": 40 * w.duration_s, "cpu_s": 40 * w.cpu_s,
                                      "energy_j": 40 * (w.energy_j or 0.0), "inferences": 40 * w.inferences}),
            "before the previous one ends"),
    Forgery("windows_in_order", "blocks numbered in another order", "counter", _best_blocks, "not in the order"),
    Forgery("windows_vary", "windows that all last the same", "counter",
            each_window(lambda _, w: {"duration_s": 0.9, "cpu_s": 1.7, "inferences": 5} if is_main(w, "baseline")
                        else {}), "exactly as long"),
    Forgery("cpu_time_possible", "CPU time of a hundred processors", "counter",
            each_window(lambda _, w: {"cpu_s": 100 * w.duration_s} if w.arm == "baseline" else {}), "more CPU time"),
    Forgery("cpu_time_possible", "a candidate that takes no CPU time", "counter",
            each_window(lambda _, w: {"cpu_s": 0.0} if w.arm == "candidate" else {}), "hardly any"),
    Forgery("cpu_time_possible", "CPU time of three threads on two", "counter",
            each_window(lambda i, w: {"cpu_s": 3 * w.duration_s} if i == 40 else {}), "1 windows have"),
    Forgery("cpu_time_possible", "more threads than there are processors, all of them busy", "counter",
            _many_threads, "more CPU time"),
    Forgery("latencies_agree", "single inferences of a hundredth", "counter", _latencies(0.01), "0.01"),
    Forgery("latencies_agree", "single inferences fifty times as long", "counter", _latencies(50.0), "50"),
    Forgery("latencies_agree", "a thousand million inferences in a window", "modelled", _many_inferences, "candidate"),
    Forgery("meter_known", "a meter that does not exist", "counter", meter(name="yokogawa-wt310"), "not a built-in"),
    Forgery("meter_known", "a counter that says it reads at the wall", "counter", meter(level="wall"), "wall"),
    Forgery("meter_known", "a counter of another scope", "counter", meter(scope="wall socket"), "wall socket"),
    Forgery("meter_known", "a counter of another method", "counter", meter(method="energy counter"), "energy counter"),
    Forgery("meter_known", "a model without its error", "modelled", meter(relative_error=None), "error"),
    Forgery("meter_known", "a model of another error", "modelled", meter(relative_error=1.05), "error"),
    Forgery("meter_known", "a model of more processors than there are", "modelled", _more_processors, "64"),
    Forgery("meter_known", "a model of a machine without its number of processors", "modelled",
            _no_processors, "allowed None"),
    Forgery("meter_known", "a model of an unknown provider", "modelled", parameters(provider="own"), "own"),
    Forgery("joules_follow", "joules of a fifth in the candidate", "counter",
            each_window(lambda _, w: {"energy_j": (w.energy_j or 0.0) / 5} if is_main(w) else {}), "differ from"),
    Forgery("joules_follow", "joules of a fifth that the model does not give", "modelled",
            each_window(lambda _, w: {"energy_j": (w.energy_j or 0.0) * 0.9} if is_main(w) else {}), "differ from"),
    Forgery("joules_follow", "a counter without readings", "counter",
            each_window(lambda _, w: {"reading": {}}), "lack the meter's readings"),
    Forgery("joules_follow", "sampled power of one sample", "sampled",
            each_window(lambda _, w: {"reading": {**w.reading, "power_samples": 1.0}}), "lack the meter's readings"),
    Forgery("joules_not_modelled", "modelled joules as a counter's", "modelled", _renamed_to_a_counter, "from a model"),
    Forgery("energy_above_idle", "less than the idle device draws", "counter", _plug_in_below_idle, "20 W"),
    Forgery("surroundings_clean", "a baseline that LD_PRELOAD slowed", "counter",
            _surroundings("baseline", variables=["HOME", "LD_PRELOAD", "PATH"]), "LD_PRELOAD"),
    Forgery("surroundings_clean", "a baseline that a start-up module slowed", "counter",
            _surroundings("baseline", isolated=False, customized=["usercustomize"]), "usercustomize"),
    Forgery("same_runtime", "a baseline on another build of the runtime", "counter",
            _surroundings("baseline", libraries={"onnxruntime/capi/onnxruntime_pybind11_state.so": "ff" * 32}),
            "differ"),
    Forgery("same_choices", "a candidate on a runtime that nothing was chosen by", "counter",
            _own_precision, "no recorded choice"),
)  # fmt: skip
