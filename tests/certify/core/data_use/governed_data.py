"""Data under a use policy, made up: forty grey images, a key, a clock that tests set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.data_use.consent import Receipt
from certify.core.data_use.folder import UseFolder
from certify.core.data_use.merkle import root_of
from certify.core.data_use.policy import BoundData, Rule, Supplier, UsePolicy
from certify.core.private_data import DataKey
from certify.data import load

KEY = DataKey(bytes(range(32)))
RESEARCH, MARKETING = "dpv:AcademicResearch", "dpv:Marketing"
START, LATER, END = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2099-01-01T00:00:00Z"
SAMPLES = 40


def write_data(path: Path) -> str:
    """An npz file of forty images in two classes; its specification."""
    random = np.random.default_rng(0)
    np.savez(path, x=random.integers(0, 255, (SAMPLES, 8, 8), dtype=np.uint8), y=np.arange(SAMPLES) % 2)
    return f"npz:{path}"


def identifiers_of(spec: str) -> dict[str, list[str]]:
    """Keyed identifiers by part, of data that no policy governs yet."""
    return {name: split.keyed(KEY).digests() for name, split in load(spec).parts.items()}


def policy(identifiers: list[str], **changed: Any) -> UsePolicy:
    """A policy that permits research until 2099."""
    actions = ("train", "finetune", "calibrate", "evaluate")
    made = UsePolicy(
        name="digits", issued=START, controller="Clinic", contact="privacy@example.org",
        data=BoundData("digits", root_of(identifiers), KEY.id), suppliers=(Supplier("patients", "on paper"),),
        permissions=(Rule(actions, ("dpv:ResearchAndDevelopment",), (), END),),
        prohibitions=(Rule(("train",), (MARKETING,)),), legal_basis="dpv:PublicInterest", consent="unless-withdrawn",
        withdrawal="by letter", retention=None, no_sale=True,
    )  # fmt: skip
    return replace(made, **changed)


def receipt(records: list[str], state: str = "given", time: str = START, **changed: Any) -> Receipt:
    """A receipt of one person about records."""
    given = state == "given"
    made = Receipt(
        record_id=f"r-{time}-{state}", pii_principal_id=KEY.keyed("ada"), pii_records=tuple(records),
        event_type="explicit" if given else "withdrawal", event_state=state, event_time=time, validity_until=None,  # type: ignore[arg-type]
        purposes=("dpv:ResearchAndDevelopment",) if given else (),
        processing=("train", "calibrate", "evaluate") if given else (), privacy_notice=None,
        lawful_basis="dpv:Consent", withdrawal_method="by letter", party_name="Clinic",
    )  # fmt: skip
    return replace(made, **changed)


@dataclass
class Clock:
    """A clock that stands until it is set."""

    time: str = LATER

    def __call__(self) -> str:
        return self.time


def governed(folder: Path, **changed: Any) -> tuple[str, UseFolder, dict[str, list[str]]]:
    """Data with a policy beside them: specification, folder, identifiers by part."""
    spec = write_data(folder / "digits.npz")
    parts = identifiers_of(spec)
    every = [one for ones in parts.values() for one in ones]
    use = UseFolder.beside(folder / "digits.npz")
    use.bind(policy(every, **changed), every, START)
    return spec, use, parts
