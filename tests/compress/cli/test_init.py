"""``leanmark init``: the files that a user begins with."""

from __future__ import annotations

import re
import shutil

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from certify.core.errors import DataError, NotPermittedError, UsageError
from certify.data import Preprocess, default_preprocess
from certify.data.contract_slot import normalise
from compress.cli import init
from compress.job import recipe


def _init(tmp_path, model, data="npz:absent.npz", *more):
    arguments = [str(model), "--data", data, "--out", str(tmp_path / "job"), *more]
    return CliRunner().invoke(init.command, arguments, catch_exceptions=False).output


@pytest.fixture
def photos(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            PIL.Image.fromarray(np.zeros((300, 200, 3), np.uint8)).save(tmp_path / "photos" / part / name / "1.png")
    return f"imagefolder:{tmp_path / 'photos'}"


@pytest.mark.parametrize("name", recipe.names())
def test_written_recipe_equals_the_shipped_one_when_read_back(tmp_path, name):
    _init(tmp_path, "own.nets:make", "npz:absent.npz", "--recipe", name)
    text = (tmp_path / "job" / "recipe.yaml").read_text()
    assert recipe.load(tmp_path / "job" / "recipe.yaml").passes == recipe.load(name).passes
    assert recipe.load(tmp_path / "job" / "recipe.yaml").budget == recipe.load(name).budget
    for each in recipe.load(name).passes:
        assert f"- {each.name}" in text


def test_contract_leaves_training_preprocessing_open_when_the_network_is_the_users(tmp_path, photos):
    said = _init(tmp_path, "absent_package.nets:make", photos)
    path = tmp_path / "job" / "preprocess.yaml"
    assert "fill in mean, std." in said
    written = path.read_text()
    shutil.rmtree(tmp_path / "job")
    _init(tmp_path, "absent_package.nets:make", photos.removeprefix("imagefolder:"))
    assert path.read_text() == written
    with pytest.raises(UsageError, match="mean"):
        Preprocess.from_yaml(path)
    filled = re.sub("# OPEN (mean|std):", r"\1: [0.5, 0.5, 0.5]", path.read_text())
    path.write_text(filled)
    contract = Preprocess.from_yaml(path)
    assert (contract.height, contract.resize, contract.mean) == (224, 256, (0.5, 0.5, 0.5))


def test_contract_is_the_default_of_compress_when_the_model_is_from_torchvision(tmp_path, photos, dataset):
    assert "fill in" not in _init(tmp_path, "resnet18", photos)
    contract = Preprocess.from_yaml(tmp_path / "job" / "preprocess.yaml")
    usual = default_preprocess(dataset)
    assert (contract.mean, contract.std, contract.scale) == (usual.mean, usual.std, usual.scale)


def test_one_image_is_opened_when_the_data_are_a_folder(tmp_path, photos, monkeypatch):
    opened = []
    monkeypatch.setattr(PIL.Image, "open", lambda path, real=PIL.Image.open: opened.append(path) or real(path))
    _init(tmp_path, "absent_package.nets:make", photos)
    assert len(opened) == 1


def test_ports_of_an_onnx_file_are_in_its_contract(tmp_path, onnx_file, dataset):
    said = _init(tmp_path, onnx_file)
    text = (tmp_path / "job" / "preprocess.yaml").read_text()
    assert "input_name: input " in text
    assert f"height: {dataset.input_size[0]} " in text
    assert "fill in colour, scale, mean, std" in said
    assert "quantize_static" in (tmp_path / "job" / "recipe.yaml").read_text()


def test_no_contract_is_written_when_the_file_has_one(tmp_path, onnx_file, dataset):
    normalise(onnx_file, tmp_path / "net.onnx", default_preprocess(dataset))
    assert "no contract is needed" in _init(tmp_path, tmp_path / "net.onnx")
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"recipe.yaml"}


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("resnet118", "npz:x.npz", "did you mean 'resnet18'"),
        ("own.nets:make", "imagefolder:absent", "no images found in this folder"),
    ],
)
def test_nothing_is_written_when_input_is_invalid(tmp_path, monkeypatch, model, data, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, DataError), match=words):
        _init(tmp_path, model, data)
    assert not (tmp_path / "job").exists()


def test_files_are_kept_when_they_exist(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "preprocess.yaml").write_text("mine")
    with pytest.raises(UsageError, match=r"preprocess\.yaml already exists; choose another folder"):
        _init(tmp_path, "own.nets:make")
    assert [path.read_text() for path in (tmp_path / "job").iterdir()] == ["mine"]


def test_columns_of_a_table_are_listed_in_place_of_a_contract(tmp_path):
    lines = [f"{20 + i},{('clerk', 'cook')[i % 2]},{'fm'[i % 3 == 0]},{i % 2}" for i in range(60)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["age,job,sex,income", *lines]) + "\n")
    said = _init(tmp_path, "own.nets:make", f"csv:{path},label=income,group=sex")
    assert "3 inputs: age, job=clerk, job=cook\n" in said and "2 classes: 0, 1\ngroups: sex\n" in said
    assert re.search(r"rows: \d+ train, \d+ calibration, 6 validation, 18 test\n", said)
    assert "no contract is needed" in said and {path.name for path in (tmp_path / "job").iterdir()} == {"recipe.yaml"}


def test_table_is_not_listed_when_its_policy_does_not_permit_it(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("a,b\n1,2\n")
    (tmp_path / "people.csv.use").mkdir()
    with pytest.raises(NotPermittedError, match="--purpose"):
        _init(tmp_path, "own.nets:make", f"csv:{path},label=b")
    assert not (tmp_path / "job").exists()
