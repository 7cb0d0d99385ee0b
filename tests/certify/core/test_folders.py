from __future__ import annotations

from pathlib import Path

import pytest

from certify.core.folders import cache_folder, config_folder, state_folder


@pytest.mark.parametrize(
    ("folder", "kind", "default"),
    [(cache_folder, "CACHE", ".cache"), (config_folder, "CONFIG", ".config"), (state_folder, "STATE", ".local/state")],
)
def test_folder_follows_the_environment_when_it_is_set(
    folder, kind: str, default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv(f"LEANMARK_{kind}_HOME", raising=False)
    monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)
    assert folder() == Path("/home/me", default, "leanmark")
    monkeypatch.setenv(f"XDG_{kind}_HOME", "/shared")
    assert folder() == Path("/shared/leanmark")
    monkeypatch.setenv(f"LEANMARK_{kind}_HOME", "/own")
    assert folder() == Path("/own")
