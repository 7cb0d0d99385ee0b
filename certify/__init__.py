"""The referee: measures, grades, seals and verifies ONNX models. Needs neither torch nor ``compress``.

Example:
    >>> import certify
    >>> certify.Plan(threads=1, time_limit_s=30.0).batch
    1
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certify.api import certify, profile
    from certify.attest.audit import Audit, audit
    from certify.attest.verification import Verification
    from certify.attest.verify import verify
    from certify.comparison.comparison import compare
    from certify.comparison.gate import Gate, GateResult
    from certify.comparison.gate import evaluate_policy as gate
    from certify.core.errors import (
        CertificateError,
        DataError,
        LeanmarkError,
        MeasureError,
        MissingExtra,
        ModelError,
        NotDerivedError,
        UsageError,
    )
    from certify.core.estimate import Estimate, EvidenceLevel
    from certify.data.array_contract import ArrayPreprocess
    from certify.data.dataset import Dataset
    from certify.data.images import ImagePreprocess
    from certify.data.preprocess import Preprocess
    from certify.data.tokens import TokenPreprocess
    from certify.measure.plan import Plan
    from certify.present.report.report import report
    from certify.workflows.certification_result import Result
    from certify.workflows.declaration import declare
    from certify.workflows.group_audit import fairness
    from certify.workflows.robustness_statement import assess as robustness
    from certify.workflows.statements import state

_WHERE = {
    "Audit": "certify.attest.audit",
    "CertificateError": "certify.core.errors",
    "DataError": "certify.core.errors",
    "Dataset": "certify.data.dataset",
    "Estimate": "certify.core.estimate",
    "EvidenceLevel": "certify.core.estimate",
    "Gate": "certify.comparison.gate",
    "GateResult": "certify.comparison.gate",
    "ArrayPreprocess": "certify.data.array_contract",
    "ImagePreprocess": "certify.data.images",
    "LeanmarkError": "certify.core.errors",
    "MeasureError": "certify.core.errors",
    "MissingExtra": "certify.core.errors",
    "ModelError": "certify.core.errors",
    "NotDerivedError": "certify.core.errors",
    "Plan": "certify.measure.plan",
    "Preprocess": "certify.data.preprocess",
    "Result": "certify.workflows.certification_result",
    "TokenPreprocess": "certify.data.tokens",
    "UsageError": "certify.core.errors",
    "Verification": "certify.attest.verification",
    "audit": "certify.attest.audit",
    "certify": "certify.api",
    "compare": "certify.comparison.comparison",
    "declare": "certify.workflows.declaration",
    "fairness": "certify.workflows.group_audit",
    "gate": "certify.comparison.gate:evaluate_policy",
    "profile": "certify.api",
    "report": "certify.present.report.report",
    "robustness": "certify.workflows.robustness_statement:assess",
    "state": "certify.workflows.statements",
    "verify": "certify.attest.verify",
}
"""Module of each public name; a colon introduces its name there, if it differs."""

__all__ = [
    "Audit",
    "CertificateError",
    "DataError",
    "Dataset",
    "Estimate",
    "EvidenceLevel",
    "Gate",
    "GateResult",
    "ArrayPreprocess",
    "ImagePreprocess",
    "LeanmarkError",
    "MeasureError",
    "MissingExtra",
    "ModelError",
    "NotDerivedError",
    "Plan",
    "Preprocess",
    "Result",
    "TokenPreprocess",
    "UsageError",
    "Verification",
    "__version__",
    "audit",
    "certify",
    "compare",
    "declare",
    "fairness",
    "gate",
    "profile",
    "report",
    "robustness",
    "state",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first access, so that ``import certify`` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("leanmark")
    if name not in _WHERE:
        raise AttributeError(f"module 'certify' has no attribute '{name}'")
    module, _, attribute = _WHERE[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
