"""Guards over the two models: a saving must come from doing the same task with less."""

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
        f"Operators that run quantized, of those meant to: {' and '.join(found)}{names}",
        "the rest converts back and forth and runs in float, so the quantization is not real",
    )


@comparing
def channels_removed(evidence: Evidence, edition: Edition) -> Answer:
    """Channels that were pruned are gone, not filled with zeros, and the baseline was not padded with such."""
    shares = [values.share for values in evidence.observed_by_arm(MaskedChannels) or () if values is not None]
    if len(shares) < len(ARMS):
        return unknown("The weights were not read for channels of zeros")
    if shares[0] > edition.thresholds.baseline_zero_channels:
        return Answer(
            "fail",
            f"{percent(shares[0])} of the baseline's channels hold nothing but zeros (allowed: "
            f"{percent(edition.thresholds.baseline_zero_channels)}): it is larger than it need be, which flatters the "
            "candidate.",
        )
    return check(
        shares[1] - shares[0] <= edition.thresholds.zero_channels_excess,
        f"{percent(shares[1])} of the candidate's channels hold nothing but zeros, {percent(shares[0])} of the "
        f"baseline's (allowed beyond it: {percent(edition.thresholds.zero_channels_excess)})",
        "channels were masked and not removed, which saves nothing",
    )


@comparing
def one_device(evidence: Evidence, edition: Edition) -> Answer:
    """Both models ran on the provider that was asked for, and on no other."""
    sessions = [session for session in evidence.observed_by_arm(SessionFacts) or () if session is not None]
    lists = [session.providers for session in sessions if session.providers is not None]
    if len(lists) < len(ARMS):
        return unknown("It was not recorded which provider ran the models")
    asked = [evidence.header.workload.of(arm).provider for arm in ARMS]
    wanted = list(dict.fromkeys(asked))
    ran = [", ".join(map(str, names)) or "none" for names in lists]
    nodes = [str(name) for session in sessions for name in session.elsewhere or []]
    named = f" (elsewhere: {', '.join(dict.fromkeys(nodes))})" if nodes else ""
    return check(
        all(names == [one] for one, names in zip(asked, lists, strict=True)),
        f"{' and '.join(wanted)} {'was' if len(wanted) == 1 else 'were'} asked for; "
        f"the baseline ran on {ran[0]}, the candidate on {ran[1]}{named}",
        "part of the work went to another device, out of the meter's sight",
    )


@comparing
def same_task(evidence: Evidence, edition: Edition) -> Answer:
    """Both models take the same input and give as many outputs; doing less is not compression.

    Outputs that nobody reads count too: a runtime computes them, so that a baseline with more of them is dearer than it
    need be.
    """
    observed = evidence.observed_by_arm(Interface)
    if observed is None:
        return unknown("The models' inputs and outputs were not recorded")
    faces, told = [], []
    for arm, face in zip(ARMS, observed, strict=True):
        if face is None:
            return unknown(f"The input and outputs of the {arm} were not recorded in full")
        # One sample's sizes without regard to their order: the same picture may lie in memory in two layouts.
        faces.append((sorted(map(str, face.input[1:])), face.outputs, face.scored, face.graph_outputs))
        others = f", beside {face.graph_outputs - 1:.0f} further results" if face.graph_outputs > 1 else ""
        size, scored = "x".join(map(str, face.input)), f"{face.scored:.0f} of them scored"
        told.append(f"the {arm} takes {size} and gives {face.outputs:.0f} outputs, {scored}{others}")
    sentence = "; ".join(told)
    return check(faces[0] == faces[1], sentence[0].upper() + sentence[1:], "the candidate does another task")
