"""Sentences about a certificate's circumstances shared by label and report, as clean lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import UNMETERED, EfficiencyClaims
from certify.assessments.efficiency.device_class import threads
from certify.core.estimate import Estimate
from certify.core.evidence import MeterFacts, Workload
from certify.core.text import clean
from certify.present.headline import accuracy_of, energy_of
from certify.present.numbers import ends, percent, rounded, significant
from certify.present.statements import figure, front, headline_figures

LEVELS = {
    "wall": "Metered at the wall socket",
    "counter": "Metered by the device's energy counter",
    "sampled": "Metered by power samples of the device",
    "modelled": "Modelled, not metered",
    "proxy": "Estimated by a proxy, not metered",
}
NO_METER = "No energy figure"
SCOPES = {
    "board": "the whole accelerator board",
    "module": "the whole compute module",
    "package": "the processor package",
    "vcpu": "the vCPUs",
    "wall": "everything connected to the socket",
}
NOT_VIRTUAL = "none seen"  # written by certify.measure if it detects no hypervisor


BETTER_RUNTIME = "Better runtime"
SCOPE = "inference only; excludes embodied emissions, cooling and water"

SELF_DECLARED = "Self-declared measurement by its maker"
"""The label's statement of who measured: it is drawn only from the certificate, which its maker signed."""


def title(claims: EfficiencyClaims) -> str:
    """Return the certificate in one line, for screen readers."""
    kind, model = "Modelled" if claims.unmetered else "Measured", clean(claims.model)
    energy = energy_of(claims)
    return f"{kind} saving of {model}: {'not graded' if energy is None else f'{energy.figure} {energy.meaning}'}"


def graded(claims: EfficiencyClaims) -> str:
    """Return the grade as a figure in text, with its score."""
    score = claims.grade.score_db
    scored = "" if score is None else f"Score {rounded(score, 1)} dB after accuracy: "
    point = claims.grade.point_letter
    measured = "" if point is None else f" ({point} at the measured point)"
    return clean(f"{scored}grade {claims.text}{measured}")


def holds_on(claims: EfficiencyClaims) -> str:
    """Return the class of devices on which the letter or saving was measured and holds."""
    return clean(f"on {claims.device_class}")


def description(claims: EfficiencyClaims, others: Sequence[Claims] = ()) -> str:
    """Return everything that the label shows, for screen readers."""
    parts = [headline.sentence() for headline in (energy_of(claims), accuracy_of(claims)) if headline]
    parts += [] if claims.refused else [f"{graded(claims)} {holds_on(claims)}"]
    parts += [
        SELF_DECLARED,
        *map(clean, claims.grade.reasons),
        energy_source(claims),
        energy_source_detail(claims),
    ]
    parts += [f"{name}: {value}" for name, value in rows(claims, others)]
    edition = f"Edition {clean(claims.edition.name)}, {date(claims)}"
    parts += [edition, f"Certificate sha256:{claims.digest}"]
    return " ".join(f"{part.rstrip('.')}." for part in parts)


def tested_on(claims: EfficiencyClaims) -> str:
    """Return the test data, and whose they are."""
    return clean(f"tested on {_different(claims):,} samples of {claims.data.name}, {claims.data.whose}")


def _different(claims: EfficiencyClaims) -> int:
    """Return the number of distinct test samples."""
    repeated = claims.figures.duplicate_samples
    # A sample that occurs several times is counted once, because repetitions add no information about accuracy.
    return claims.data.test_samples - (0 if repeated is None else round(repeated.value))


def test_data(claims: EfficiencyClaims) -> str:
    """Return the public test set, or that it is the maker's own, and how many repeated samples were left out."""
    named = claims.data.public or f"{claims.data.whose}; its digest matches no known public test set"
    repeated = claims.data.test_samples - _different(claims)
    return clean(f"{named}; {repeated:,} repeated samples do not count" if repeated else named)


def date(claims: Claims) -> str:
    """Return the day of the measurement."""
    return clean(claims.created[:10])


def accuracies(claims: EfficiencyClaims) -> str:
    """Return accuracy before and after."""
    before, after = (
        percent(100 * claims.figures[claims.names.accuracy(arm)].value) for arm in ("baseline", "candidate")
    )
    return f"top-1 {before} before, {after} after"


def energy_source(claims: EfficiencyClaims) -> str:
    """Return the source of the energy figures in a few words."""
    return NO_METER if claims.meter is None else LEVELS[claims.meter.level]


def energy_source_detail(claims: EfficiencyClaims) -> str:
    """Return the source of the energy figures in a sentence."""
    return "No meter was available on this device." if claims.meter is None else clean(_meter(claims.meter))


def _meter(meter: MeterFacts) -> str:
    """Describe the meter; the warning comes first, so that a long method cannot push it off the label."""
    scope = SCOPES.get(meter.scope, f"the {meter.scope}")
    source = f"{meter.name}: {meter.method.rstrip('.')}; covers {scope}."
    if meter.level in UNMETERED:
        return f"The interval excludes the model's own error. {source}"
    if meter.relative_error is None:
        return source
    return f"{source} Its maker states an error of {percent(100 * (meter.relative_error - 1))}."


def rows(claims: EfficiencyClaims, others: Sequence[Claims]) -> tuple[tuple[str, str], ...]:
    """Return what the figures depend on, and the further statements, as name and value."""
    return (
        *circumstances(claims),
        *((_heading(statement), front(statement, (claims, *others))) for statement in others),
    )


def stated(claims: Claims, others: Sequence[Claims]) -> tuple[tuple[str, str], ...]:
    """Return the content of a statement of any assessment, and of further ones, as name and value."""
    sentences = (("Refused", claims.reasons), ("Note", claims.notes), ("Not proved", claims.limits))
    return (
        *((clean(words), figure(estimate)) for words, estimate in headline_figures(claims)),
        *((name, clean(sentence)) for name, texts in sentences for sentence in texts),
        *((_heading(statement), front(statement, (claims, *others))) for statement in others),
    )


def _heading(claims: Claims) -> str:
    """Return the name of an assessment as a row heading; a title would be too long."""
    return clean(claims.assessment.replace("-", " ").replace("_", " ").capitalize())


def circumstances(claims: EfficiencyClaims) -> tuple[tuple[str, str], ...]:
    """Return what the figures depend on, as name and value."""
    return tuple((name, clean(value)) for name, value in _circumstances(claims))


def _circumstances(claims: EfficiencyClaims) -> Iterator[tuple[str, str]]:
    yield "Test data", f"{_different(claims):,} samples of {claims.data.name}, {test_data(claims)}"
    yield "Device", _device(claims)
    yield "Workload", _workload(claims)
    if claims.workload.candidate_runtime:
        yield "Baseline ran", _runtime(claims.workload.of("baseline"))
    if saved := savings(claims):
        yield BETTER_RUNTIME, saved
    yield "Scope", SCOPE
    if claims.scored:
        code = claims.data.further.get("metric_code")
        source = "" if code is None else f" (source sha256 {str(code)[:16]})"
        yield "Graded on", f"the score {claims.data.metric}{source}, not top-1 accuracy"
    yield "Baseline", claims.baseline.known
    yield "Its maker says", claims.baseline.origin
    if claims.baseline.changed is not None:
        yield "Simplified", f"the baseline was {claims.baseline.changed}"
    if claims.baseline.contracts_differ is not None:
        yield "Contracts", f"differ between the models, their maker says: {claims.baseline.contracts_differ}"
    if shares := _counted(claims):
        yield "Multiply-adds", shares
    before, after = claims.pair(claims.names.energy_yardstick)
    if before is not None and after is not None:
        own, original = (f"{significant(multiple.value, 2)}×" for multiple in (after, before))
        yield "Yardstick", f"{own} a ResNet-50's energy (baseline {original})"
    if smallest := claims.figures.smallest_detectable_saving:
        share = smallest.value if smallest.unit == "%" else 100 * smallest.value
        yield "Resolution", f"savings of {percent(share, 'up')} and above are detectable"
    yield "Attempts", attempts(claims)
    if (trials := searched(claims)) is not None:
        yield "Selected from", f"{trials} candidates, on validation data"
    # Everything that could not be judged is named, because silence would read as "passed".
    if unknown := [finding.name.replace("_", " ") for finding in claims.findings if finding.outcome == "unknown"]:
        yield "Not known", ", ".join(unknown)


def attempts(claims: EfficiencyClaims) -> str:
    """Return how often the pair was measured, according to the maker's own log."""
    return f"at least {claims.attempts} measurement{'s' if claims.attempts > 1 else ''} of this pair"


def searched(claims: EfficiencyClaims) -> int | None:
    """Return from how many candidates the model was selected on validation data; None if there was no search."""
    trials = claims.data.further.get("trials")
    return trials if isinstance(trials, int) else None


def _counted(claims: EfficiencyClaims) -> str | None:
    """Return how much was counted if the count is incomplete; None if it is complete."""
    parts = [
        f"{percent(100 * share.value)} of the {arm}'s operators"
        for arm, share in zip(("baseline", "candidate"), claims.pair(claims.names.counted_share), strict=True)
        if share is not None
    ]
    return f"not stated: only {' and '.join(parts)} were counted" if parts else None


def _device(claims: EfficiencyClaims) -> str:
    device = claims.device
    parts = [str(device[name]) for name in ("accelerator", "processor") if device.get(name)]
    if processors := device.get("processors_allowed"):
        parts.append(f"{processors} processor{'' if processors == 1 else 's'}")
    if device.get("virtualisation") not in (None, "", NOT_VIRTUAL):
        parts.append("virtual machine")
    # Unknown platforms report other keys, which are shown as they are.
    return ", ".join(parts or [f"{name} {value}" for name, value in device.items()])


def _workload(claims: EfficiencyClaims) -> str:
    workload = claims.workload
    return ", ".join([f"batch {workload.batch}", threads(vars(workload)), _runtime(workload.of("candidate"))])


def _runtime(workload: Workload) -> str:
    precision = "" if workload.precision == "as in the model" else f", {workload.precision}"
    return f"{workload.runtime} {workload.runtime_version}{precision}"


def savings(claims: EfficiencyClaims) -> str | None:
    """Return the original's saving by a better runtime and compression's further saving, if known."""
    runtime, own = (claims.figures.get(f"{name}_saving") for name in ("runtime", "compression"))
    if runtime is None or own is None:
        return None
    return f"saves {_share(runtime)} alone; compression {_share(own)} of the rest"


def _share(saving: Estimate) -> str:
    within = "" if saving.low == saving.high else f" ({ends(100 * saving.low, 100 * saving.high)})"
    return f"{percent(100 * saving.value)}{within}"
