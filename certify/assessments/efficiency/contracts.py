"""Differences between the preprocessing contracts of two models, and checks of the contracts in the files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError, LeanmarkError
from certify.core.finding import Finding
from certify.core.observations import Contracts
from certify.data.array_contract import ArrayPreprocess
from certify.data.images import ImagePreprocess
from certify.data.preprocess import Preprocess
from certify.data.tokens import TokenPreprocess
from certify.model_file.model_file import ModelFile

WIDTHS = {"float64": "float32", "int64": "int32"}
"""Wide types and the narrower types they count as, because real data never need the extra width."""
TOLERANCE = 1e-6
"""Relative tolerance of means and divisors, which contracts write in several ways."""


def read_contract(values: Any, arm: str) -> Preprocess:
    """Parse a recorded contract.

    Raises:
        CertificateError: it is malformed.
    """
    if not isinstance(values, Mapping):
        raise CertificateError(f"Evidence: the preprocessing contract of the {arm} must be a mapping.")
    try:
        return Preprocess.from_json(values, f"preprocessing contract of the {arm}")
    except LeanmarkError as error:
        raise CertificateError(f"Evidence: {error}") from error


def differences(baseline: Preprocess, candidate: Preprocess) -> list[str]:
    """Return how two contracts treat a sample or the output differently, apart from the input size.

    Names of inputs and outputs, and memory layout, do not change values, so they may differ. Types may differ if they
    hold the same values.
    """
    if baseline.kind != candidate.kind:
        return [f"kind ({baseline.kind}, {candidate.kind})"]
    pair = _compared(baseline), _compared(candidate)
    return [
        f"{name} ({_words(first)}, {_words(pair[1][name])})"
        for name, first in pair[0].items()
        if not _equal(first, pair[1][name]) and not (name in ("resize", "crop") and _sizes_differ(baseline, candidate))
    ]


def _compared(contract: Preprocess) -> dict[str, Any]:
    found: dict[str, Any] = {"reading": contract.reading, "classes": contract.class_map}
    if isinstance(contract, ImagePreprocess):
        names = ("colour", "resize", "crop", "interpolation")
        found |= {name: getattr(contract, name) for name in names}
        # Multiplied by the scale, because contracts may normalise the same values up to 255 or up to 1.
        found["mean"] = [mean * contract.scale for mean in contract.mean]
        found["std"] = [std * contract.scale for std in contract.std]
        found["levels"] = contract.levels()
    if isinstance(contract, ArrayPreprocess):
        types = sorted(zip(contract.inputs, contract.dtypes, strict=True))
        found["types"] = tuple(WIDTHS.get(kind, kind) for _, kind in types)
        # Sorted, because the order of a model's inputs does not change what is fed to each.
        found["inputs"] = tuple(sorted(zip(contract.inputs, contract.shapes, strict=True)))
    if isinstance(contract, TokenPreprocess):
        found |= {"vocabulary": contract.vocabulary, "pad_id": contract.pad_id, "tokenizer": contract.tokenizer}
        found["inputs"] = contract.kinds
    return found


def _sizes_differ(baseline: Preprocess, candidate: Preprocess) -> bool:
    """Return whether the models accept images of different sizes; swapped sides count as the same size."""
    if not isinstance(baseline, ImagePreprocess) or not isinstance(candidate, ImagePreprocess):
        return False
    return sorted((baseline.height, baseline.width)) != sorted((candidate.height, candidate.width))


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            for left, right in zip(first, second, strict=True)
        )
    return bool(first == second)


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in value[:4])
    return "none" if value is None else str(value)


def contract_checks(baseline: ModelFile | None, predicate: Mapping[str, Any], records: Any) -> Iterator[Finding]:
    """Check that the stated contracts are those of the evidence and of the baseline's file.

    Args:
        baseline: the measured baseline; None if it is not next to the certified file.
        predicate: predicate of the certificate.
        records: evidence; None if it is missing.
    """
    name = "contracts_match"
    stated = predicate["baseline"]["preprocess"]
    if records is not None:
        recorded = records.observation(Contracts.NAME) or {}
        if recorded.get("candidate") != predicate["preprocess"]:
            yield Finding(
                name,
                "fail",
                "The certificate states a different preprocessing contract from the one used in the measurement.",
            )
            return
    if baseline is None:
        yield Finding(name, "skipped", "The measured baseline was not found next to the file.")
        return
    contracts = baseline.contracts()
    where = Path(baseline.path).name
    if not contracts:
        yield Finding(name, "skipped", f"{where} has no preprocessing contract.")
    elif [parse_canonical(contract, f"the contract in {where}") for contract in contracts] == [stated]:
        yield Finding(name, "pass", f"The preprocessing contract in {where} is the stated one.")
    else:
        yield Finding(name, "fail", f"The preprocessing contract in {where} is not the stated one.")
