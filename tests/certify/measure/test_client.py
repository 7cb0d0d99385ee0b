from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certify.core.errors import MeasureError, ModelError
from certify.core.files import sha256_file
from certify.measure import worker as serving
from certify.measure.client import Worker
from certify.measure.host import process_cpu_s
from certify.measure.model_under_test import session_settings


def _settings(threads: int = 1, output: str = "classes") -> dict[str, object]:
    return session_settings("onnxruntime-cpu", threads, ("image",), output)


@pytest.fixture
def samples(small_pair, tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, small_pair.contract.batch(small_pair.dataset.test, range(6)))
    return path


@pytest.fixture
def worker(small_pair, samples: Path) -> Iterator[Worker]:
    with Worker("candidate", small_pair.baseline, _settings(), call_timeout_s=10) as running:
        running.inputs(samples, 1)
        yield running


def test_worker_reports_what_it_loaded(worker: Worker, small_pair) -> None:
    assert worker.facts["sha256"] == sha256_file(small_pair.baseline)
    assert worker.facts["pid"] == worker.pid != os.getpid()
    assert worker.facts["providers"] == ["CPUExecutionProvider"]
    assert (worker.facts["graph_optimization"], worker.facts["threads"], worker.facts["spinning"]) == ("all", 1, True)
    assert worker.facts["pinned"]


def test_threads_are_pinned_when_there_are_several(small_pair) -> None:
    cores = len(os.sched_getaffinity(0))
    with Worker("baseline", small_pair.baseline, _settings(threads=cores)) as worker:
        assert worker.facts["threads"] == cores
        assert worker.facts["pinned"]


@pytest.mark.parametrize(("seen", "pinned"), [([set(), {0}, {0, 1}], True), ([{0}, {0, 1, 2}], False)])
def test_worker_waits_for_threads_that_pin_themselves_late(monkeypatch, seen: list[set[int]], pinned: bool) -> None:
    monkeypatch.setattr(serving, "PINNED_WITHIN_S", 0.05)
    seen = list(seen)
    monkeypatch.setattr(serving, "_pinned_to", lambda: seen.pop(0) if len(seen) > 1 else seen[0])
    assert serving._pinned((0, 1)) is pinned


def test_duration_of_a_window_is_proportional_to_its_inferences(worker: Worker) -> None:
    worker.window(200, 1.0)
    few, many = worker.window(100, 1.0), worker.window(1000, 1.0)
    assert 3 < many.cpu_s / few.cpu_s < 30
    assert many.duration_s >= 0.9 * many.cpu_s > 0
    assert many.finite


def test_latencies_end_at_the_number_or_the_time(worker: Worker) -> None:
    assert len(worker.latency(20, 10.0)) == 20
    taken = worker.latency(10**9, 0.1)
    assert 0.03 < sum(taken) < 5 and len(taken) > 1


def test_predictions_are_the_same_in_batches_that_do_not_divide_the_number(worker: Worker, samples, tmp_path) -> None:
    outputs = []
    for batch in (1, 4):
        worker.predict(samples, tmp_path / "out.npy", batch, 1.0)
        outputs.append(np.load(tmp_path / "out.npy"))
    assert outputs[0].shape == (6, 4) and outputs[0].dtype == np.float32
    assert np.allclose(outputs[0], outputs[1], rtol=1e-4)


def test_idle_worker_takes_no_processor_time(small_pair, samples: Path) -> None:
    with Worker("baseline", small_pair.baseline, _settings(threads=len(os.sched_getaffinity(0)))) as worker:
        worker.inputs(samples, 1)
        worker.window(50, 1.0)
        time.sleep(0.5)  # pool threads spin on for some milliseconds, longer where others use the processor
        before = process_cpu_s(worker.pid)
        time.sleep(0.3)
        after = process_cpu_s(worker.pid)
    assert before is not None and after is not None
    assert after - before < 0.01


def test_error_names_model_and_signal_when_the_worker_is_killed(worker: Worker, small_pair) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(MeasureError, match=r"candidate \(.*float\.onnx\) was killed by SIGKILL .*during 'window'"):
        worker.window(10, 1.0)


def test_error_is_one_sentence_when_the_system_has_no_such_signal(worker: Worker, small_pair, monkeypatch) -> None:
    worker._process.kill()
    worker._process.wait()
    monkeypatch.delattr(signal, "SIGKILL")
    worker._process.returncode = 1  # Windows has no negative codes
    with pytest.raises(MeasureError, match=r"candidate \(.*float\.onnx\) exited with status 1 during 'window'"):
        worker.window(10, 1.0)


def test_error_says_hanging_and_ends_the_worker_when_it_does_not_respond(small_pair, samples: Path) -> None:
    with Worker("candidate", small_pair.baseline, _settings(), call_timeout_s=0.3) as worker:
        worker._slack_s = 30
        worker.inputs(samples, 1)
        worker._slack_s = 0.3
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(MeasureError, match="did not answer 'window' within 0 s and was terminated"):
            worker.window(10, 0.0)
        assert not Path(f"/proc/{worker.pid}").exists()


def test_error_quotes_the_last_words_when_the_worker_fails(worker: Worker, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 5, 5), dtype=np.float32))
    with pytest.raises(MeasureError, match=r"status 1 during 'predict'.*Its last output: .*Got: 5 Expected: 32"):
        worker.predict(tmp_path / "wrong.npy", tmp_path / "out.npy", 1, 1.0)


def test_model_error_gives_the_reason_of_the_runtime_when_it_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad\.onnx: ONNX Runtime cannot load it"):
        Worker("baseline", tmp_path / "bad.onnx", _settings())


def test_no_process_is_left_when_the_block_is_interrupted(small_pair) -> None:
    with pytest.raises(KeyboardInterrupt), Worker("baseline", small_pair.baseline, _settings()) as worker:
        pid = worker.pid
        raise KeyboardInterrupt
    assert not Path(f"/proc/{pid}").exists()


def test_worker_lives_on_when_the_terminal_interrupts_the_group(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGINT)
    assert worker.window(1, 1.0).finite


def test_worker_ends_when_its_parent_is_gone(small_pair) -> None:
    code = (
        "import os, sys; from pathlib import Path; from certify.measure.client import Worker\n"
        "from certify.measure.model_under_test import session_settings\n"
        "w = Worker('baseline', Path(sys.argv[1]), session_settings('onnxruntime-cpu', 1, ('image',), 'classes'))\n"
        "print(w.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small_pair.baseline)], capture_output=True, check=True)
    end = time.monotonic() + 5
    while Path(f"/proc/{int(done.stdout)}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_protocol_is_not_disturbed_when_a_library_prints() -> None:
    code = (
        "import os\nfrom certify.measure import worker\n"
        "def loud(self): print('noise'); os.write(1, b'more noise\\n'); return {'bytes': 5}\n"
        "worker.Worker.peak_memory = loud\nworker.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=b'{"do": "peak_memory"}\n{"do": "exit"}\n', capture_output=True, check=True
    )
    assert done.stdout == b'{"bytes": 5}\n'
    assert b"more noise" in done.stderr


def test_worker_loads_neither_torch_nor_onnx_nor_scipy() -> None:
    code = (
        "import sys; from certify.measure import worker; import certify.measure.runtimes.onnxruntime_cpu\n"
        "sys.exit(str({'torch', 'onnx', 'scipy', 'pynvml', 'PIL', 'yaml'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stderr.strip() == b"set()"
