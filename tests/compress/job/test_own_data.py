"""Own data of every kind, all the way to a scored baseline: torch datasets and loaders, tables, several inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from certify.core.errors import DataError, ModelError, UsageError
from certify.core.progress import Silent
from certify.data import ArrayPreprocess, load
from compress import apply
from compress import load as load_checkpoint
from compress.job.context import make_context
from compress.job.job import Job
from compress.job.original import Request, find_original
from compress.job.recipe import parse
from compress.job.workspace import Workspace
from compress.passes.structured_prune import StructuredPrune

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
IMAGES = RANDOM.normal(size=(200, 3, 8, 8)).astype(np.float32)
IMAGES[:, 0] += 2 * Y[:, None, None]
NOTHING = "name: nothing\npasses:\n  - trim_kernels: {}\n"


class Photos(Dataset):
    """As torchvision's are: PIL images, or what a transform makes of them."""

    classes = ["dark", "light"]

    def __init__(self, transform=None):
        self.transform = transform

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        pixels = RANDOM.integers(0, 80, (32, 32, 3)) * 0 + i % 100 + 100 * Y[i]
        pixels[i % 32, i // 32] = 255
        image = Image.fromarray(pixels.astype(np.uint8))
        return (self.transform(image) if self.transform else image), int(Y[i])


class Separate(nn.Module):
    """Three inputs of different shapes and types."""

    def __init__(self):
        super().__init__()
        self.codes, self.table = nn.Embedding(4, 3), nn.Linear(6, 8)
        self.head = nn.Linear(8 + 3 + 5, 2)

    def forward(self, code, table, sound):
        return self.head(torch.cat([self.codes(code), self.table(table).relu(), sound.mean(1)], 1))


def table_net(outputs=2):
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs))
    with torch.no_grad():
        net[0].weight.zero_(), net[0].bias.zero_(), net[2].weight.zero_(), net[2].bias.zero_()
        net[0].weight[0, 0], net[0].weight[1, 0], net[2].weight[-1, 0], net[2].weight[-1, 1] = 1, -1, 1, -1
    return net


def image_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def job(net, data, folder, scale=None, recipe=NOTHING, preprocess=None):
    dataset = load(data).scaled(scale)
    original = find_original(Request(net, preprocess=preprocess), dataset, Silent())
    context = make_context(original, dataset, target=None, progress=Silent())
    return Job(original, parse(recipe, "r.yaml"), dataset, context, Workspace(folder, {}, Silent()), None).make()


def tensors(x=X, y=Y):
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


@pytest.mark.parametrize("kind", ["dataset", "loader", "transformed", "pair", "subset", "dict", "arrays", "npz"])
def test_table_reaches_a_scored_baseline_when_given_as(kind, tmp_path):
    np.savez(tmp_path / "t.npz", features=X, y=Y)
    whole = tensors()
    subsets = random_split(whole, [150, 50], torch.Generator().manual_seed(0))
    data = {
        "dataset": whole,
        "loader": DataLoader(whole, batch_size=16, shuffle=True),
        "transformed": (DataLoader(whole, batch_size=16), lambda batch: {"x": batch[0], "label": batch[1]}),
        "pair": tuple(subsets),
        "subset": {"train": subsets[0], "test": DataLoader(subsets[1], batch_size=7)},
        "dict": {"train": (X[:150], Y[:150]), "test": (X[150:], Y[150:])},
        "arrays": (X, Y),
        "npz": f"arrays:{tmp_path / 't.npz'}",
    }[kind]
    result = job(table_net(), data, tmp_path / "out")
    assert result.baseline_row.validation_accuracy == 1.0
    assert result.baseline.is_file()


def test_images_of_a_dataset_reach_a_scored_baseline_unchanged(tmp_path):
    def as_floats(image):
        return torch.from_numpy(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255 - 0.5)

    net = image_net()
    stated = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    for number, (data, preprocess) in enumerate(
        ((tensors(IMAGES), None), (Photos(as_floats), None), (Photos(), stated), ((IMAGES, Y), None))
    ):
        result = job(net, data, tmp_path / str(number), preprocess=preprocess)
        assert 0 <= result.baseline_row.validation_accuracy <= 1
    assert load(Photos()).classes == ("dark", "light") and load(Photos()).test.kind == "image"
    assert load(Photos(as_floats)).test.kind == "arrays"


def three_inputs(folder):
    sound = np.repeat(Y[:, None, None], 20, 1).astype(np.float32) + RANDOM.normal(size=(200, 20, 5)).astype(np.float32)
    arrays = {"sound": sound, "table": X.astype(np.float64), "code": np.arange(200) % 4}
    np.savez(folder / "three.npz", **arrays, y=Y)
    return arrays, f"arrays:{folder / 'three.npz'}"


def test_model_with_several_inputs_is_pruned_trained_and_exported_and_its_checkpoint_loads(tmp_path):
    arrays, spec = three_inputs(tmp_path)
    net = Separate()
    recipe = "name: r\npasses:\n  - finetune: {epochs: 6, lr: 0.05, batch: 16}\n  - quantize_static: {samples: 32}\n"
    result = job(net, spec, tmp_path / "out", recipe=recipe)
    accuracies = [row.validation_accuracy for row in result.rows]
    assert accuracies[0] > 0.8 and accuracies[1] > 0.8, accuracies
    again = load_checkpoint(result.checkpoint["model.safetensors"], into=net)
    fed = [torch.from_numpy(arrays["code"]), torch.from_numpy(X), torch.from_numpy(arrays["sound"])]
    assert float((again(*fed).argmax(1).numpy() == Y).mean()) > 0.8
    rounded = job(net, spec, tmp_path / "qat", recipe="name: r\npasses:\n  - qat: {epochs: 1}\n")
    assert "several arrays" in rounded.rows[0].record["declined"][0]["why"]
    tuples = TensorDataset(*fed, torch.from_numpy(Y))
    assert job(net, tuples, tmp_path / "tuples").baseline_row.validation_accuracy is not None


def test_regression_is_trained_and_scored_by_its_scale(tmp_path):
    y = (3 * X[:, 0]).astype(np.float32)
    prune = "structured_prune: {macs: 0.8, round_to: 1, importance: taylor}"
    recipe = f"name: r\npasses:\n  - {prune}\n  - distill: {{epochs: 2}}\n"
    result = job(table_net(1), tensors(y=y), tmp_path / "out", scale=6.0, recipe=recipe)
    assert result.baseline_row.validation_accuracy == pytest.approx(
        1 - np.abs(2 * X[:, 0]).clip(max=6).mean() / 6, abs=0.1
    )
    assert result.rows[-1].validation_accuracy > result.baseline_row.validation_accuracy
    with pytest.raises(DataError, match="regression:SCALE"):
        load(tensors(y=y)).scaled(None)
    with pytest.raises(ModelError, match="2 output.s., but the data has one number per sample"):
        job(table_net(2), tensors(y=y), tmp_path / "two", scale=6.0)


def test_single_output_for_two_classes_is_a_logit_unless_it_could_be_a_probability(tmp_path):
    recipe = "name: r\npasses:\n  - distill: {epochs: 1}\n"
    result = job(table_net(1), tensors(), tmp_path / "logit", recipe=recipe)
    assert result.baseline_row.validation_accuracy == 1.0 and result.rows[0].validation_accuracy > 0.9
    sigmoid = nn.Sequential(table_net(1), nn.Sigmoid())
    with pytest.raises(UsageError, match="one output for two classes"):
        job(sigmoid, tensors(), tmp_path / "unsaid")
    contract = ArrayPreprocess(("x",), ((6,),), ("float32",), "output", "probabilities")
    assert job(sigmoid, tensors(), tmp_path / "said", preprocess=contract).baseline_row.validation_accuracy == 1.0


def test_file_accepts_arrays_without_a_contract_when_unambiguous(tmp_path):
    for name, net in (("two", table_net(2)), ("one", table_net(1))):
        torch.onnx.export(net, (torch.zeros(2, 6),), tmp_path / f"{name}.onnx", dynamo=False, input_names=["features"],
                          dynamic_axes={"features": {0: "n"}})  # fmt: skip
    result = job(tmp_path / "two.onnx", (X.astype(np.float64), Y), tmp_path / "out")
    assert result.baseline_row.validation_accuracy == 1.0
    with pytest.raises(UsageError, match="one output for two classes"):
        job(tmp_path / "one.onnx", (X, Y), tmp_path / "one")


def test_model_and_arrays_are_refused_before_the_work_when_they_do_not_fit(tmp_path):
    _, spec = three_inputs(tmp_path)
    with pytest.raises(ModelError, match="input"):
        job(table_net(), spec, tmp_path / "three")
    with pytest.raises(ModelError, match="6 features and gets 3"):
        job(table_net(), (X[:, :3], Y), tmp_path / "narrow")
    with pytest.raises(ModelError, match="resnet18 does not take samples of 6"):
        job("resnet18", (X, Y), tmp_path / "images")


def test_single_pass_accepts_own_data():
    pruned, record = apply(StructuredPrune(macs=0.6, round_to=1), table_net(), tensors())
    assert record.done["macs_share"] <= 0.6 and pruned(torch.zeros(1, 6)).shape == (1, 2)
