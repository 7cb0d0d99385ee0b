from __future__ import annotations

from pathlib import Path

import pytest

from certify.core.folders import cache_folder, config_folder, published, state_folder, without_home


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


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/home/me/photos", "~/photos"),
        ("/home/me", "~"),
        ("imagefolder:/home/me/photos", "imagefolder:~/photos"),
        ("npz:train=/home/me/a.npz,test=/home/me/b.npz", "npz:train=~/a.npz,test=~/b.npz"),
        ("/home/meier/photos", "/home/meier/photos"),
        ("/backup/home/me/photos", "/backup/home/me/photos"),
        ("photos", "photos"),
    ],
)
def test_home_folder_is_left_out_of_a_path(place: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert without_home(place) == shown
    monkeypatch.setenv("HOME", "/")
    assert without_home(place) == place


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/mnt/lab7/photos", "photos"),
        ("/mnt/lab7/photos/", "photos"),
        ("imagefolder:/mnt/lab7/photos", "imagefolder:photos"),
        ("npz:train=/mnt/a.npz,test=/mnt/b.npz,drop=age", "npz:train=a.npz,test=b.npz,drop=age"),
        (r"imagefolder:C:\Users\me\photos", "imagefolder:photos"),
        ("csv:D:/lab/a.csv,label=y", "csv:a.csv,label=y"),
        ("imagefolder:~/photos", "imagefolder:~/photos"),
        ("../leaves/photos", "../leaves/photos"),
        ("https://example.org/recipe", "https://example.org/recipe"),
        ("conv1/weight: declined", "conv1/weight: declined"),
        ({"teacher": "/mnt/t.pt", "layers": ["/mnt/x", 2, None]}, {"teacher": "t.pt", "layers": ["x", 2, None]}),
    ],
)
def test_published_values_name_no_folder_of_this_machine(place: object, shown: object) -> None:
    assert published(place) == shown


def test_published_path_is_relative_when_it_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert published(f"imagefolder:{tmp_path}/photos/leaves") == "imagefolder:photos/leaves"
