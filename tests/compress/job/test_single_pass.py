"""One pass on one model, without a job around it."""

from __future__ import annotations

import pytest

import compress
from certify.data import default_preprocess
from compress.core.model_stats import state_digest


def test_module_is_unchanged_when_a_pass_is_applied(model, dataset):
    before = state_digest(model)
    contract = default_preprocess(dataset)
    factored, record = compress.apply(compress.LowRank(energy=0.5), model, dataset, preprocess=contract)
    assert record.done["ranks"]
    assert state_digest(model) == before != state_digest(factored)


def test_new_file_is_next_to_the_given_one_when_a_pass_on_files_is_applied(onnx_file, dataset):
    contract = default_preprocess(dataset)
    result, record = compress.apply(compress.QuantizeStatic(samples=16), onnx_file, dataset, preprocess=contract)
    assert record.changed
    assert result.parent == onnx_file.parent and result != onnx_file


def test_original_is_the_teacher_when_a_pass_trains(model, dataset):
    _, record = compress.apply(compress.Distill(epochs=1), model, dataset, preprocess=default_preprocess(dataset))
    assert record.done["epochs_done"] == 1 and record.done["teacher"] == "original"


def test_model_of_the_other_kind_is_refused(model, onnx_file, dataset):
    contract = default_preprocess(dataset)
    with pytest.raises(compress.UsageError, match="'model' of finetune must be a torch module"):
        compress.apply(compress.Finetune(), onnx_file, dataset, preprocess=contract)
    with pytest.raises(compress.UsageError, match="'model' of half must be the path of an ONNX file"):
        compress.apply(compress.Half(), model, dataset, preprocess=contract)
