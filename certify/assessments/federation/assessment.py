"""Federated learning as an assessment: how a model was trained, according to its signed log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from certify.assessment.assessment import Assessment, Surroundings, Version
from certify.assessment.claims import Claims, common_claims
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.federation import edition as editions
from certify.assessments.federation import records as record_files
from certify.assessments.federation.edition import FederationEdition
from certify.assessments.federation.figures import BYTES, ENERGY, RATIO, SHARE, SIMULATED, figures
from certify.assessments.federation.findings import NAMES, judge_findings
from certify.assessments.federation.lineage_check import beside
from certify.assessments.federation.records import Records
from certify.core.estimate import Estimate
from certify.core.federation import Run
from certify.core.finding import Finding

PREDICATE_TYPE = "https://leanmark.org/secure/federation/v1"
LIMITS = (
    "Signatures do not show who holds a key, or whether one party holds several.",
    "A server and clients that collude can sign rounds that never took place.",
    "CPU-seconds, joules and sizes of data rest on each client's word, and an answer need not come from training.",
    "A client that was never selected, or got no receipt, cannot show that it was omitted; see verify --receipts.",
    "Updates reveal something about the data they were computed from, unless masks or noise are stated.",
)
HEADLINES = {
    SHARE: "client compute",
    f"simulated_{SHARE}": "simulated share",
    BYTES: "bytes per round",
    ENERGY: "energy per round",
}
WORDS = {
    "clients": "clients that took part",
    RATIO: "bytes relative to float32 both ways",
    "client_cpu_s": "CPU time of clients",
    "server_cpu_s": "CPU time of the server",
    "client_energy_j": "energy of clients",
    "server_energy_j": "energy of the server",
    "participation_gini": "inequality of participation (Gini)",
    "bytes_up": "bytes sent by clients",
    "bytes_down": "bytes sent to clients",
    "bytes_up_per_entry": "bytes per answer",
    "energy_j": "energy of all rounds",
    "client_epsilon": "client-level epsilon",
    "client_delta": "delta of the client-level epsilon",
    "central_change_points": "accuracy change from central training",
    "central_cpu_ratio": "CPU time relative to central training",
    "central_energy_ratio": "energy relative to central training",
}


class Federation(Assessment):
    """Rounds, clients, bytes and joules of federated training, derived only from its signed log.

    Example:
        >>> Federation().load_edition("2026").least_clients
        2
    """

    name = "federation"
    title = "Federated learning"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("federation-1", "certify.assessments.federation")}
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the openings of the runs, and the use policies named by clients."""
        header = records.header
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "runs": [_stated(run.opening.message) for run in records.runs],
            "policies": sorted(records.policies),
        }

    def derive(self, records: Records, edition: FederationEdition) -> Mapping[str, Estimate]:
        """Derive all figures."""
        return figures(records)

    def findings(self, records: Records, edition: FederationEdition) -> tuple[Finding, ...]:
        """Run all checks."""
        return judge_findings(records, edition)

    def outcome(self, profile: Profile, edition: FederationEdition) -> ClaimOutcome:
        """Claim the number of clients and rounds; refuse if a check of the log fails."""
        reasons, notes = [], []
        for name in NAMES:
            found = profile.guard(name)
            if found is None:
                reasons.append(f"{name} was not judged.")
            elif found.outcome == "fail" or (found.outcome == "unknown" and name not in edition.may_be_unknown):
                reasons.append(f"{name}: {found.sentence}")
            elif found.outcome == "unknown":
                notes.append(found.sentence)
        if reasons:
            return ClaimOutcome("refused", tuple(reasons), tuple(notes))
        return ClaimOutcome(_text(profile), (), (*notes, *_notes(profile)))

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Compare the passes with the lineage next to the model."""
        yield from beside(around)

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed; a simulation is labelled as such wherever the outcome appears."""
        figures = predicate["profile"]["estimates"]
        headlines = {name: words for name, words in HEADLINES.items() if name in figures} or {"rounds": "rounds"}
        common = common_claims(self, predicate, digest, headlines=headlines, limits=LIMITS)
        notes = (*_transports(predicate["runs"]), *common["notes"])
        return Claims(**{**common, "notes": notes, "words": WORDS})


def _stated(run: Run) -> dict[str, Any]:
    values = asdict(run)
    values.pop("version")  # of the message
    return values


def _text(profile: Profile) -> str:
    found = profile.estimates
    clients, rounds = (round(float(found[name])) for name in ("clients", "rounds"))
    # Placed before the count so that no excerpt omits it.
    simulated = "simulated: " if float(found["clients_simulated"]) else ""
    return f"{simulated}{clients} clients, {rounds} rounds"


def _notes(profile: Profile) -> Iterator[str]:
    found = profile.estimates
    if "energy_j" not in found:
        yield "The energy is not assessed, since it was not measured for every client and round."
    if "central_change_points" not in found:
        yield "Comparison with central training: not assessed, since no measured central run is on record."
    # Abandoned attempts belong to no closed round, so no figure includes what was sent in them.
    if float(found["attempts_abandoned"]):
        count = round(float(found["attempts_abandoned"]))
        yield f"{count} rounds were started but not closed; what clients sent in them is not in the sum."


def _transports(runs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    named = {str(run["transport"]) for run in runs}
    if SIMULATED in named:
        yield "Simulated: one process ran all clients and held all their keys."
    if others := sorted(named - {SIMULATED}):
        yield f"Clients answered over {', '.join(name.capitalize() for name in others)}."
