"""Possible records of the built-in meters: the name fixes level, scope, method, error and constants.

A meter with another name is a plug-in. It must state the digest of its code, its joules must follow from its readings
like those of any meter, and they count as sampled at best: only someone who knows the code can tell what it really
reads (see :class:`certify.attest.trust.TrustStore`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel, weakest
from certify.core.evidence import MeterFacts
from certify.core.vcpu_model import coefficients, modelled_energy_j
from certify.core.windows import Window

PLUS = "+"
PLAYED_BACK = "replay:"
"""Prefix of the name of a meter that replays a recording."""
JOULES = {"uj": 1e-6, "mj": 1e-3}
"""Joules per count, by the unit in the name of a reading."""
VCPU_WATTS = "vcpu-watts"


class Variant(NamedTuple):
    """One way in which a built-in meter gives joules: evidence level, and patterns of scope and method."""

    level: EvidenceLevel
    scope: str
    method: str


_COUNTER, _SAMPLED, _MODELLED = EvidenceLevel.COUNTER, EvidenceLevel.SAMPLED, EvidenceLevel.MODELLED
_POWER = r"power every 0\.\d+ s, trapezoid rule"
KNOWN = {
    "nvml": (
        Variant(_COUNTER, "board", "total energy counter"),
        Variant(_SAMPLED, "board", rf"(instant|average) {_POWER}"),
    ),
    "rapl-powercap": (Variant(_COUNTER, "package", "sum of the counters .+, modulo their ranges"),),
    "rapl-perf": (Variant(_COUNTER, "package", "sum of the performance events energy-pkg and energy-ram: .+"),),
    "hwmon": (
        Variant(_COUNTER, "[a-z +]+", "energy counters, of .+"),
        Variant(_SAMPLED, "[a-z +]+", f"{_POWER}, of .+"),
    ),
    "zeus": (
        Variant(_COUNTER, "board", "cumulative energy of the AMD GPU, by zeus"),
        Variant(_COUNTER, "package", "cumulative energy of the Apple silicon, by zeus"),
        Variant(_SAMPLED, "module", "cumulative energy of the Jetson, by zeus"),
        Variant(_SAMPLED, "board", f"{_POWER}, of the AMD GPU, by zeus"),
    ),
    VCPU_WATTS: (
        Variant(_MODELLED, "vcpu", "CPU time times published watts per vCPU, idle power of all vCPUs included"),
    ),
}


def plain_name(meter: MeterFacts) -> str:
    """Return the meter's name, or that of the recorded meter if a recording is replayed.

    Example:
        >>> plain_name(MeterFacts("replay:nvml", "counter", "board", "total energy counter", None))
        'nvml'
    """
    return meter.name.removeprefix(PLAYED_BACK)


def parts_of(meter: MeterFacts) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield name, parameters and reading prefix of a meter, or of each part of a sum."""
    names = plain_name(meter).split(PLUS)
    if len(names) == 1:
        yield names[0], meter.parameters, ""
        return
    for name in names:
        start = f"{name}."
        own = {key.removeprefix(start): value for key, value in meter.parameters.items() if key.startswith(start)}
        yield name, own, start


def is_plug_in(meter: MeterFacts) -> bool:
    """Return whether any part is not a built-in meter.

    Example:
        >>> is_plug_in(MeterFacts("nvml", "counter", "board", "total energy counter", None))
        False
    """
    return any(_base(name) not in KNOWN for name, _, _ in parts_of(meter))


def counted_level(meter: MeterFacts) -> EvidenceLevel:
    """Return the evidence level of a meter's joules: as stated, but at best ``sampled`` for a plug-in.

    Raises:
        CertificateError: the level is not a level of energy.
    """
    known = {level.value: level for level in EvidenceLevel if level is not EvidenceLevel.DIRECT}
    if meter.level not in known:
        raise CertificateError(f"Evidence: the meter's level must be one of {', '.join(known)}, got '{meter.level}'.")
    level = known[meter.level]
    return weakest([level, EvidenceLevel.SAMPLED]) if is_plug_in(meter) else level


def fault(meter: MeterFacts, device: Mapping[str, Any]) -> str | None:
    """Return why a meter of this name cannot have recorded these facts; None if it can.

    Args:
        meter: meter as stated in the evidence.
        device: facts of the machine by name.
    """
    # The maker states these facts, so a plug-in must not gain credibility from a built-in meter's name.
    if is_plug_in(meter):
        if meter.code is None or not re.fullmatch("[0-9a-f]{64}", meter.code):
            return f"'{meter.name}' is not a built-in meter, and no digest of its code is stated"
        return None
    names = [name for name, _, _ in parts_of(meter)]
    # Any fitting combination counts, because a meter may read a counter on one GPU and samples on another.
    levels = {weakest(variant.level for variant in way).value for way in _ways(names) if _fits(meter, names, way)}
    if meter.level not in levels:
        return (
            f"'{meter.name}' does not give {meter.level} joules that cover '{meter.scope}' by the method "
            f"'{meter.method}'"
        )
    error = coefficients()["relative_error"] if VCPU_WATTS in names else None
    if meter.relative_error != error:
        return f"'{meter.name}' states the error {meter.relative_error}, but its error is {error}"
    for name, parameters, _ in parts_of(meter):
        if name == VCPU_WATTS and (wrong := _other_watts(parameters, device)) is not None:
            return wrong
    return None


def _ways(names: Sequence[str]) -> Iterator[tuple[Variant, ...]]:
    """Yield each way in which the parts can work together."""
    return itertools.product(*(KNOWN[_base(name)] for name in names))


def _fits(meter: MeterFacts, names: Sequence[str], way: Sequence[Variant]) -> bool:
    """Return whether scope and method match one way; a sum prefixes each method with the part's name."""
    method = "; ".join(f"{re.escape(name)}: {variant.method}" for name, variant in zip(names, way, strict=True))
    if len(names) == 1:
        method = way[0].method
    if meter.name.startswith(PLAYED_BACK):
        method = f"replay of a recorded trace: {method}"
    scope = r" \+ ".join(variant.scope for variant in way)
    return bool(re.fullmatch(method, meter.method) and re.fullmatch(scope, meter.scope))


def _other_watts(parameters: Mapping[str, Any], device: Mapping[str, Any]) -> str | None:
    """Return how the constants of modelled joules differ from the published ones; None if they do not."""
    rows = coefficients()["providers"]
    row = rows.get(str(parameters.get("provider")))
    vcpus = parameters.get("vcpus")
    if row is None:
        return f"there are no published watts for the provider {parameters.get('provider')!r}"
    allowed = device.get("processors_allowed")
    if not isinstance(vcpus, int | float) or vcpus < 1 or vcpus != allowed:
        return f"{vcpus!r} vCPUs are stated, but the machine allowed {allowed!r}"
    wanted = {"idle_w_per_vcpu": row["idle_w"], "full_w_per_vcpu": row["full_w"], "idle_w": row["idle_w"] * vcpus}
    wrong = sorted(key for key, value in wanted.items() if parameters.get(key) != value)
    return f"{', '.join(wrong)} differ from the published values" if wrong else None


def joules_from_readings(meter: MeterFacts, window: Window) -> float | None:
    """Return a window's joules from the meter's raw readings, or from its model.

    Counters give the sum of their steps, modulo the range if one is stated; sampled power gives its integral. A sum
    adds up its parts.

    Args:
        meter: meter as stated in the evidence.
        window: with its readings.

    Returns:
        Joules; None if readings required by a meter of this kind are missing.
    """
    found = [_joules(name, parameters, start, window) for name, parameters, start in parts_of(meter)]
    known = [value for value in found if value is not None]
    # Without all parts there is no sum, because a partial sum would be mistaken for the whole.
    return sum(known) if len(known) == len(found) else None


def _joules(name: str, parameters: Mapping[str, Any], start: str, window: Window) -> float | None:
    if name == VCPU_WATTS:
        watts = [parameters.get(key) for key in ("idle_w_per_vcpu", "full_w_per_vcpu", "vcpus")]
        idle_w, full_w, vcpus = (value if isinstance(value, int | float) else None for value in watts)
        if idle_w is None or full_w is None or vcpus is None:
            return None
        return modelled_energy_j(idle_w, full_w, vcpus, window.duration_s, window.cpu_s)
    own = {key.removeprefix(start): value for key, value in window.reading.items() if key.startswith(start)}
    steps = [_step_j(key, own, parameters) for key in own if "_before_" in key]
    if steps:
        known = [step for step in steps if step is not None]
        return sum(known) if len(known) == len(steps) else None
    # The trapezoid rule needs two samples.
    if own.get("power_samples", 0.0) < 2:
        return None
    return own.get("integrated_j")


def _step_j(before: str, reading: Mapping[str, float], parameters: Mapping[str, Any]) -> float | None:
    zone, _, unit = before.rpartition("_before_")
    after, joules = reading.get(f"{zone}_after_{unit}"), JOULES.get(unit)
    if after is None or joules is None:
        return None
    step = after - reading[before]
    turn = parameters.get(f"{zone}_range_{unit}")
    # The counter has wrapped once; its range is stated with the meter.
    if step < 0 and isinstance(turn, int | float):
        step += turn
    return step * joules


def _base(name: str) -> str:
    """Return ``hwmon`` for ``hwmon:VDD_IN``."""
    return name.partition(":")[0]
