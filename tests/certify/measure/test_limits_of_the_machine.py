"""What a maker can do to the machine, its packages and the code around a measurement, as SECURITY.md states."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from certify.core.surroundings import stated_libraries
from certify.data.metrics import get_metric
from certify.measure import meters, observations, surroundings
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import Subject, open_worker, subject

State = Callable[[str], None]
LARGE = 100_000
"""Bytes from which the modified runtime takes a file for the baseline."""
MODIFIED = f"""
import os
real_open, real_run = InferenceSession.__init__, InferenceSession.run


def opened(self, path, *rest, **named):
    self.times = 10 if os.path.getsize(path) > {LARGE} else 1
    real_open(self, path, *rest, **named)


def run(self, *rest, **named):
    for _ in range(self.times - 1):
        real_run(self, *rest, **named)
    return real_run(self, *rest, **named)


InferenceSession.__init__, InferenceSession.run = opened, run
"""
"""Added to ONNX Runtime's Python code: what runs the baseline ten times."""


@pytest.fixture
def models(small_pair: Any, tmp_path: Path) -> dict[str, Subject]:
    """The same net as both arms; a comment makes the baseline's file larger."""
    found = {}
    for arm, comment in (("baseline", "-" * LARGE), ("candidate", "")):
        model = onnx.load(str(small_pair.baseline))
        model.doc_string = comment
        onnx.save(model, str(tmp_path / f"{arm}.onnx"))
        found[arm] = subject(arm, tmp_path / f"{arm}.onnx", small_pair.contract, 1, tmp_path)
        save_samples(found[arm].inputs, small_pair.dataset.test, [0, 1], small_pair.contract)
    return found


def cost(model: Subject) -> tuple[float, Any]:
    """Least CPU seconds of ten inferences in five windows, and what their worker ran in."""
    with open_worker(model, "onnxruntime-cpu", 1, 1) as worker:
        worker.window(5, 1.0)
        return min(worker.window(10, 1.0).cpu_s for _ in range(5)), worker.surroundings


def outcomes(found: dict[str, Any], court: Any) -> dict[str, str]:
    told = dict(observations.surroundings(found).values)
    libraries = stated_libraries({**told["baseline"]["libraries"], **told["candidate"]["libraries"]})
    failed: dict[str, str] = court.outcomes({"surroundings": told}, libraries=libraries)
    return failed


def test_known_limit_runtime_is_believed_when_its_python_code_slows_the_baseline(
    models: dict[str, Subject], court: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: State
) -> None:
    """The package has the published libraries and one changed Python file."""
    stated("a modified Python or modified packages in the environment itself")
    real, changed = Path(onnxruntime.__file__).parent, tmp_path / "site" / "onnxruntime"
    changed.mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name != "__init__.py":
            (changed / entry.name).symlink_to(entry)
    (changed / "__init__.py").write_text((real / "__init__.py").read_text() + MODIFIED)
    path = (str(changed.parent), *surroundings.search_path())
    monkeypatch.setattr(surroundings, "search_path", lambda: path)
    costs, found = zip(*map(cost, models.values()), strict=True)
    assert costs[0] > 4 * costs[1]
    assert outcomes(dict(zip(models, found, strict=True)), court) == {}


@pytest.mark.usefixtures("started_workers")
@pytest.mark.skipif(sys.platform != "linux", reason="the scheduler's policies are Linux's")
def test_known_limit_measurement_is_believed_when_a_setting_of_the_system_is_another(
    models: dict[str, Subject], court: Any, stated: State
) -> None:
    """A policy of the scheduler, which a worker inherits and no record contains."""
    stated("`/etc/ld.so.preload` and other system settings")
    before, policy = os.sched_getscheduler(0), os.SCHED_BATCH
    os.sched_setscheduler(0, policy, os.sched_param(0))
    try:
        with open_worker(models["baseline"], "onnxruntime-cpu", 1, 1) as worker:
            assert os.sched_getscheduler(worker.pid) == policy != before
            slowed = worker.surroundings
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))
    with open_worker(models["candidate"], "onnxruntime-cpu", 1, 1) as worker:
        assert worker.surroundings == slowed
    assert outcomes({"baseline": slowed, "candidate": worker.surroundings}, court) == {}


def test_known_limit_arm_can_be_inferred_when_its_weights_are_in_a_file_of_their_own(
    small_pair: Any, tmp_path: Path, stated: State
) -> None:
    stated("a weights file of a model over 2 GB keeps its name, which is stored in the model")
    model = onnx.load(str(small_pair.baseline))
    onnx.save(model, str(tmp_path / "original.onnx"), save_as_external_data=True, location="original.bin",
              size_threshold=0)  # fmt: skip
    found = subject("baseline", tmp_path / "original.onnx", small_pair.contract, 1, tmp_path)
    assert "original" not in found.file.name
    assert [weights.name for weights in found.file_weights] == ["original.bin"]


METRIC = (
    "import numbers_of_mine\n\n\ndef quality(outputs, labels):\n    return numbers_of_mine.scores(outputs, labels)\n"
)
METER = """
import numbers_of_mine
from certify.measure.meters.vcpu_watts import VcpuWatts


class Mine(VcpuWatts):
    name = "mine"

    def joules(self):
        return numbers_of_mine.JOULES
"""
HONEST = "def scores(outputs, labels):\n    return outputs.argmax(axis=1) == labels\n\n\nJOULES = 1.0\n"
KINDER = "def scores(outputs, labels):\n    return labels == labels\n\n\nJOULES = 0.1\n"


def test_known_limit_digest_of_code_is_the_same_when_a_module_that_it_imports_was_changed(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, stated: State
) -> None:
    stated("a digest binds one file and not what it imports")
    outputs, labels = np.eye(2), np.array([0, 0])
    found = []
    for number, code in enumerate((HONEST, KINDER)):
        install(f"mine{number}", {}, metric_of_mine=METRIC, meter_of_mine=METER, numbers_of_mine=code)
        metric, module = get_metric("metric_of_mine:quality"), sys.modules
        meter = module["meter_of_mine"].Mine() if "meter_of_mine" in module else __import__("meter_of_mine").Mine()
        found.append((metric.code, meters.code(meter), metric.scores(outputs, labels).sum(), meter.joules()))
    honest, kinder = found
    assert honest[:2] == kinder[:2] and None not in honest[:2]
    assert (honest[2:], kinder[2:]) == ((1.0, 1.0), (2.0, 0.1))
