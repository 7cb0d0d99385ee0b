"""Models of the Hugging Face Hub by id: from a cache of the library's layout, and what is said without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certify.core.errors import MissingExtra, ModelError, UsageError
from certify.core.progress import Silent
from compress.models import catalog, hub

transformers = pytest.importorskip("transformers")
constants = pytest.importorskip("huggingface_hub").constants

COMMIT = "0123456789" * 4


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network: what would be downloaded is noted."""
    import huggingface_hub

    asked = []
    real = huggingface_hub.snapshot_download

    def offline(name, **options):
        asked.append((name, options.get("local_files_only", False)))
        if not options.pop("local_files_only", False):
            raise huggingface_hub.errors.LocalEntryNotFoundError("Got: ConnectError: no network\nTry again.")
        return real(name, cache_dir=tmp_path / "hub", local_files_only=True, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub", asked


def cached(cache: Path, name: str) -> Path:
    """The folder of a model in a cache, as the library lays it out."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True, exist_ok=True)
    return folder / "snapshots" / COMMIT


@pytest.fixture
def vit():
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, num_labels=3, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


@pytest.mark.parametrize("spec", ["org/vit", "hf:org/vit"])
def test_model_is_read_from_the_cache_when_it_is_there(spec, cache, vit):
    folder, asked = cache
    snapshot = cached(folder, "org/vit")
    vit.save_pretrained(snapshot)
    (snapshot / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    built = catalog.build(spec, 3)
    assert built.pretrained and built.mean == (0.5,) * 3
    assert built.origin.startswith("weights of org/vit at 012345678901 (SHA-256 ")
    assert asked == [("org/vit", True)]


def test_folder_takes_precedence_over_the_hub_when_ambiguous(cache, vit, tmp_path):
    vit.save_pretrained(tmp_path / "org" / "vit")
    assert catalog.build("org/vit", 3).origin.startswith("weights from the folder vit (")
    assert not cache[1]


@pytest.mark.parametrize("weights", [None, "model.safetensors.index.json"])
def test_weights_are_never_random_when_the_cache_lacks_them(weights, cache, vit):
    snapshot = cached(cache[0], "org/vit")
    vit.config.save_pretrained(snapshot)
    if weights:
        (snapshot / weights).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(ModelError, match=r"not in the cache .* cannot be downloaded \(Got: ConnectError.*hf:FOLDER"):
        catalog.build("org/vit", 3)
    assert cache[1] == [("org/vit", True), ("org/vit", False)]


def test_files_are_downloaded_when_not_in_the_cache(cache, vit, monkeypatch):
    import huggingface_hub

    offline = huggingface_hub.snapshot_download

    def online(name, allow_patterns, local_files_only=False):
        if local_files_only:
            return offline(name, allow_patterns=allow_patterns, local_files_only=True)
        assert "model*.safetensors" in allow_patterns and not any("bin" in one or "py" in one for one in allow_patterns)
        vit.save_pretrained(cached(cache[0], name))
        return str(cache[0] / "models--org--vit" / "snapshots" / COMMIT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", online)
    assert catalog.build("org/vit", 3).pretrained
    monkeypatch.setattr(hub, "has_weights", lambda _: False)
    with pytest.raises(ModelError, match="has no complete model.safetensors in the cache or on the Hub, and pickles"):
        hub.fetched("org/vit", Silent())


def test_model_of_timm_is_built_as_its_config_says(cache):
    pytest.importorskip("timm")
    from safetensors.torch import save_file

    net = catalog.build("timm:test_vit", 3).model
    snapshot = cached(cache[0], "timm/tiny")
    save_file(net.state_dict(), snapshot / "model.safetensors")
    stated = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}
    (snapshot / "config.json").write_text(json.dumps({"architecture": "test_vit", "pretrained_cfg": stated}))
    built = catalog.build("timm/tiny", 3)
    assert (built.mean, built.std, built.resize) == ((0.5,) * 3, (0.25,) * 3, 160)
    assert built.stated_by == "the folder's config.json" and built.digest and not built.new_head


def test_hub_model_is_refused_in_one_sentence_when_it_is_not_usable(cache, monkeypatch):
    with pytest.raises(UsageError, match="leave out the model arguments"):
        catalog.build("org/vit", 3, arguments={"width": 2})
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="requires the extra .transformers."):
        catalog.build("org/vit", 3)
