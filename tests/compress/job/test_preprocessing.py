"""The preprocessing of weights of the user's own: stated by the user or the model, never guessed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from torch import nn

from certify.core.errors import UsageError
from certify.core.progress import Silent
from certify.data import default_preprocess
from compress.exchange.checkpoint import CHECKPOINT
from compress.job import pipeline
from compress.job.original import Request, find_original
from compress.models import catalog

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
TIMM = {"input_size": (3, 40, 40), "mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bicubic", "crop_pct": 0.8}
PROCESSOR = {
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.25] * 3,
    "size": {"height": 40, "width": 40},
}


@pytest.fixture
def own(tmp_path, monkeypatch, dataset):
    """A factory and its weights in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net_of_test.py").write_text(
        "from compress.testing.networks import Residual\n\ndef net(num_classes, width=16):\n"
        "    return Residual(num_classes, width)\n"
    )
    torch.save(catalog.build("own_net_of_test:net", len(dataset.classes)).model.state_dict(), "own.pth")
    torch.save(catalog.build("squeezenet1_1", len(dataset.classes)).model.state_dict(), "squeeze.pth")
    return "own_net_of_test:net"


def image_file(folder, shape, outputs=1):
    """A file without a contract that sums its input up, and so many times."""
    names = [f"out{number}" for number in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["pixels"], [name], keepdims=0) for name in names],
        "sums",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in names],
    )
    onnx.save(helper.make_model(graph), folder / "sums.onnx")
    return folder / "sums.onnx"


def found(dataset, given, weights=None, preprocess=None, arguments=None):
    return find_original(Request(given, weights, preprocess, arguments=arguments), dataset, Silent())


def test_mean_and_std_are_never_guessed_when_weights_are_the_users(own, model, dataset):
    for given, weights in ((own, "own.pth"), (own, None), ("squeezenet1_1", "squeeze.pth"), (model, None)):
        for stated, lacks in (({}, "mean and std"), ({"mean": [0.5] * 3}, "std"), ({"scale": 1.0}, "mean and std")):
            with pytest.raises(
                UsageError, match=f"does not state the {lacks} .*--mean .* --std .*--preprocess"
            ) as raised:
                found(dataset, given, weights, stated)
            assert raised.value.exit_code == 2
        contract = found(dataset, given, weights, HALF).preprocess
        assert (contract.mean, contract.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (("n", 3, 24, 40), {"layout": "NCHW", "height": 24, "width": 40, "colour": "RGB"}),
        (("n", 24, 40, 3), {"layout": "NHWC", "height": 24, "width": 40, "colour": "RGB"}),
        ((1, 1, 28, 28), {"layout": "NCHW", "height": 28, "width": 28, "colour": "L"}),
    ],
)
def test_ports_fill_the_contract_when_an_onnx_file_has_none(tmp_path, dataset, shape, told):
    path, pixels = image_file(tmp_path, shape), {name: [0.5] * (3 if told["colour"] == "RGB" else 1) for name in HALF}
    with pytest.raises(UsageError, match=r"does not state the std .*--preprocess"):
        found(dataset, path, preprocess={"mean": pixels["mean"]})
    original = found(dataset, path, preprocess=pixels)
    told |= {"input_name": "pixels", "output_name": "out0", "resize": "exact"}
    assert told.items() <= original.preprocess.to_json().items()
    assert original.stated == "mean, std as given; from the file; the rest by default"
    assert found(dataset, path, preprocess={**pixels, "height": 20}).preprocess.height == 20


def test_output_must_be_named_when_an_onnx_file_has_two(tmp_path, dataset):
    path = image_file(tmp_path, ("n", 3, 24, 24), outputs=2)
    with pytest.raises(UsageError, match="does not have exactly one output; choose one with --output-name"):
        found(dataset, path, preprocess=HALF)
    assert found(dataset, path, preprocess={**HALF, "output_name": "out1"}).preprocess.output_name == "out1"


def test_whole_contract_replaces_one_in_the_file_that_cannot_be_read(tmp_path, dataset):
    path = image_file(tmp_path, ("n", 3, 24, 24))
    whole = found(dataset, path, preprocess=HALF).preprocess.to_json()
    file = onnx.load(path)
    file.metadata_props.add(key="leanmark.preprocess", value="{}")
    onnx.save(file, path)
    with pytest.raises(UsageError, match=r"--preprocess FILE.yaml replaces it\): the contract lacks the key"):
        found(dataset, path, preprocess=HALF)
    assert found(dataset, path, preprocess=whole).preprocess.to_json() == whole


def test_architecture_trained_here_has_defaults(dataset):
    original = found(dataset, "squeezenet1_1")
    assert original.preprocess == default_preprocess(dataset) and original.stated == "the rest by default"


def test_fields_override_the_defaults_when_a_yaml_file_states_some(own, dataset, tmp_path):
    (tmp_path / "c.yaml").write_text("mean: [0.5, 0.5, 0.5]\nstd: [0.5, 0.5, 0.5]\nheight: 48\n")
    original = found(dataset, own, "own.pth", tmp_path / "c.yaml")
    assert original.stated == "mean, std, height from c.yaml; the rest by default"
    assert (original.preprocess.height, original.preprocess.width, original.preprocess.colour) == (48, 32, "RGB")
    (tmp_path / "c.yaml").write_text("mean: [0.5]\nstd: [0.5, 0.5, 0.5]\n")
    with pytest.raises(UsageError, match="c.yaml, line 1: mean has 1 value, but"):
        found(dataset, own, "own.pth", tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("given", "resize"),
    [
        (TIMM, 50),
        (PROCESSOR, "exact"),
        (SimpleNamespace(to_dict=lambda: PROCESSOR), "exact"),
        ({**PROCESSOR, "image_mean": [0.0] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5}, "exact"),
        (torchvision.models.ResNet18_Weights.DEFAULT.transforms(crop_size=40, resize_size=50, mean=(0.5,) * 3), 50),
    ],
)
def test_description_from_another_library_sets_the_contract_when_given(given, resize, model, dataset):
    contract = found(dataset, model, preprocess=given).preprocess
    assert (contract.height, contract.width, contract.resize) == (40, 40, resize)
    if "rescale_factor" in str(given):
        assert (contract.mean, contract.std) == ((0.0,) * 3, (0.25,) * 3)
    else:
        assert contract.mean == (0.5,) * 3
    assert contract.crop == ("none" if resize == "exact" else "center")


def test_module_states_its_contract_when_it_has_a_description(model, dataset):
    model.pretrained_cfg = TIMM
    original = found(dataset, model)
    assert original.preprocess.std == (0.25,) * 3 and "the model's pretrained_cfg" in original.stated
    stated = found(dataset, model, preprocess=HALF)
    assert stated.preprocess.std == (0.5,) * 3 and stated.preprocess.interpolation == "bicubic"


def test_preprocess_is_refused_when_it_is_something_else(model, dataset):
    for given in (3, nn.Identity()):
        with pytest.raises(UsageError, match="'preprocess' parameter must be a contract, a YAML file"):
            found(dataset, model, preprocess=given)
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        found(dataset, model, preprocess={**HALF, "maen": 3})


def test_data_have_no_default_when_the_model_or_its_weights_are_given(own, model, tmp_path):
    for given, weights in ((own, None), (model, None), ("squeezenet1_1", "DEFAULT"), ("hf:folder", None)):
        with pytest.raises(UsageError, match="no default data.*--data imagefolder:PATH"):
            pipeline.run(given, weights=weights)
    with pytest.raises(UsageError, match="write own_net_of_test:net"):
        pipeline.run("own_net_of_test.py:net")
    assert Request("squeezenet1_1").data(None) == "mnist5k"
    assert not (tmp_path / "build").exists()


class Stop(Exception):
    pass


def test_first_line_names_everything_that_a_job_starts_from(own, dataset, monkeypatch):
    said = []

    class Heard(Silent):
        def say(self, sentence):
            said.append(sentence)

    monkeypatch.setattr(pipeline.Job, "make", lambda _: (_ for _ in ()).throw(Stop))
    dataset = replace(dataset, set_aside=("validation",))
    torch.save(catalog.build(own, 4, arguments={"width": 8}).model.state_dict(), "thin.pth")
    with pytest.raises(Stop):
        pipeline.run(own, "int8", dataset, "thin.pth", preprocess=HALF, model_args={"width": 8}, progress=Heard())
    for part in (
        f"{own}(width=8) (weights from thin.pth (SHA-256 ",
        " (train 128, calibration 48, validation 48, test 64)",
        "32 x 32 RGB, resize exact, crop none, interpolation bilinear, scale 255, mean 0.5,0.5,0.5, std 0.5,0.5,0.5",
        "(mean, std as given; the rest by default); recipe int8; folder build/net.",
    ):
        assert part in said[0], said[0]
    assert "validation samples were set aside at random from samples that this model may have been trained" in said[1]
    with pytest.raises(Stop):  # trained here, on the rest alone
        pipeline.run("squeezenet1_1", "int8", dataset, progress=Heard())
    assert "set aside" not in said[-1]


def test_model_arguments_are_refused_when_no_factory_takes_them(own, model, dataset):
    with pytest.raises(UsageError, match="Model arguments need a factory by name"):
        found(dataset, model, preprocess=HALF, arguments={"width": 2})
    with pytest.raises(UsageError, match="must be JSON values"):
        found(dataset, own, preprocess=HALF, arguments={"width": CHECKPOINT.encode()})
