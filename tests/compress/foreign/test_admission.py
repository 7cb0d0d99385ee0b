"""A file is tried once before any work: one sentence for what can't be loaded, fed, run or scored."""

from __future__ import annotations

from dataclasses import replace

import foreign_files as foreign
import numpy as np
import onnx
import pytest

from certify.core.errors import MeasureError, ModelError
from certify.data import default_preprocess
from certify.data.contract_slot import normalise
from certify.measure.plan import Plan
from compress.exchange.admission import admit
from compress.job import pipeline, recipe
from compress.passes import PassData
from compress.passes.trim_kernels import TrimKernels


@pytest.fixture
def admitted(dataset, tmp_path):
    """Admits a model's normal form."""

    def admit_it(model, batch=None, data=dataset, **contract):
        source = foreign.write(model, tmp_path)
        preprocess = replace(default_preprocess(dataset), **contract)
        normalise(source, source, preprocess)
        admit(source, preprocess, PassData.without_test(data), batch)

    return admit_it


def _same_names(model):
    for node in model.graph.node:
        node.name = "node"
    return model


def _custom(model, *places):
    for place in places:
        node = model.graph.node[place]
        node.domain, node.op_type = "mmcv", f"Own{node.op_type}"
    model.opset_import.add(domain="mmcv", version=1)
    return model


def _reshaped():
    """A head that keeps to a batch although the file states a free one."""
    return foreign.node("Reshape", "p shape", "g"), foreign.node("Gemm", "g w3 b3", "output", transB=1)


def _reads(output):
    return (foreign.node("Gemm", "f w3 b3", output, transB=1),)


def _with_shape(model, *sizes):
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, dtype=np.int64), "shape"))
    return model


WRONG = {
    "two nodes have one name": (lambda: _same_names(foreign.model()), "two nodes with same node name"),
    "an operator is not known": (lambda: _custom(foreign.model(), 1), "does not support: mmcv:OwnRelu; export it"),
    "operators are not known": (lambda: _custom(foreign.model(), 4, 1, 2), "mmcv:OwnIdentity, mmcv:OwnRelu; export"),
    "the batch is 1 inside": (
        lambda: _with_shape(foreign.model(head=_reshaped()), 1, 24),
        "free batch but does not run on two samples; export it with a batch of 1",
    ),
    "the side is another": (lambda: foreign.model(inputs=("n", 3, 64, 64)), r"\(n, 3, 64, 64\).*correct height, width"),
    "the layout is another": (lambda: foreign.model(inputs=("n", 32, 32, 3)), "correct height, width, layout"),
    "the output is a map": (
        lambda: foreign.model(head=(foreign.node("Conv", "m w2 b2", "output"),), outputs=("n", 24, 14, 14)),
        "output of a classifier must have shape",
    ),
    "its outputs are random": (
        lambda: foreign.model(head=(*_reads("logits"), foreign.node("RandomNormalLike", "logits", "chance"),
                                    foreign.node("Add", "logits chance", "output"))),
        "outputs for one sample differ from run to run; export it in evaluation mode",
    ),
    "its outputs belong to the batch": (
        lambda: foreign.model(head=(*_reads("logits"), foreign.node("ReduceMean", "logits", "mean", axes=[0]),
                                    foreign.node("Sub", "logits mean", "output"))),
        "outputs for one sample depend on the rest of the batch",
    ),
    "there are too few outputs": (
        lambda: foreign.model(head=(foreign.node("ReduceMax", "f", "output", axes=[1]),), outputs=("n", 1)),
        "1 outputs, but the data have 4 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_file_is_refused_in_one_sentence_when_it_cannot_be_used(case, admitted):
    make, sentence = WRONG[case]
    with pytest.raises(ModelError, match=sentence) as refusal:
        admitted(make())
    assert "\n" not in str(refusal.value) and "onnxruntime_src" not in str(refusal.value)


@pytest.mark.parametrize("batch", [None, 4])
def test_file_of_a_fixed_batch_is_accepted_when_measured_with_that_batch(batch, admitted):
    admitted(foreign.model(inputs=(4, 3, 32, 32), outputs=(4, 4)), batch)


@pytest.mark.parametrize(("fixed", "batch"), [(4, 1), (2, 1), (1, 8)])
def test_file_of_a_fixed_batch_is_refused_when_measured_with_another_batch(fixed, batch, admitted):
    with pytest.raises(ModelError, match=f"measure with batch {fixed}"):
        admitted(foreign.model(inputs=(fixed, 3, 32, 32), outputs=(fixed, 4)), batch)


def test_outputs_with_further_axes_of_one_are_read_as_classes(admitted):
    pooled = (foreign.node("Conv", "r2 last", "c3"), foreign.node("GlobalAveragePool", "c3", "output"))
    model = foreign.model(head=pooled, outputs=("n", 4, 1, 1))
    weight = foreign.CONSTANTS["w3"].reshape(4, 24, 1, 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "last"))
    admitted(model)


def test_file_is_tried_on_synthetic_samples_when_the_data_have_only_a_test_part(dataset, admitted):
    alone = replace(dataset, train=None, calibration=None, validation=None)
    admitted(foreign.model(), data=alone)
    with pytest.raises(ModelError, match="cannot run the model"):
        admitted(_with_shape(foreign.model(head=_reshaped()), 3, 24), data=alone)


def test_job_refuses_a_file_before_any_pass_when_the_workload_has_another_batch(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(TrimKernels, "apply", lambda *_: pytest.fail("a pass ran"))
    source = foreign.write(foreign.model(inputs=(4, 3, 32, 32), outputs=(4, 4)), tmp_path)
    job = recipe.parse("name: one\npasses:\n  - trim_kernels: {}\n", "one.yaml")
    with pytest.raises(ModelError, match="measure with batch 4"):
        pipeline.run(source, job, dataset, out=tmp_path / "out", preprocess=default_preprocess(dataset))


@pytest.mark.parametrize("name", ["M.ONNX", "m.Onnx"])
def test_model_is_a_file_regardless_of_the_case_of_its_suffix(name, dataset, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise MeasureError("stopped")

    monkeypatch.setattr(pipeline, "certify", stop)
    monkeypatch.chdir(tmp_path)
    foreign.write(foreign.model(), tmp_path).rename(tmp_path / name)
    job = recipe.parse("name: one\npasses:\n  - trim_kernels: {}\n", "one.yaml")
    with pytest.raises(MeasureError, match="stopped"):
        pipeline.run(name, job, dataset, preprocess=default_preprocess(dataset), plan=Plan())
    assert (tmp_path / "build" / name[0]).is_dir()
