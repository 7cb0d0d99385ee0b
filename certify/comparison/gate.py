"""Gate for build pipelines: whether a certified model meets the requirements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.assessments.efficiency.claims import UNMETERED, EfficiencyClaims
from certify.assessments.efficiency.grade import LETTERS
from certify.attest.auditor import Access
from certify.attest.certificate import Certificate
from certify.attest.trust import trusted
from certify.attest.verify import verify
from certify.comparison.comparability import same_baseline, why_not_comparable
from certify.comparison.comparison import ABSOLUTE, RATIOS
from certify.comparison.requirement import Requirement
from certify.core import exit_codes
from certify.core.errors import CertificateError, UsageError
from certify.core.estimate import Estimate
from certify.core.suggest import unknown_name
from certify.present.statements import of_efficiency

if TYPE_CHECKING:
    from certify.attest.keys import PublicKey
    from certify.attest.verification import Verification


@dataclass(frozen=True)
class Gate:
    """Requirements on a model, in addition to a valid certificate with a letter.

    Attributes:
        at_least: worst letter that passes; None for any.
        max_loss_percent: maximum of L (upper end of the relative accuracy loss) in percent; None for any.
        metered: whether modelled energy is rejected.
        any_key: whether signatures by untrusted keys count.
        require: requirements on any statement; see :class:`Requirement`.

    Example:
        >>> Gate(at_least="C", max_loss_percent=1.0).asks_for_a_letter
        True
    """

    at_least: str | None = None
    max_loss_percent: float | None = None
    metered: bool = False
    any_key: bool = False
    require: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        if self.at_least is not None and self.at_least not in LETTERS:
            raise unknown_name("letter", self.at_least, LETTERS)
        # Written as "not at least", so that NaN is refused as well.
        if self.max_loss_percent is not None and not self.max_loss_percent >= 0:
            raise UsageError(f"The maximum loss must be a percentage of at least 0, got {self.max_loss_percent}.")

    @property
    def asks_for_a_letter(self) -> bool:
        """Whether a requirement can only be met by an efficiency certificate."""
        return self.at_least is not None or self.max_loss_percent is not None or self.metered


@dataclass(frozen=True)
class GateResult:
    """Whether a model passes.

    Attributes:
        verification: verification of the model's certificate.
        reasons: reasons to stop it, one sentence each; empty if it passes.
        any_key: whether signatures by untrusted keys counted.

    Example:
        >>> import certify
        >>> found = certify.gate("graded/model.onnx", certify.Gate(at_least="B"), trust=["maker.pub"])
        >>> found.passed, found.exit_code, found.reasons
        (False, 3, ('The grade must be at least B, got D on made up, 2 threads.',))
    """

    verification: Verification
    reasons: tuple[str, ...]
    any_key: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is no reason to stop the model."""
        return not self.reasons

    @property
    def exit_code(self) -> int:
        """0: passed; 1: not valid; 4: not trusted; 5: not derived from evidence; 3: stopped for another reason."""
        code = self.verification.strict_exit_code
        # `--any-key` waives trust in the key, but never the derivation of the figures.
        if code == exit_codes.NOT_TRUSTED and self.any_key:
            code = exit_codes.DONE if self.verification.complete else exit_codes.NOT_DERIVED
        return code or (exit_codes.DONE if self.passed else exit_codes.NO)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"passed": self.passed, "reasons": list(self.reasons), "verification": self.verification.to_json()}


def evaluate_policy(
    path: str | Path,
    gate: Gate,
    *,
    not_worse_than: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
    access: Access | None = None,
    revocations: Iterable[Path] = (),
) -> GateResult:
    """Verify a certified model and evaluate a gate's policy.

    Args:
        path: the model file.
        gate: requirements.
        not_worse_than: an earlier certificate (``certificate.json``, or a certified ONNX file).
        trust: public keys to trust, in addition to the user's own.
        access: auditor files and data key, if the data are private and their holder provided them.
        revocations: statements that revoke models, in addition to ``revoked.json`` next to the model.

    Raises:
        UsageError: a file does not exist.
        CertificateError: the model or the earlier file has no certificate.

    Example:
        >>> import certify
        >>> policy = certify.Gate(at_least="E", max_loss_percent=1.0)
        >>> certify.gate("graded/model.onnx", policy, trust=["maker.pub"]).passed
        True
    """
    keys = tuple(trust)
    verification = verify(path, trust=keys, access=access, revocations=revocations)
    reasons = list(_not_believed(verification, gate))
    if verification.valid and verification.certificate is not None:
        # Limits are compared with derived figures instead of signed ones.
        statements = [certificate.audited_claims for certificate in verification.certificates]
        for requirement in gate.require:
            reasons += requirement.unmet(statements)
        claims = statements[0]
        if not isinstance(claims, EfficiencyClaims):
            # A gate without requirements needs a letter.
            if gate.asks_for_a_letter or not_worse_than is not None or not gate.require:
                reasons.append("There is no efficiency certificate, so there is no letter.")
        else:
            reasons += _short_of(verification, claims, gate)
            if not_worse_than is not None:
                earlier = Certificate.read(Path(not_worse_than))
                reasons += _earlier_not_believed(earlier, gate, keys)
                reasons += _worse(claims, of_efficiency(earlier))
    return GateResult(verification, tuple(reasons), gate.any_key)


def _not_believed(verification: Verification, gate: Gate) -> Iterator[str]:
    for check in verification.failed:
        yield f"The certificate is not valid: {check.name}: {check.sentence}"
    if verification.certificate is None and not verification.failed:
        yield "The certificate could not be read."
    if verification.valid and not verification.trusted and not gate.any_key:
        yield "It is signed by a key you do not trust; pass the key with --trust if you trust it."
    if verification.valid and not verification.derived:
        yield f"The figures were not derived from evidence: {verification.not_derived}"
    elif verification.valid and verification.waiting:
        yield verification.waiting


def _short_of(verification: Verification, claims: EfficiencyClaims, gate: Gate) -> Iterator[str]:
    grade, meter = claims.grade, claims.meter
    if grade.letter is None:
        yield from (f"No grade was given: {reason}" for reason in grade.reasons)
        return
    if gate.at_least is not None and LETTERS.index(grade.letter) > LETTERS.index(gate.at_least):
        yield f"The grade must be at least {gate.at_least}, got {claims.text_on_device}."
    lost, limit = grade.loss_percent, gate.max_loss_percent
    # An unknown loss cannot meet a limit.
    if limit is not None and (lost is None or lost > limit):
        size = "unknown size" if lost is None else f"up to {lost:.3g} %"
        yield f"An accuracy loss of {size} cannot be ruled out; it must be at most {limit:g} %."
    if gate.metered and (meter is None or meter.level in UNMETERED):
        yield f"The energy must be metered, but it is {'not known' if meter is None else meter.level}."
    # A plug-in may claim to be metered, so its code must be the code that was recorded.
    code = verification.check("meter_code")
    if gate.metered and code is not None and code.outcome != "pass":
        yield f"The energy must be metered. {code.sentence}"


def _earlier_not_believed(earlier: Certificate, gate: Gate, keys: Iterable[str | Path | PublicKey]) -> Iterator[str]:
    standing = trusted(keys).standing(earlier.signer)
    if standing.revoked:
        yield f"The earlier certificate is void: {standing.sentence}"
    # The earlier certificate is read without its model and cannot be verified, so at least its signature is checked.
    elif not earlier.envelope.signed_by(earlier.signer):
        yield "The earlier certificate is not signed by the key that it names."
    elif not gate.any_key and not standing.trusted:
        yield "The earlier certificate is signed by a key you do not trust; pass the key with --trust if you trust it."


def _worse(now: EfficiencyClaims, then: EfficiencyClaims) -> Iterator[str]:
    """Yield a lower letter, and each figure whose whole interval is on the worse side of the earlier one's."""
    if reasons := why_not_comparable(now, then):
        yield f"It cannot be compared with the earlier certificate: {'; '.join(reasons)}."
        return
    if then.grade.letter is None or now.grade.letter is None:
        return  # any letter beats a refusal, and a refusal is already stopped
    common = same_baseline(now, then)
    # Letters relative to different baselines cannot be compared.
    if common and LETTERS.index(now.grade.letter) > LETTERS.index(then.grade.letter):
        yield f"The grade is {now.text}; the earlier one was {then.text}."
    axes = RATIOS if common else ABSOLUTE
    for name in (axes.energy, axes.accuracy):
        better = not axes.is_ratio and name == axes.accuracy
        yield from _shown_worse(name, (now.figures, then.figures), more_is_better=better)


def _shown_worse(
    name: str, figures: tuple[Mapping[str, Estimate], Mapping[str, Estimate]], more_is_better: bool
) -> Iterator[str]:
    now, then = (profile.get(name) for profile in figures)
    what = name.removesuffix("_candidate").replace("_", " ")
    if now is None or then is None:
        raise CertificateError(f"The certificate has a letter but no {what}.")
    # Whole intervals are compared, because overlapping ones do not show a change.
    if now.high < then.low if more_is_better else now.low > then.high:
        yield f"The {what} is {now}, worse than the earlier {then}."
