"""Disable each finding in turn over evidence that is forged or withheld, and show that it alone refuses it.

    python tests/fuzz/findings.py

Each forgery is made with a key and a modified leanmark in which the finding is disabled: evidence, figures and letter
are consistent and signed. The reader's leanmark then verifies it unmodified, and once more with the same finding
disabled. The exit status is 1 if the unmodified leanmark accepts a forgery, or if one is refused although its finding
is disabled.
"""

from __future__ import annotations

import datetime
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE.parent / "certify" / "efficiency")]

from forged_answers import FURTHER, by_knobs  # noqa: E402
from forgeries import FORGERIES, Forgery  # type: ignore[import-not-found]  # noqa: E402
from graded import fixtures, own_folders  # type: ignore[import-not-found]  # noqa: E402

from certify.assessments.efficiency import facts  # noqa: E402
from certify.assessments.efficiency.guards import GUARDS, Answer  # noqa: E402
from certify.attest.keys import SigningKey, generate  # noqa: E402
from certify.attest.verification import Verification  # noqa: E402
from certify.comparison import Gate, evaluate_policy  # noqa: E402
from certify.core.evidence import Evidence  # noqa: E402
from certify.core.finding import Finding  # noqa: E402
from certify.data.contract_slot import normalise  # noqa: E402
from certify.data.dataset import samples_digest  # noqa: E402

IN_FILES = {
    "quantization_fused": ("_observed_check",),
    "channels_removed": ("_observed_check",),
    "cost_counted": ("_observed_check",),
    "same_contract": ("contract_checks",),
}
"""Checks of verify that find the same forgery in the files, by finding; these are disabled with it."""

Switch = Callable[[], AbstractContextManager[Any]]


class Case(NamedTuple):
    """One forgery and how its finding is disabled.

    Attributes:
        finding: that must refuse it.
        what: in a few words.
        make: writes the forged folder; gives the model.
        disabled: a context in which the finding passes.
    """

    finding: str
    what: str
    make: Callable[[Path], Path]
    disabled: Switch


class Forger:
    """Somebody who signs what does not hold."""

    def __init__(self, folder: Path) -> None:
        import onnx

        self._papers = fixtures("certify/attest/conftest")
        self._synthetic = fixtures("certify/efficiency/synthetic")
        onnx.save(self._papers.build_model(), folder / "foreign.onnx")
        self._model = folder / "candidate.onnx"
        normalise(folder / "foreign.onnx", self._model, self._papers.contract())
        self.key: SigningKey = generate(folder / "keys" / "k.key")

    def honest(self, level: str = "counter", **knobs: Any) -> Evidence:
        """What an honest measurement would have recorded, or what another would with some knobs turned."""
        facts = self._papers.facts_of(self._model)
        predictions = self._synthetic.make_evidence(**knobs).predictions
        digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
        data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": len(predictions), "test_digest": digest,
                "classes": 10}  # fmt: skip
        models = {"baseline": facts, "candidate": facts}
        for arm, other in knobs.get("header", {}).get("models", {}).items():
            models[arm] = replace(facts, varying_share=other.varying_share, varying=other.varying)
        observed = {**self._synthetic.observed_in(self._model, self._model), **knobs.pop("observations", {})}
        header = {**knobs.pop("header", {}), "models": models, "data": data}
        evidence: Evidence = self._synthetic.make_evidence(header=header, observations=observed, level=level, **knobs)
        return evidence

    def sign(self, out: Path, evidence: Evidence) -> Path:
        model: Path = self._papers.write_papers(out, self._model, evidence, self.key)
        return model

    def accepts(self, model: Path) -> tuple[bool, str]:
        """Whether a gate that trusts the forger's key lets the model pass, and what it says."""
        passage = evaluate_policy(model, Gate("G"), trust=[self.key.public])
        return passage.passed, " ".join(passage.reasons) or passage.verification.verdict


def cases(forger: Forger) -> Iterator[Case]:
    for forgery in (*FORGERIES, *FURTHER):
        make = _signed(forger, forgery.finding, functools.partial(_forged, forger, forgery))
        yield Case(forgery.finding, forgery.what, make, _passing_guard(forgery.finding))
    for name, what, knobs in by_knobs({forgery.finding for forgery in (*FORGERIES, *FURTHER)}):
        make = _signed(forger, name, functools.partial(forger.honest, **knobs))
        yield Case(name, what, make, _passing_guard(name, *IN_FILES.get(name, ())))
    yield Case("derived", "no evidence at all", _without_evidence(forger), _believed)
    yield Case("created", "a measurement in the year 2126", _changed(forger, _later), _passing("check_created"))
    yield Case("baseline_facts", "a baseline of ten times the multiply-adds", _changed(forger, _larger_baseline),
               lambda: mock.patch.object(facts, "_baseline_check", _pass))  # fmt: skip
    yield Case("baseline_origin", "the weights of a network that it is not", _changed(forger, _renowned),
               lambda: mock.patch.object(facts, "_origin_check", _pass))  # fmt: skip
    yield Case("observed_facts", "zero channels of the candidate left out", _changed(forger, _fewer_zeros),
               lambda: mock.patch.object(facts, "_observed_check", _pass))  # fmt: skip


def _pass(*_: Any) -> Finding:
    return Finding("disabled", "pass", "This check is disabled.")


def _passing(name: str) -> Switch:
    return lambda: mock.patch.object(sys.modules["certify.attest.verify"], name, _pass)


def _passing_guard(name: str, *checks: str) -> Switch:
    @contextmanager
    def switch() -> Iterator[None]:
        disabled = {name: lambda evidence, edition: Answer("pass", "It is disabled.")}
        with mock.patch.dict(GUARDS, disabled), ExitStack() as stack:
            for check in checks:
                nothing = _pass if check.startswith("_") else lambda *_: ()
                stack.enter_context(mock.patch.object(facts, check, nothing))
            yield

    return switch


def _believed() -> AbstractContextManager[Any]:
    return mock.patch.object(Verification, "derived", True)


def _forged(forger: Forger, forgery: Forgery) -> Evidence:
    forged: Evidence = forgery.forge(forger.honest(forgery.level))
    return forged


def _signed(forger: Forger, finding: str, evidence: Callable[[], Evidence]) -> Callable[[Path], Path]:
    def make(out: Path) -> Path:
        with _passing_guard(finding)():
            return forger.sign(out, evidence())

    return make


def _changed(forger: Forger, change: Callable[[Evidence], Evidence]) -> Callable[[Path], Path]:
    return lambda out: forger.sign(out, change(forger.honest()))


def _without_evidence(forger: Forger) -> Callable[[Path], Path]:
    def make(out: Path) -> Path:
        model = forger.sign(out, forger.honest())
        (out / "evidence.jsonl").unlink()
        return model

    return make


def _later(evidence: Evidence) -> Evidence:
    began = datetime.datetime(2126, 1, 1, tzinfo=datetime.timezone.utc)
    return replace(evidence, header=replace(evidence.header, created=began.strftime("%Y-%m-%dT%H:%M:%SZ")))


def _larger_baseline(evidence: Evidence) -> Evidence:
    models = dict(evidence.header.models)
    models["baseline"] = replace(models["baseline"], macs=10 * models["baseline"].macs)
    return replace(evidence, header=replace(evidence.header, models=models))


def _renowned(evidence: Evidence) -> Evidence:
    models = dict(evidence.header.models)
    models["baseline"] = replace(models["baseline"], published="EfficientNet-Lite0")
    return replace(evidence, header=replace(evidence.header, models=models))


def _fewer_zeros(evidence: Evidence) -> Evidence:
    none = {"channels": 1000, "zero": 0, "share": 0.0}
    observations = [
        replace(one, values={**one.values, "candidate": none}) if one.name == "zero_channels" else one
        for one in evidence.observations
    ]
    return replace(evidence, observations=tuple(observations))


def table(findings: frozenset[str] | None = None) -> Iterator[tuple[Case, bool, bool, str]]:
    """Each case, whether it is accepted as leanmark stands and with its finding disabled, and why it is refused.

    Args:
        findings: names of those that are tried; all by default.
    """
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        stack.enter_context(own_folders(folder / "user"))
        forger = Forger(folder)
        wanted = (case for case in cases(forger) if findings is None or case.finding in findings)
        for number, case in enumerate(wanted):
            model = case.make(folder / str(number))
            standing, why = forger.accepts(model)
            with case.disabled():
                disabled, _ = forger.accepts(model)
            yield case, standing, disabled, why


def main() -> None:
    """Print the table."""
    wrong = 0
    print(f"{'finding':26}{'forgery':64}{'as it stands':14}with the finding disabled")
    for case, standing, disabled, _ in table():
        wrong += standing or not disabled
        told = ["accepted" if accepted else "refused" for accepted in (standing, disabled)]
        print(f"{case.finding:26}{case.what:64}{told[0]:14}{told[1]}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
