from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.core.errors import ModelError, UsageError
from certify.core.files import sha256_file
from certify.data.contract_slot import normalise, stored_contract
from certify.data.preprocess import Preprocess
from certify.measure import observations, runtimes
from certify.measure.model_under_test import subject
from certify.measure.plan import Plan
from certify.measure.runtime_choice import settle
from certify.measure.runtimes.base import SessionOptions
from certify.measure.runtimes.torch_cuda import TorchCuda
from certify.measure.worker import Worker

torch = pytest.importorskip("torch")

OPTIONS = SessionOptions(("image",), "linear", 1, (min(os.sched_getaffinity(0)),))


@pytest.fixture(autouse=True)
def own_processors() -> Iterator[None]:
    allowed, threads = os.sched_getaffinity(0), torch.get_num_threads()
    yield
    os.sched_setaffinity(0, allowed)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.head = torch.nn.Linear(8, 4)

        def forward(self, image: Any) -> Any:
            features = torch.relu(self.conv(image)).mean((2, 3))
            return features, self.head(features)

    path = tmp_path_factory.mktemp("program") / "net.pt2"
    batch = {"image": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=batch), path)
    return path


@pytest.fixture
def torch_contract(contract: Preprocess) -> Preprocess:
    return replace(contract, output_name="linear")


def test_program_returns_the_named_output_like_torch(program: Path) -> None:
    session = TorchCuda("cpu").open(program, OPTIONS)
    batch = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    expected = torch.export.load(program).module()(torch.from_numpy(batch))[1].detach().numpy()
    found = session.run(session.prepare(batch))
    session.synchronize()
    assert found.shape == (3, 4) and np.allclose(found, expected)
    assert session.facts()["providers"] == ["cpu"] and session.facts()["elsewhere"] == []
    assert session.nodes() == []


def test_error_lists_the_outputs_when_none_has_that_name(program: Path) -> None:
    with pytest.raises(ModelError, match="no output 'classes'; its outputs are mean, linear"):
        TorchCuda("cpu").open(program, replace(OPTIONS, output_name="classes"))


def test_values_on_another_device_are_named_when_a_program_is_misplaced(program: Path) -> None:
    session = TorchCuda("cpu").open(program, OPTIONS)
    session._device = "cuda"  # as if the GPU had been asked for
    assert session.facts()["providers"] == ["cpu"]
    assert "conv2d" in session.facts()["elsewhere"]


def test_gpu_is_synchronised_at_both_ends_of_a_window(program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    session = TorchCuda("cpu").open(program, OPTIONS)
    seen = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("wait"))
    session._device = "cuda"
    monkeypatch.setattr(session, "run", lambda feed: seen.append("run") or np.zeros(1))
    worker = Worker()
    worker._session, worker._feeds = session, [None]
    worker.window(2)
    assert seen == ["wait", "run", "run", "wait"]


def test_worker_measures_a_program_when_the_device_is_injected(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtimes, "get", lambda name: TorchCuda("cpu"))
    worker = Worker()
    told = worker.open(str(program), "torch-cuda", threads=1, cores=OPTIONS.cores, input_names=["image"],
                       output_name="linear")  # fmt: skip
    assert told["sha256"] == sha256_file(program) and told["precision"] == "as in the model, without TF32"
    np.save(tmp_path / "in.npy", np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32))
    worker.inputs(str(tmp_path / "in.npy"), 1)
    result = worker.window(3)
    assert result["finite"] and result["duration_s"] > 0
    worker.predict(str(tmp_path / "in.npy"), str(tmp_path / "out.npy"), 2)
    assert np.load(tmp_path / "out.npy").shape == (5, 4)
    assert worker.nodes(1) == {"nodes": []}


def test_facts_of_a_program_are_those_of_its_file(program: Path, torch_contract: Preprocess, tmp_path: Path) -> None:
    found = subject("candidate", program, torch_contract, 1, tmp_path)
    assert found.facts.file_digest == found.sha256 == sha256_file(program)
    assert found.facts.bytes == program.stat().st_size
    assert found.facts.macs == 32 * 32 * 8 * 27 + 8 * 4 and found.facts.parameters == 8 * 27 + 8 + 8 * 4 + 4
    seen = {
        o.name: o.values["candidate"] for o in observations.graphs([found], {"candidate": "torch-cuda"}, 1, tmp_path)
    }
    assert seen["quantization"] == {"intended": 0, "fused": 0, "unfused": []}
    assert seen["zero_channels"]["channels"] == 12


def test_input_is_checked_before_a_program_is_run(program: Path, torch_contract: Preprocess, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="correct height, width"):
        subject("candidate", program, replace(torch_contract, height=64), 1, tmp_path)
    with pytest.raises(ModelError, match="names the input 'photo', but the model has image"):
        subject("candidate", program, replace(torch_contract, input_name="photo"), 1, tmp_path)


def test_normal_form_includes_the_contract_and_runs_as_before(
    program: Path, torch_contract: Preprocess, tmp_path: Path
) -> None:
    normal = tmp_path / "model.pt2"
    normalise(program, normal, torch_contract)
    assert stored_contract(normal) == torch_contract and stored_contract(program) is None
    batch = np.ones((2, 3, 32, 32), dtype=np.float32)
    outputs = []
    for path in (program, normal):
        session = TorchCuda("cpu").open(path, OPTIONS)
        outputs.append(session.run(session.prepare(batch)))
    assert np.array_equal(*outputs)
    before = normal.read_bytes()
    normalise(normal, normal, torch_contract)
    assert normal.read_bytes() == before


def test_program_is_refused_when_the_runtime_runs_onnx_files(
    program: Path, torch_contract, small_pair, edition
) -> None:
    models = {"baseline": (program, torch_contract)}
    with pytest.raises(UsageError, match=r"net\.pt2: runtime onnxruntime-cpu runs \.onnx files only"):
        settle(Plan(), edition.plan, models, small_pair.dataset)


def test_require_says_what_to_install_when_torch_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="torch-cuda requires an NVIDIA GPU, but torch .* finds none. Install a build"):
        runtimes.require("torch-cuda")
