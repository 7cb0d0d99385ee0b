"""Tiny random BERT, DistilBERT, ViT and DeiT from folders: built, exported, compressed, sealed, verified."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch

from certify.core.errors import ModelError, UsageError
from certify.data import Dataset, Preprocess, TokenPreprocess, default_preprocess
from certify.data.own_data import from_mapping
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import model_stats
from compress.exchange import checkpoint
from compress.exchange.onnx_export import ExportRecord, export
from compress.exchange.parity import run_onnx
from compress.models import catalog
from compress.models.adaptation import adapt_input
from compress.models.built_model import BuiltModel
from compress.models.tokens import TokenClassifier, as_classifier
from compress.training.training import TrainingConfig, evaluate, train

transformers = pytest.importorskip("transformers")

LENGTH, VOCABULARY, CLASSES = 10, 40, 3
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
}  # fmt: skip
TEXT: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": LENGTH + 2, "num_labels": CLASSES}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SMALL, **TEXT),
    "distilbert": lambda: transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **TEXT),
    "vit": lambda: transformers.ViTConfig(image_size=16, patch_size=8, num_labels=CLASSES, **SMALL),
    "deit": lambda: transformers.DeiTConfig(image_size=16, patch_size=8, num_labels=CLASSES, architectures=[], **SMALL),
}


class Exported(NamedTuple):
    built: BuiltModel
    contract: Preprocess
    path: Path
    record: ExportRecord


INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(autouse=True, scope="module")
def quiet():
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each architecture, as the library saves it, and one of an encoder without a classifier."""
    root = tmp_path_factory.mktemp("folders")
    torch.manual_seed(0)
    for name, config in CONFIGS.items():
        kind = "Image" if name in ("vit", "deit") else "Sequence"
        family = getattr(transformers, f"AutoModelFor{kind}Classification")
        family.from_config(config()).save_pretrained(root / name)
    transformers.BertModel(CONFIGS["bert"]()).save_pretrained(root / "encoder")
    sentence = shutil.copytree(root / "encoder", root / "sentence")
    (sentence / "1_Pooling").mkdir()
    (sentence / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return root


@pytest.fixture(scope="module")
def texts() -> Dataset:
    """Words as often as Zipf's law says; one word of three stands in each text and is its class."""
    random = np.random.default_rng(0)
    y = np.arange(480) % CLASSES
    tokens = 5 + np.minimum(random.zipf(1.6, (len(y), LENGTH)), VOCABULARY - 6)
    tokens[:, 0] = 1
    tokens[np.arange(len(y)), random.integers(1, 5, len(y))] = 2 + y
    mask = np.arange(LENGTH) < random.integers(5, LENGTH + 1, (len(y), 1))
    return from_mapping({"input_ids": tokens, "attention_mask": mask.astype(int), "y": y}, "texts", "tests:texts", 0)


@pytest.fixture(scope="module")
def images() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    data = from_mapping({"x": pixels, "y": np.arange(60) % CLASSES}, "images", "tests:images", 0)
    return replace(data, input_size=(16, 16))


def contract_of(built: BuiltModel, texts: Dataset, images: Dataset) -> Preprocess:
    return default_preprocess(images) if built.tokens is None else built.tokens.contract(texts)


@pytest.fixture(scope="module")
def exported(
    folders: Path, texts: Dataset, images: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """Builds and exports the model of a folder, once."""
    out = tmp_path_factory.mktemp("exported")

    @functools.cache
    def make(name: str) -> Exported:
        built = catalog.build(f"hf:{folders / name}", CLASSES)
        assert (built.pretrained, built.new_head, built.needs_training) == (True, False, False)
        contract = contract_of(built, texts, images)
        record = export(built.model, contract, out / f"{name}.onnx", classes=CLASSES)
        return Exported(built, contract, out / f"{name}.onnx", record)

    return make


@pytest.mark.parametrize("name", CONFIGS)
def test_file_agrees_with_the_library_when_exported_from_a_folder(
    name: str, exported: Callable[[str], Exported], texts: Dataset, images: Dataset
) -> None:
    built, contract, path, record = exported(name)
    assert record.exporter == "dynamo" and record.parity.holds
    split = images.test if built.tokens is None else texts.test
    fed = contract.feed(split, range(5))
    ports = {port.name: port.type.tensor_type.shape.dim for port in onnx.load(path).graph.input}
    assert list(ports) == list(fed) and all(dims[0].dim_param == "batch" for dims in ports.values())
    keys = ["pixel_values"] if built.tokens is None else built.tokens.names
    named = {key: torch.from_numpy(values) for key, values in zip(keys, fed.values(), strict=True)}
    with torch.inference_mode():
        wanted = built.model.get_submodule("model")(**named).logits.numpy()
    assert np.allclose(run_onnx(path, contract.batch(split, range(5))), wanted, atol=1e-5)
    counts = count(load_model(path))
    assert counts.counted_share == 1.0
    assert counts.macs == model_stats.count_macs(built.model, torch.from_numpy(contract.batch(split, [0])))


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_file_ignores_padding_when_the_mask_says_so(
    name: str, exported: Callable[[str], Exported], texts: Dataset
) -> None:
    _, contract, path, _ = exported(name)
    samples = contract.batch(texts.test, range(20))
    wanted, other = run_onnx(path, samples), samples.copy()
    other[:, 0] = np.where(samples[:, 1] == 0, 7, samples[:, 0])
    assert np.allclose(run_onnx(path, other), wanted, atol=1e-6)
    other[:, 1] = 1
    assert not np.allclose(run_onnx(path, other), wanted, atol=1e-6)


def test_head_is_new_when_the_data_have_other_classes(folders: Path) -> None:
    same, other = (catalog.build(f"hf:{folders / 'vit'}", classes) for classes in (CLASSES, 5))
    assert (other.pretrained, other.new_head) == (True, True)
    kept, fresh = same.model.state_dict(), other.model.state_dict()
    assert {key for key in kept if kept[key].shape != fresh[key].shape} == {
        "model.classifier.weight", "model.classifier.bias"
    }  # fmt: skip
    assert all(torch.equal(kept[key], fresh[key]) for key in kept if "classifier" not in key)
    mapped = catalog.build(f"hf:{folders / 'vit'}", 2, class_map=(2, 0))
    assert (mapped.uses_class_map, mapped.new_head, mapped.source.classes) == (True, False, CLASSES)


@pytest.mark.parametrize("name", ["encoder", "sentence"])
def test_encoder_gets_a_classifier_when_it_has_none(name: str, folders: Path, texts: Dataset) -> None:
    built = catalog.build(f"hf:{folders / name}", CLASSES, seed=3)
    assert built.new_head and built.needs_training and built.tokens is not None
    again = catalog.build(f"hf:{folders / name}", CLASSES, seed=3).model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in built.model.state_dict().items())
    if name == "sentence":
        inner = built.model.get_submodule("model")
        samples = torch.from_numpy(contract_of(built, texts, texts).batch(texts.test, range(3)))
        with torch.inference_mode():
            embedded = inner.embed(*samples.unbind(1))
            tokens = inner.encoder(**dict(zip(INPUTS, samples.unbind(1), strict=True))).last_hidden_state
        means = [row[mask == 1].mean(0) for row, mask in zip(tokens, samples[:, 1], strict=True)]
        assert torch.allclose(embedded, torch.stack(means), atol=1e-6)


def test_weights_are_random_when_the_folder_has_none(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folders / "bert" / "config.json").read_text())
    built = catalog.build(f"hf:{tmp_path}", CLASSES, seed=1)
    assert (built.pretrained, built.origin) == (False, "random weights, seed 1")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    assert catalog.build(f"hf:{tmp_path}", CLASSES, seed=1).digest != built.digest
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
    with pytest.raises(ModelError, match="config of 'bert' does not build a model"):
        catalog.build(f"hf:{tmp_path}", CLASSES)


def test_folder_states_which_images_it_takes(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "vit", tmp_path, dirs_exist_ok=True)
    stated = {
        "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3, "do_center_crop": True,
        "size": {"height": 20, "width": 20}, "crop_size": {"height": 16, "width": 16},
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    built = catalog.build(f"hf:{tmp_path}", CLASSES)
    assert (built.mean, built.std, built.interpolation) == ((0.5,) * 3, (0.25,) * 3, "bicubic")
    assert (built.resize, built.input_size) == (20, (16, 16)) and built.stated_by == "preprocessor_config.json"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 16, "do_normalize": False}))
    built = catalog.build(f"hf:{tmp_path}", CLASSES)
    assert (built.mean, built.std, built.resize, built.input_size) == ((0.0,) * 3, (1.0,) * 3, "exact", (16, 16))
    assert catalog.build(f"hf:{folders / 'vit'}", CLASSES).stated_by is None
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_center_crop": True, "crop_size": "x"}))
    with pytest.raises(ModelError, match="is not a valid image processor"):
        catalog.build(f"hf:{tmp_path}", CLASSES)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"config.json": None}, ModelError, "file not found; hf:PATH must be a folder"),
        ({"config.json": "{"}, ModelError, "cannot be read as JSON"),
        ({"config.json": "{}"}, ModelError, "has no model_type"),
        ({"config.json": '{"model_type": "brt"}'}, UsageError, "did you mean"),
        ({"config.json": '{"model_type": "sam"}'}, ModelError, "no text or image classifier"),
        ({"model.safetensors": None, "pytorch_model.bin": "x"}, ModelError, "a pickle, which is not read"),
        ({"model.safetensors": "x"}, ModelError, "cannot be loaded"),
    ],
)
def test_folder_is_refused_in_one_sentence_when_it_is_something_else(
    changed: dict[str, str | None], error: type[Exception], words: str, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / "bert", tmp_path, dirs_exist_ok=True)
    for name, content in changed.items():
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text(content)
    with pytest.raises(error, match=words):
        catalog.build(f"hf:{tmp_path}", CLASSES)


def test_folder_is_refused_when_weights_of_the_encoder_are_missing(folders: Path, tmp_path: Path) -> None:
    import safetensors.torch

    shutil.copytree(folders / "bert", tmp_path, dirs_exist_ok=True)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del state["bert.encoder.layer.1.output.dense.weight"]
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lack bert.encoder.layer.1.output.dense.weight and 0 others"):
        catalog.build(f"hf:{tmp_path}", CLASSES)
    with pytest.raises(UsageError, match="leave out the weights"):
        catalog.build(f"hf:{tmp_path}", CLASSES, weights="other.safetensors")


def test_training_learns_from_text_under_a_teacher(folders: Path, texts: Dataset, images: Dataset) -> None:
    """The teacher has one input less; the words that tell the classes are learnt in some epochs."""
    student = catalog.build(f"hf:{folders / 'encoder'}", CLASSES)
    teacher = catalog.build(f"hf:{folders / 'distilbert'}", CLASSES)
    contract = contract_of(student, texts, texts)
    config = TrainingConfig(epochs=12, batch=16, lr=3e-3, alpha=0.02)
    train(student.model, texts, contract, config, teacher=adapt_input(teacher, contract))
    assert evaluate(student.model, texts.validation, contract).accuracy > 0.9
    with pytest.raises(ModelError, match="takes tokens, but the preprocessing contract makes images"):
        adapt_input(teacher, default_preprocess(images))
    fewer = contract_of(teacher, texts, texts)
    with pytest.raises(ModelError, match="takes input_ids, attention_mask, token_type_ids, but the preprocessing"):
        adapt_input(student, fewer)
    assert isinstance(contract, TokenPreprocess)
    with pytest.raises(ModelError, match="was made for a different tokenizer"):
        adapt_input(teacher, replace(contract, vocabulary=VOCABULARY + 1))


def test_checkpoint_builds_the_model_again_when_it_came_from_a_folder(folders: Path, tmp_path: Path) -> None:
    for name in ("bert", "deit", "sentence"):
        built = catalog.build(f"hf:{folders / name}", CLASSES)
        checkpoint.save(tmp_path / f"{name}.safetensors", built.model, built.source)
        state = checkpoint.load(tmp_path / f"{name}.safetensors").state_dict()
        assert all(torch.equal(value, state[key]) for key, value in built.model.state_dict().items())


def test_module_of_the_library_is_wrapped_when_given_directly() -> None:
    config = CONFIGS["distilbert"]()
    wrapped = as_classifier(transformers.AutoModelForSequenceClassification.from_config(config))
    assert isinstance(wrapped, TokenClassifier)
    assert (wrapped.takes.names, wrapped.takes.longest) == (INPUTS[:2], LENGTH + 2)
    assert as_classifier(wrapped) is wrapped


@pytest.mark.usefixtures("hasty")
def test_text_works_end_to_end_when_a_bert_is_compressed(
    folders: Path, texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certify
    from certify.core.evidence_file import read_evidence
    from certify.data.contract_slot import stored_contract
    from certify.measure.plan import Plan
    from compress.job.pipeline import run
    from compress.job.recipe import Recipe

    for kind in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"LEANMARK_{kind}_HOME", str(tmp_path / kind))
    (tmp_path / "quick.yaml").write_text(
        "name: quick\ndescription: int8\npasses:\n  - quantize_static: {samples: 32}\n"
    )
    plan = Plan(window_s=0.05, time_limit_s=0.01, min_blocks=2, yardstick=False, threads=1)
    result = run(f"hf:{folders / 'bert'}", tmp_path / "quick.yaml", texts, out=tmp_path / "out", plan=plan)
    assert isinstance(result.recipe, Recipe)
    done = result.lineage.rows[0].record["done"]
    assert done["quantized"] + done["kept_float"] == 14 and done["quantized"] >= 12
    sealed = result.files["model.onnx"]
    assert {"Softmax", "LayerNormalization", "Gelu"} <= {node.op_type for node in load_model(sealed).graph.node}
    contract = stored_contract(sealed)
    assert isinstance(contract, TokenPreprocess) and contract.input_names == INPUTS
    samples = contract.batch(texts.test, range(100))
    wanted, given = (run_onnx(path, samples) for path in (tmp_path / "out" / "baseline.onnx", sealed))
    assert ((wanted * given).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(given, axis=1)).min() > 0.99
    observed = {seen.name: seen.values for seen in read_evidence(result.files["evidence.jsonl"]).observations}
    assert observed["interfaces"]["candidate"]["input"] == [1, LENGTH]
    assert observed["inputs"]["repetition"] > 2 and observed["inputs"]["neighbour_correlation"] is None
    assert next(guard for guard in result.profile.guards if guard.name == "inputs_real").outcome == "pass"
    assert observed["quantization"]["candidate"]["intended"] == done["quantized"]
    verified = certify.verify(sealed)
    assert verified.valid, verified
    changed = sealed.read_bytes().replace(b'"pad_id":0', b'"pad_id":1', 1)
    sealed.write_bytes(changed)
    assert not certify.verify(sealed).valid
