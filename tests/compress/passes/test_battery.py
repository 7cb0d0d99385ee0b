"""The common battery: what holds of every registered pass."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from certify.data import default_preprocess
from certify.errors import UsageError
from certify.files import sha256_file
from compress import passes
from compress.core.model_stats import state_digest
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.job import recipe
from compress.passes import PassData, PassRecord

SHORT = {
    "distill": {"epochs": 1},
    "finetune": {"epochs": 1},
    "low_rank": {"energy": 0.5},
    "nm_sparsity": {"epochs": 1, "force": True},
    "half": {"samples": 16},
    "qat": {"epochs": 1, "samples": 16, "calibration": "minmax"},
    "quantize_dynamic": {"least_share": 0},
    "quantize_static": {"samples": 16},
    "quantize_weights": {"block": 16},
    "structured_prune": {"round_to": 4},
}
"""Parameters that make a pass quick; a pass without an entry runs with its defaults."""

EVERY = pytest.mark.parametrize("name", passes.names())


def _made(name):
    return passes.find(name)(**SHORT.get(name, {}))


class Narrow(torch.nn.Module):
    """Ends in a feature map of one value, which three quarters and more of its last kernel can't reach."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 8, 8)
        self.second = torch.nn.Conv2d(8, 8, 3, 4, 1)
        self.third = torch.nn.Conv2d(8, 8, 3, 1, 1)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.third(torch.relu(self.second(torch.relu(self.first(x))))).flatten(1))


@pytest.fixture(scope="session")
def narrow(dataset, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("narrow") / "float.onnx"
    export(Narrow().eval(), default_preprocess(dataset), path, classes=4)
    return path


@pytest.fixture
def context(request, context, deep):
    """The original is the net that the pass is tried on."""
    tried = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    return replace(context, teacher=deep) if tried == "depth_prune" else context


@pytest.fixture
def given(name, model, onnx_file, narrow, deep):
    """What the pass is tried on: a net that it has something to do with."""
    if name == "trim_kernels":
        return shutil.copy(narrow, onnx_file)
    if name == "depth_prune":
        return deep
    return onnx_file if passes.find(name).stage == "onnx" else model


def _digest(model):
    return sha256_file(model) if isinstance(model, Path) else state_digest(model)


@EVERY
def test_pass_states_what_it_is(name):
    kind = passes.find(name)
    text, parameters = passes.describe(name)
    assert kind.name == name
    assert kind.version >= 1
    assert kind.stage in ("torch", "onnx")
    assert "When not to use it:" in text
    assert "Paper" in text
    assert all(parameter.description for parameter in parameters)


@EVERY
def test_pass_leaves_its_input_untouched_and_records_what_it_did(name, given, context):
    model = given
    before = _digest(model)
    teacher = state_digest(context.teacher)
    made, record = _made(name).apply(model, context)
    assert _digest(model) == before
    assert state_digest(context.teacher) == teacher
    assert made is not model
    assert isinstance(record, PassRecord)
    assert record.changed
    assert _digest(made) != before
    assert all(declined.what and declined.why for declined in record.declined)
    assert json.loads(json.dumps(record.to_json(), allow_nan=False)) == record.to_json()


@EVERY
def test_pass_gives_the_same_model_when_run_twice_with_one_seed(name, given, context, tmp_path):
    model = given
    digests = []
    for _ in range(2):
        torch.manual_seed(len(digests))  # the global generator must not matter
        np.random.seed(len(digests))
        digests.append(_digest(_made(name).apply(model, context)[0]))
    assert digests[0] == digests[1]


@EVERY
def test_pass_leaves_the_global_generator_alone(name, given, context):
    model = given
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    _made(name).apply(model, context)
    assert torch.equal(torch.rand(4), wanted)


@EVERY
def test_result_exports_and_runs_with_any_batch(name, given, context, tmp_path):
    made, _ = _made(name).apply(given, context)
    if not isinstance(made, Path):
        path = tmp_path / "exported.onnx"
        export(made, context.preprocess, path, classes=4)
        made = path
    samples = context.sample(5).numpy()
    assert run_onnx(made, samples).shape == (5, 4)


@EVERY
def test_pass_leaves_no_other_files(name, given, context):
    before = set(context.workspace.rglob("*"))
    made, _ = _made(name).apply(given, context)
    assert set(context.workspace.rglob("*")) - before == ({made} if isinstance(made, Path) else set())


@EVERY
def test_bad_config_is_refused_with_one_sentence(name):
    with pytest.raises(UsageError) as error:
        recipe.parse(f"passes:\n  - {name}:\n      no_such_parameter: 1\n", "r.yaml")
    assert str(error.value).count("\n") == 0
    assert "no_such_parameter" in str(error.value)


@EVERY
def test_config_is_frozen(name):
    with pytest.raises(ValueError, match="frozen"):
        _made(name).anything = 1


@EVERY
def test_config_goes_through_json_and_back(name):
    made = _made(name)
    assert type(made).model_validate(made.config()) == made


def test_view_of_the_data_has_no_test_part(dataset):
    view = PassData.without_test(dataset)
    assert not hasattr(view, "test")
    assert all(value is not dataset.test for value in vars(view).values())


def test_missing_part_is_named(dataset):
    view = PassData.without_test(replace(dataset, train=None))
    with pytest.raises(UsageError, match="distill needs train samples"):
        view.part("train", "distill")


def test_unknown_pass_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'distill'"):
        passes.find("distil")


def test_table_refuses_a_name_that_stands_twice():
    with pytest.raises(ValueError, match="two passes are registered as 'a'"):
        passes._table([("a", "x:X"), ("a", "y:Y")])


def test_failing_import_of_a_pass_raises(monkeypatch):
    monkeypatch.setattr(
        passes, "TABLE", {"lost": "compress.passes.lost:Lost", "wrong": "compress.core.pass_protocol:Pass"}
    )
    with pytest.raises(ImportError):
        passes.find("lost")
    with pytest.raises(AttributeError):
        passes.find("wrong")
