"""The referee: measures, grades, seals and verifies ONNX models. Needs neither torch nor ``compress``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certify.api import Result, certify, profile
    from certify.attest.verification import Verification
    from certify.attest.verify import verify
    from certify.comparison.comparison import compare
    from certify.core.estimate import Estimate, EvidenceLevel
    from certify.data.images import ImagePreprocess
    from certify.data.preprocess import Preprocess
    from certify.data.tokens import TokenPreprocess
    from certify.measure.plan import Plan
    from certify.present.report.report import report

_WHERE = {
    "Estimate": "certify.core.estimate",
    "EvidenceLevel": "certify.core.estimate",
    "ImagePreprocess": "certify.data.images",
    "Plan": "certify.measure.plan",
    "Preprocess": "certify.data.preprocess",
    "Result": "certify.api",
    "TokenPreprocess": "certify.data.tokens",
    "Verification": "certify.attest.verification",
    "certify": "certify.api",
    "compare": "certify.comparison.comparison",
    "profile": "certify.api",
    "report": "certify.present.report.report",
    "verify": "certify.attest.verify",
}

__all__ = [
    "Estimate",
    "EvidenceLevel",
    "ImagePreprocess",
    "Plan",
    "Preprocess",
    "Result",
    "TokenPreprocess",
    "Verification",
    "__version__",
    "certify",
    "compare",
    "profile",
    "report",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import certify`` stays quick."""
    if name == "__version__":
        from importlib.metadata import version

        return version("leanmark")
    if name not in _WHERE:
        raise AttributeError(f"module 'certify' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
