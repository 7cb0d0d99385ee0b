"""A toy assessment, installed as another distribution would install it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
METADATA = "Metadata-Version: 2.1\nName: steadiness\nVersion: 1.0\n"
ENTRY_POINTS = "[leanmark.assessments]\nsteadiness = steadiness:Steadiness\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The distribution ``steadiness`` with its entry point; forgotten afterwards."""
    from certify.assessment import registry

    site = tmp_path_factory.mktemp("site")
    info = site / "steadiness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)

    def forget() -> None:
        registry._surveyed.cache_clear()
        registry.ASSESSMENTS.__dict__.pop("_installed", None)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.syspath_prepend(HERE)
        forget()
        yield
    sys.modules.pop("steadiness", None)
    forget()


@pytest.fixture(scope="module")
def graded(certify_small: Callable[..., Any]) -> Any:
    """A certified model and the key that signed it."""
    return certify_small()
