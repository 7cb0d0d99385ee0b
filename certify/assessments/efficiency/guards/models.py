"""Guards over the two models: savings must come from doing the same task with less."""

from __future__ import annotations

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, percent, unknown
from certify.core.evidence import ARMS, Evidence
from certify.core.observations import Interface
from certify.core.run_observations import MaskedChannels, QuantizedOperators, SessionFacts


@comparing
def quantization_fused(evidence: Evidence, edition: Edition) -> Answer:
    """Operators meant to run quantized do so in the optimised graph, in both models."""
    observed = evidence.observed_by_arm(QuantizedOperators)
    if observed is None:
        return unknown("The optimised graphs were not read")
    unfused: list[str] = []
    found, holds = [], True
    for arm, values in zip(ARMS, observed, strict=True):
        if values is None:
            return unknown(f"The optimised graph of the {arm} was not read")
        holds = holds and values.fused >= edition.thresholds.fused_share * values.intended
        found.append(f"{values.fused:.0f} of {values.intended:.0f} in the {arm}")
        unfused += map(str, values.unfused or [])
    names = f" (not: {', '.join(unfused[:3])}{', ...' if len(unfused) > 3 else ''})" if unfused else ""
    return check(
        holds,
        f"Operators that run quantized, of those intended: {' and '.join(found)}{names}",
        "the others convert back and forth and run in float, so the quantization is not real",
    )


@comparing
def channels_removed(evidence: Evidence, edition: Edition) -> Answer:
    """Pruned channels are removed, not filled with zeros, and the baseline was not padded with all-zero channels."""
    shares = [values.share for values in evidence.observed_by_arm(MaskedChannels) or () if values is not None]
    if len(shares) < len(ARMS):
        return unknown("The weights were not checked for all-zero channels")
    if shares[0] > edition.thresholds.baseline_zero_channels:
        return Answer(
            "fail",
            f"{percent(shares[0])} of the baseline's channels are all zero (allowed: "
            f"{percent(edition.thresholds.baseline_zero_channels)}): it is larger than necessary, which flatters the "
            "candidate.",
        )
    return check(
        shares[1] - shares[0] <= edition.thresholds.zero_channels_excess,
        f"{percent(shares[1])} of the candidate's channels are all zero, and {percent(shares[0])} of the "
        f"baseline's (allowed excess: {percent(edition.thresholds.zero_channels_excess)})",
        "channels were masked but not removed, which saves nothing",
    )


@comparing
def one_device(evidence: Evidence, edition: Edition) -> Answer:
    """Both models ran on the requested provider, and on no other."""
    sessions = [session for session in evidence.observed_by_arm(SessionFacts) or () if session is not None]
    lists = [session.providers for session in sessions if session.providers is not None]
    if len(lists) < len(ARMS):
        return unknown("The provider that ran the models was not recorded")
    providers = [evidence.header.workload.of(arm).provider for arm in ARMS]
    wanted = list(dict.fromkeys(providers))
    ran = [", ".join(map(str, names)) or "none" for names in lists]
    nodes = [str(name) for session in sessions for name in session.elsewhere or []]
    named = f" (elsewhere: {', '.join(dict.fromkeys(nodes))})" if nodes else ""
    return check(
        all(names == [provider] for provider, names in zip(providers, lists, strict=True)),
        f"{' and '.join(wanted)} {'was' if len(wanted) == 1 else 'were'} requested; "
        f"the baseline ran on {ran[0]}, the candidate on {ran[1]}{named}",
        "part of the work ran on another device, which the meter does not see",
    )


@comparing
def same_task(evidence: Evidence, edition: Edition) -> Answer:
    """Both models take the same input and return as many outputs; doing less is not compression.

    Unused outputs count too: a runtime computes them, so a baseline with more of them is more expensive than necessary.
    """
    observed = evidence.observed_by_arm(Interface)
    if observed is None:
        return unknown("The models' inputs and outputs were not recorded")
    faces, notes = [], []
    for arm, face in zip(ARMS, observed, strict=True):
        if face is None:
            return unknown(f"The input and outputs of the {arm} were not fully recorded")
        # Sizes of one sample regardless of order: the same image may be stored in two layouts.
        faces.append((sorted(map(str, face.input[1:])), face.outputs, face.scored, face.graph_outputs))
        others = f", and {face.graph_outputs - 1:.0f} further results" if face.graph_outputs > 1 else ""
        size, scored = "x".join(map(str, face.input)), f"{face.scored:.0f} of them scored"
        notes.append(f"the {arm} takes {size} and returns {face.outputs:.0f} outputs, {scored}{others}")
    sentence = "; ".join(notes)
    return check(faces[0] == faces[1], sentence[0].upper() + sentence[1:], "the candidate does a different task")
