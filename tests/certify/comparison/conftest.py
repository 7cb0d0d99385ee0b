from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's keys."""
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
